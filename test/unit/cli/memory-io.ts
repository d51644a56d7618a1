import { Readable, Writable } from "node:stream";
import type { CliIo } from "../../../src/cli/cli-io.ts";
import { runCli } from "../../../src/cli/run-cli.ts";

class Collector extends Writable {
  text = "";
  isTTY: boolean;
  columns: number = 100;

  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

export interface CliRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line in this process. */
export async function runInMemory(
  argv: readonly string[],
  options: { env?: Record<string, string>; stdin?: string; tty?: boolean; signal?: AbortSignal } = {},
): Promise<CliRun> {
  const stdout = new Collector(false);
  const stderr = new Collector(options.tty ?? false);
  const io: CliIo = {
    stdin: Readable.from(options.stdin === undefined ? [] : [options.stdin]),
    stdout,
    stderr,
    env: options.env ?? {},
    signal: options.signal ?? new AbortController().signal,
  };
  const code = await runCli(argv, io);
  return { code, stdout: stdout.text, stderr: stderr.text };
}
