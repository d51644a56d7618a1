import { EngineError, errorText } from "../../../base/errors.ts";
import type { RespConnection } from "../resp-connection.ts";

/**
 * Holds all writers of the server for a moment. When `maxMs` are over the server lets them go by itself, also when this process has
 * died. Nothing that is proven may rest on it: whoever works meanwhile must find out by himself whether something was changed.
 */
export class WritePause {
  /** How long writers were held, in all. */
  heldMs = 0;
  /** Why the server does not do it: before Redis 6.2 a pause held readers too, and the argument WRITE is refused. */
  refusal: string | undefined;
  readonly maxMs: number;
  readonly #connection: RespConnection;

  constructor(connection: RespConnection, maxMs: number) {
    this.#connection = connection;
    this.maxMs = maxMs;
  }

  get isAllowed(): boolean {
    return this.maxMs > 0 && this.refusal === undefined;
  }

  /** Undefined when the server does not permit it: `work` was not done then. */
  async during<T>(work: () => Promise<T>): Promise<T | undefined> {
    const from = performance.now();
    try {
      await this.#connection.call(["CLIENT", "PAUSE", String(this.maxMs), "WRITE"]);
    } catch (error) {
      if (!(error instanceof EngineError) || error.retryable) throw error;
      this.refusal = errorText(error);
      return undefined;
    }
    try {
      return await work();
    } finally {
      // A failure has its own cause, and the pause its own end.
      await this.#connection.call(["CLIENT", "UNPAUSE"]).catch(() => undefined);
      this.heldMs += Math.min(this.maxMs, performance.now() - from);
    }
  }
}
