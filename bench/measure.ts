import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

/** `floor`: the database's own client, which only moves the tables. */
export type Program = "decant" | "reference" | "floor";

/** What one run of a command cost; CPU is that of the process and its children, not of a server it talks to. */
export interface Measurement {
  readonly cpuSeconds: number;
  readonly wallSeconds: number;
  /** Largest resident size in MB; undefined where GNU time is not installed. */
  readonly peakMegabytes: number | undefined;
  /** 0, or 3: done, but with a reservation that decant made (docs/exit-codes.md). */
  readonly exitCode: number;
}

const WITH_RESERVATION = 3;

const GNU_TIME = "/usr/bin/time";

/** Runs a command to its end and measures it. Throws with its last words when it fails. */
export async function measure(command: readonly string[], scratch: string): Promise<Measurement> {
  const figures = join(scratch, "time.txt");
  const hasGnuTime = existsSync(GNU_TIME);
  const wrapped = hasGnuTime
    ? [GNU_TIME, "-o", figures, "-f", "%U %S %M", ...command]
    : [
        "bash",
        "-c",
        'TIMEFORMAT="%U %S"; out=$1; shift; { time "$@" 2>&3; } 3>&2 2>"$out"',
        "bash",
        figures,
        ...command,
      ];
  rmSync(figures, { force: true });
  const start = performance.now();
  const exitCode = await run(wrapped);
  const wallSeconds = (performance.now() - start) / 1000;
  // GNU time writes a line about an exit code before its figures
  const [user, system, kilobytes] = readFileSync(figures, "utf8").trim().split("\n").at(-1)!.split(" ").map(Number);
  return {
    cpuSeconds: user! + system!,
    wallSeconds,
    peakMegabytes: kilobytes === undefined ? undefined : kilobytes / 1024,
    exitCode,
  };
}

function run(command: readonly string[]): Promise<number> {
  const [program, ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(program!, args, { stdio: ["ignore", "ignore", "pipe"] });
    let lastWords = "";
    child.stderr.on("data", (chunk: Buffer) => {
      lastWords = (lastWords + chunk.toString()).slice(-2000);
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0 || code === WITH_RESERVATION) resolve(code);
      else reject(new Error(`${command.join(" ")} ended with ${code ?? signal}:\n${lastWords}`));
    });
  });
}

/** Median of at least one number. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
