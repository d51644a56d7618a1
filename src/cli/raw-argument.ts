import { readFileSync } from "node:fs";

/**
 * A path of the volume that was given as an argument, as bytes where its text does not tell them. Names are bytes, and Node.js hands arguments over as text
 * in which every byte that is not UTF-8 has become U+FFFD; Linux keeps what was given.
 */
export function rawArgument(text: string, commandLine: () => Buffer = readCommandLine): string | Buffer {
  if (!text.includes("\ufffd")) return text;
  for (const argument of splitArguments(commandLine())) {
    const option = /^--?[\w-]+=/.exec(argument.toString("latin1"));
    for (const value of [argument, ...(option === null ? [] : [argument.subarray(option[0].length)])]) {
      if (value.toString() === text) return value;
    }
  }
  return text;
}

function* splitArguments(commandLine: Buffer): Generator<Buffer> {
  for (let start = 0; start < commandLine.length; ) {
    const end = commandLine.indexOf(0, start);
    yield commandLine.subarray(start, end < 0 ? commandLine.length : end);
    if (end < 0) return;
    start = end + 1;
  }
}

function readCommandLine(): Buffer {
  try {
    return readFileSync("/proc/self/cmdline");
  } catch {
    return Buffer.alloc(0);
  }
}
