import { randomUUID } from "node:crypto";
import type { Logger } from "../base/logger.ts";
import type { OptionValues } from "./option-values.ts";
import type { Terminal } from "./terminal.ts";

const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "panic"] as const;

export type LogLevel = (typeof LEVELS)[number];

/** `--log-level` wins over `--trace`, that over `--verbose`, that over `--quiet` (docs/spec/cli.md §1). */
export function logLevel(options: OptionValues): LogLevel {
  const named = LEVELS.find((level) => level === options.text("log-level")?.toLowerCase());
  if (named !== undefined) return named;
  if (options.flag("trace")) return "trace";
  if (options.flag("verbose") || options.flag("debug")) return "debug";
  return options.flag("quiet") ? "warn" : "info";
}

/** Short lines on stderr: `decant: warning: ...`, with the hint on a line of its own. */
export class ConsoleLogger implements Logger {
  readonly debugEnabled: boolean;
  readonly #terminal: Terminal;
  readonly #rank: number;
  readonly #prefix: string;

  constructor(terminal: Terminal, level: LogLevel, logId: string | undefined) {
    this.#terminal = terminal;
    this.#rank = LEVELS.indexOf(level);
    this.debugEnabled = this.shows("debug");
    const id = logId === "random" ? randomUUID() : logId;
    this.#prefix = id === undefined || id === "" ? "decant: " : `[${id}] decant: `;
  }

  shows(level: LogLevel): boolean {
    return LEVELS.indexOf(level) >= this.#rank;
  }

  debug(message: string): void {
    if (this.debugEnabled) this.#terminal.print(this.#terminal.paint(`${this.#prefix}${message}`, "gray"));
  }

  info(message: string): void {
    if (this.shows("info")) this.#terminal.print(this.#prefix + message);
  }

  warn(message: string): void {
    if (this.shows("warn"))
      this.#terminal.print(`${this.#prefix}${this.#terminal.paint("warning:", "yellow")} ${message}`);
  }

  /** A line of a closing report that `--quiet` does not hide. */
  important(message: string): void {
    if (this.shows("warn")) this.#terminal.print(this.#prefix + message);
  }

  /** The reason why the command failed. Always shown. `details` are lines that belong to it. */
  error(message: string, hint?: string, details: readonly string[] = []): void {
    const lines = [`${this.#prefix}${this.#terminal.paint("error:", "red")} ${message}`];
    for (const detail of details) lines.push(`  ${detail}`);
    if (hint !== undefined) lines.push(`  hint: ${hint.replaceAll("\n", "\n  ")}`);
    this.#terminal.print(lines.join("\n"));
  }
}
