import { recycle } from "../../base/bytes.ts";
import type { MysqlSession } from "./mysql-session.ts";
import type { RowPortion, RowWriter } from "./row-writer.ts";

/** Rows are committed when there are so many bytes of them: a commit waits for the disk, and a large one for its undo log. */
const COMMIT_BYTES = 16 * 1024 * 1024;

/**
 * Stores portions of rows by one connection, one after the other, of which one is under way while the caller collects the
 * next. It is always in a transaction, which `commit` ends for good.
 */
export class RowLane {
  readonly session: MysqlSession;
  #underWay: Promise<void>;
  #uncommitted = 0;

  constructor(session: MysqlSession) {
    this.session = session;
    this.#underWay = this.#begin();
    this.#underWay.catch(() => undefined); // told to whoever waits for it next
  }

  /** Waits for the portion before, and begins to store what the writer has collected. */
  async send(writer: RowWriter): Promise<void> {
    const portion = writer.take();
    if (portion === undefined) return;
    await this.#underWay;
    this.#underWay = this.#store(writer, portion);
    this.#underWay.catch(() => undefined);
  }

  /** Waits for what was sent. */
  async settle(): Promise<void> {
    await this.#underWay;
  }

  async commit(): Promise<void> {
    await this.#underWay;
    await this.session.run("COMMIT");
  }

  /** Drops the connection and waits until nothing is under way. */
  async destroy(): Promise<void> {
    this.session.connection.destroy();
    await this.#underWay.catch(() => undefined);
  }

  async #begin(): Promise<void> {
    await this.session.run("START TRANSACTION");
  }

  async #store(writer: RowWriter, portion: RowPortion): Promise<void> {
    await writer.store(this.session.connection, portion);
    this.#uncommitted += portion.bytes.length;
    recycle(portion.bytes);
    if (this.#uncommitted < COMMIT_BYTES) return;
    await this.session.run("COMMIT", "START TRANSACTION");
    this.#uncommitted = 0;
  }
}
