import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
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
  /** Resolves when stderr or stdout contains the text; rejects when the command ends without it. */
  waitFor(text: string): Promise<void>;
  /** Resolves when it has nothing to do but to wait, as it does for its input: a loaded machine may take seconds to come there. */
  waits(): Promise<void>;
  readonly ended: Promise<DecantEnd>;
}

/** Starts the command line in a process of its own. `env` is added to the environment of this one; `main` may be the compiled one. */
export function startDecant(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  main: string = DECANT_MAIN,
): RunningDecant {
  const child = spawn(NODE, [main, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  child.stdin.on("error", () => undefined); // it may end without reading its input
  let err = "";
  let out = "";
  const waiting: { text: string; resolve: () => void; reject: (reason: Error) => void }[] = [];
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
      new Promise((resolve, reject) => {
        waiting.push({ text, resolve, reject });
        resolveWaiting();
      }),
    waits: async () => {
      let idle = 0;
      for (let before = -1; idle < 5; await sleep(100)) {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const { cpuTicks, isAsleep } = activityOf(child.pid!);
        idle = isAsleep && cpuTicks === before ? idle + 1 : 0;
        before = cpuTicks;
      }
    },
    ended: new Promise((resolve) => {
      child.on("close", (code, signalName) => {
        for (const { text, reject } of waiting) reject(new Error(`It ended without saying "${text}":\n${err}`));
        resolve({ code, signalName, err });
      });
    }),
  };
}

/** What all threads of a process have done so far, and whether none of them has anything to do. */
function activityOf(pid: number): { cpuTicks: number; isAsleep: boolean } {
  let cpuTicks = 0;
  let isAsleep = true;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    // The name stands in parentheses and may contain anything.
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "latin1")
      .replace(/^.*\) /s, "")
      .split(" ");
    if (stat[0] !== "S") isAsleep = false;
    cpuTicks += Number(stat[11]) + Number(stat[12]);
  }
  return { cpuTicks, isAsleep };
}

/** A line of a stack trace. */
export const STACK_TRACE: RegExp = /^\s+at .+:\d+:\d+/m;
