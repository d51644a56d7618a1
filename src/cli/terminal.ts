import type { Writable } from "node:stream";

/** How lines on stderr may look. */
export interface TerminalStyle {
  /** Lines may be redrawn and the cursor moved. */
  readonly live: boolean;
  readonly color: boolean;
  readonly columns: number;
}

/**
 * The one writer to stderr: log lines scroll above a live area at the bottom, which is redrawn below each of them.
 */
export class Terminal {
  readonly style: TerminalStyle;
  readonly #stream: Writable;
  #live: readonly string[] = [];

  constructor(stream: Writable, style: TerminalStyle) {
    this.#stream = stream;
    this.style = style;
  }

  /** Writes one or more whole lines. */
  print(text: string): void {
    this.#stream.write(`${this.#erase()}${text}\n${this.#draw()}`);
  }

  /** Replaces the live area; does nothing where lines cannot be redrawn. */
  setLive(lines: readonly string[]): void {
    if (!this.style.live) return;
    const erase = this.#erase();
    this.#live = lines.map((line) => line.slice(0, this.style.columns - 1));
    this.#stream.write(erase + this.#draw());
  }

  /** The text in a color, where colors may be used. */
  paint(text: string, color: "red" | "yellow" | "gray"): string {
    if (!this.style.color) return text;
    return `\u001b[${{ red: 31, yellow: 33, gray: 90 }[color]}m${text}\u001b[0m`;
  }

  #erase(): string {
    return this.#live.length === 0 ? "" : `\u001b[${this.#live.length}A\u001b[J`;
  }

  #draw(): string {
    return this.#live.map((line) => `${line}\n`).join("");
  }
}
