import { rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { errorText } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { metricsText } from "./metrics.ts";
import type { StatusSource } from "./status-server.ts";

/** A file for the textfile collector of node_exporter: replaced as a whole, so that no half of one is ever read. */
export class MetricsTextfile {
  readonly #path: string;
  readonly #source: StatusSource;
  readonly #logger: Logger;
  #writing: Promise<void> = Promise.resolve();
  #isFailing = false;

  constructor(path: string, source: StatusSource, logger: Logger) {
    this.#path = path;
    this.#source = source;
    this.#logger = logger;
  }

  /** Never throws: warns when it begins to fail. */
  write(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#replace());
    return this.#writing;
  }

  async #replace(): Promise<void> {
    // The collector reads what ends in .prom
    const temporary = join(dirname(this.#path), `.${basename(this.#path)}.${process.pid}.tmp`);
    try {
      await writeFile(temporary, metricsText(this.#source.statuses(), this.#source.now()), { mode: 0o644 });
      await rename(temporary, this.#path);
      this.#isFailing = false;
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      if (!this.#isFailing) this.#logger.warn(`Cannot write metrics to ${this.#path}: ${errorText(error)}`);
      this.#isFailing = true;
    }
  }
}
