import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "../../test/support/guarded-process.ts";
import { REPOSITORY } from "../../test/support/repository.ts";

export const NODE: string = join(REPOSITORY, "node_modules", ".bin", "node");
export const DIST_MAIN: string = join(REPOSITORY, "dist", "cli", "main.js");

export interface LogLine {
  /** When it came, by the clock of this process, which is right. */
  readonly atMs: number;
  readonly text: string;
}

export interface ProcessOptions {
  readonly label: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Where its output is kept. */
  readonly logFile: string;
}

/** A process whose lines are kept with their time. */
export class LoggedProcess {
  readonly label: string;
  readonly lines: LogLine[] = [];
  readonly startedMs: number = Date.now();
  readonly ended: Promise<{ readonly code: number | null; readonly signalName: NodeJS.Signals | null }>;
  endedMs: number | undefined;
  readonly #child: ChildProcess;

  constructor({ label, program, args, env, logFile }: ProcessOptions) {
    this.label = label;
    this.#child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
    let rest = "";
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.on("data", (piece: Buffer) => {
        const parts = (rest + piece.toString()).split("\n");
        rest = parts.pop() ?? "";
        const atMs = Date.now();
        for (const text of parts) this.lines.push({ atMs, text });
        appendFileSync(logFile, piece);
      });
    }
    this.ended = new Promise((resolve) => {
      this.#child.once("close", (code, signalName) => {
        this.endedMs = Date.now();
        resolve({ code, signalName });
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isAlive(): boolean {
    return this.endedMs === undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  linesBetween(fromMs: number, toMs: number, pattern: RegExp): LogLine[] {
    return this.lines.filter(({ atMs, text }) => atMs >= fromMs && atMs <= toMs && pattern.test(text));
  }
}

export interface AgentOptions {
  /** The program. */
  readonly main: string;
  readonly url: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Its clock is not the right one. */
  readonly hasWrongClock?: boolean;
}

/** A compiled `decant agent`. */
export class AgentProcess extends LoggedProcess {
  readonly hasWrongClock: boolean;
  readonly #port: number;
  /** As of the last time that it could be asked. */
  #metrics = "";

  private constructor(options: ProcessOptions, port: number, hasWrongClock: boolean) {
    super(options);
    this.#port = port;
    this.hasWrongClock = hasWrongClock;
  }

  static async start(label: string, logFile: string, options: AgentOptions): Promise<AgentProcess> {
    const port = await freePort();
    const args = [options.main, "agent", "--verbose", "--listen", `127.0.0.1:${port}`, ...options.args, options.url];
    const env = { SKIP_BACKUP_META_CHECK: "true", ...options.env };
    return new AgentProcess({ label, program: NODE, args, env, logFile }, port, options.hasWrongClock ?? false);
  }

  async readMetrics(): Promise<void> {
    try {
      const answer = await fetch(`http://127.0.0.1:${this.#port}/metrics`, { signal: AbortSignal.timeout(5000) });
      this.#metrics = await answer.text();
    } catch {
      // It has ended, or not yet begun to listen.
    }
  }

  /** Sum of a metric over the samples whose labels match. */
  metric(name: string, labels: RegExp = /./): number {
    let sum = 0;
    for (const line of this.#metrics.split("\n")) {
      const match = /^(\w+)\{(.*)\} (\S+)$/.exec(line);
      if (match?.[1] === name && labels.test(match[2]!)) sum += Number(match[3]);
    }
    return sum;
  }
}
