import type { Readable, Writable } from "node:stream";

/** All that the command line touches of the process, so that tests can run it in theirs. */
export interface CliIo {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  /** Changed only for what a library reads from the environment of the process. */
  readonly env: Record<string, string | undefined>;
  /** Fires at the first SIGINT or SIGTERM; its reason is an `Interruption`. */
  readonly signal: AbortSignal;
  /**
   * Set by a command that ends in its own time: called for each SIGINT and SIGTERM in place of what is done otherwise; false ends
   * the process at once.
   */
  handleSignal?: (signalName: "SIGINT" | "SIGTERM") => boolean;
  /** Set by the command: how the process is to end when something is thrown that nobody catches. */
  uncaughtCode?: number;
}

/** Why the signal fired. */
export class Interruption extends Error {
  readonly signalName: "SIGINT" | "SIGTERM";

  constructor(signalName: "SIGINT" | "SIGTERM") {
    super(`interrupted by ${signalName}`);
    this.name = "AbortError";
    this.signalName = signalName;
  }
}
