import { spawn } from "node:child_process";
import { DECANT_MAIN, NODE } from "./decant.ts";

export interface DecantEnd {
  /** Exit code, null when a signal ended it. */
  readonly code: number | null;
  readonly signalName: NodeJS.Signals | null;
  readonly err: string;
}

/** A command that is running. */
export interface RunningDecant {
  kill(signal: NodeJS.Signals): void;
  /** Its standard input, for `load` without a file. */
  readonly input: NodeJS.WritableStream;
  /** What it has printed so far, and what it prints from now on. */
  onOutput(listener: (text: string) => void): void;
  /** Resolves when stderr or stdout contains the text. */
  waitFor(text: string): Promise<void>;
  readonly ended: Promise<DecantEnd>;
}

/** Starts the command line in a process of its own. `env` is added to the environment of this one. */
export function startDecant(args: readonly string[], env: Readonly<Record<string, string>> = {}): RunningDecant {
  const child = spawn(NODE, [DECANT_MAIN, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  child.stdin.on("error", () => undefined); // it may end without reading its input
  let err = "";
  let out = "";
  const waiting: { text: string; resolve: () => void }[] = [];
  const listeners: ((text: string) => void)[] = [];
  const resolveWaiting = (): void => {
    for (const { text, resolve } of waiting) if (err.includes(text) || out.includes(text)) resolve();
  };
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk.toString();
    for (const listener of listeners) listener(chunk.toString());
    resolveWaiting();
  });
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
    for (const listener of listeners) listener(chunk.toString());
    resolveWaiting();
  });
  return {
    kill: (signal) => child.kill(signal),
    input: child.stdin,
    onOutput: (listener) => {
      listener(err + out);
      listeners.push(listener);
    },
    waitFor: (text) =>
      new Promise((resolve) => {
        waiting.push({ text, resolve });
        resolveWaiting();
      }),
    ended: new Promise((resolve) => {
      child.on("close", (code, signalName) => resolve({ code, signalName, err }));
    }),
  };
}

/** A line of a stack trace. */
export const STACK_TRACE: RegExp = /^\s+at .+:\d+:\d+/m;
