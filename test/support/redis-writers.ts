import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

export interface WriterOptions {
  /** Transactions of each writer that are on their way at one time; 4 when not given. */
  readonly depth?: number;
  /** Time between two of them, in milliseconds; none when not given. */
  readonly pauseMs?: number;
  /** Put before every key. */
  readonly prefix?: string;
}

/** Processes that change the model of redis-model.ts, one connection each. */
export class RedisWriters {
  readonly count: number;
  readonly #children: readonly ChildProcess[];

  private constructor(children: readonly ChildProcess[]) {
    this.#children = children;
    this.count = children.length;
  }

  /** Returns when each has written its part of the model. */
  static async start(port: number, count: number, options: WriterOptions = {}): Promise<RedisWriters> {
    const { prefix = "", depth = 4, pauseMs = 0 } = options;
    const program = join(import.meta.dirname, "redis-model-writer.ts");
    const children = Array.from({ length: count }, (_, i) => {
      const args = [program, port, i + 1, prefix, depth, pauseMs].map(String);
      return spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
    });
    await Promise.all(children.map((child) => once(child.stdout!, "data")));
    return new RedisWriters(children);
  }

  /** Returns the number of transactions. Throws where the server refused one. */
  async stop(): Promise<number> {
    const counts = this.#children.map(async (child) => {
      let output = "";
      child.stdout!.on("data", (chunk: Buffer) => (output += chunk));
      child.stdin!.end();
      const [code] = (await once(child, "close")) as [number];
      if (code !== 0) throw new Error(`A writer ended with code ${code}`);
      return Number(output);
    });
    return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
  }
}
