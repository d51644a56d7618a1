import type { Progress } from "../base/progress.ts";
import { phaseLine } from "./progress-text.ts";
import type { Terminal } from "./terminal.ts";

const LIVE_INTERVAL_MS = 200;
const LINE_INTERVAL_MS = 30_000;
/** More phases than this at once would not help anybody. */
const MAX_LIVE_LINES = 8;

/** Shows running phases: redrawn lines on a terminal, otherwise one line per phase every half minute. */
export class ProgressDisplay {
  readonly #progress: Progress;
  readonly #terminal: Terminal;
  #timer: NodeJS.Timeout | undefined;

  constructor(progress: Progress, terminal: Terminal) {
    this.#progress = progress;
    this.#terminal = terminal;
  }

  start(): void {
    const live = this.#terminal.style.live;
    this.#timer = setInterval(() => this.#show(), live ? LIVE_INTERVAL_MS : LINE_INTERVAL_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#terminal.setLive([]);
  }

  #show(): void {
    const now = performance.now();
    const running = this.#progress.phases.filter((phase) => phase.endedAt === undefined);
    const lines = running.slice(-MAX_LIVE_LINES).map((phase) => phaseLine(phase, now));
    if (this.#terminal.style.live) this.#terminal.setLive(lines);
    else for (const line of lines) this.#terminal.print(`decant: ${line}`);
  }
}
