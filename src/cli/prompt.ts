import { createInterface } from "node:readline/promises";
import { type Readable, Writable } from "node:stream";

export interface Prompt {
  /** True for yes. End of input and an empty answer are no. */
  confirm(question: string): Promise<boolean>;
  close(): void;
}

/** Asks on `output` and reads answers from `input`; one reader for all questions, so that piped answers are not lost. */
export function openPrompt(input: Readable, output: Writable, signal: AbortSignal): Prompt {
  const reader = createInterface({ input, terminal: false });
  const lines = reader[Symbol.asyncIterator]();
  signal.addEventListener("abort", () => reader.close(), { once: true });
  return {
    async confirm(question: string): Promise<boolean> {
      output.write(question);
      for (;;) {
        const line = await lines.next();
        signal.throwIfAborted();
        const answer = line.done === true ? "" : line.value.trim().toLowerCase();
        if (answer === "y" || answer === "yes") return true;
        if (answer === "" || answer === "n" || answer === "no") return false;
        output.write("Please input y(yes) or n(no): ");
      }
    },
    close: () => reader.close(),
  };
}

/**
 * Asks for a secret on a terminal, which does not show what is typed. Undefined at the end of input; Ctrl-C is the signal that it
 * is elsewhere.
 */
export async function askHidden(
  question: string,
  input: Readable,
  output: Writable,
  signal: AbortSignal,
): Promise<string | undefined> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const reader = createInterface({ input, output: silent, terminal: true });
  reader.on("SIGINT", () => process.kill(process.pid, "SIGINT"));
  const ended = new Promise<undefined>((resolve) => reader.once("close", () => resolve(undefined)));
  output.write(question);
  try {
    return await Promise.race([reader.question("", { signal }), ended]);
  } finally {
    reader.close();
    output.write("\n");
  }
}
