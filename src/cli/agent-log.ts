import type { Writable } from "node:stream";
import type { Logger } from "../base/logger.ts";
import type { LogLevel } from "./console-logger.ts";

type Level = "debug" | "info" | "warn" | "error";

export interface AgentLogOptions {
  readonly stream: Writable;
  readonly format: "text" | "json";
  readonly level: LogLevel;
}

const RANKS: readonly LogLevel[] = ["trace", "debug", "info", "warn", "error", "fatal", "panic"];

/** The log of a process that runs for months: each line has its time, and the volume that it is about. */
export class AgentLog {
  readonly #stream: Writable;
  readonly #format: "text" | "json";
  readonly #rank: number;

  constructor({ stream, format, level }: AgentLogOptions) {
    this.#stream = stream;
    this.#format = format;
    this.#rank = RANKS.indexOf(level);
  }

  /** Lines of one volume, or of none; its name may become known later. */
  logger(volume?: () => string): Logger {
    const write = (level: Level) => (message: string) => this.write(level, message, volume?.());
    return {
      debug: write("debug"),
      info: write("info"),
      warn: write("warn"),
      debugEnabled: RANKS.indexOf("debug") >= this.#rank,
    };
  }

  write(level: Level, message: string, volume: string | undefined): void {
    if (RANKS.indexOf(level) < this.#rank) return;
    const time = new Date().toISOString();
    const line =
      this.#format === "json"
        ? JSON.stringify({ time, level, volume, message })
        : `${time} ${level.toUpperCase().padEnd(5)} ${volume === undefined ? "" : `[${volume}] `}${message}`;
    this.#stream.write(`${line.replaceAll("\n", " ")}\n`);
  }
}
