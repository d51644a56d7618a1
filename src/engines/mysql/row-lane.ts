import { recycle } from "../../base/bytes.ts";
import type { MysqlSession } from "./mysql-session.ts";
import type { RowPortion, RowWriter } from "./row-writer.ts";

/** Rows are committed when there are so many bytes of them: a commit waits for the disk, and a large one for its undo log. */
const COMMIT_BYTES = 16 * 1024 * 1024;

/**
 * Stores portions of rows by one connection, one after the other, of which one is under way while the caller collects the
 * next. They go in transactions, each of which is begun when there is something for it.
 */
export class RowLane {
  readonly session: MysqlSession;
  readonly #claim: (session: MysqlSession) => Promise<void>;
  #underWay: Promise<void> = Promise.resolve();
  #isOpen = false;
  #uncommitted = 0;

  /** `claim` throws at the beginning of a transaction when the place in the target belongs to another load, and keeps it until the end. */
  constructor(session: MysqlSession, claim: (session: MysqlSession) => Promise<void>) {
    this.session = session;
    this.#claim = claim;
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

  /** Ends the transaction, in which `statements` are the last ones. */
  async commit(...statements: readonly string[]): Promise<void> {
    await this.#underWay;
    if (statements.length > 0) await this.#begin();
    await this.session.run(...statements);
    await this.#commit();
  }

  /** Drops the connection and waits until nothing is under way. */
  async destroy(): Promise<void> {
    this.session.connection.destroy();
    await this.#underWay.catch(() => undefined);
  }

  async #begin(): Promise<void> {
    if (this.#isOpen) return;
    await this.session.run("START TRANSACTION");
    await this.#claim(this.session);
    this.#isOpen = true;
  }

  async #commit(): Promise<void> {
    if (!this.#isOpen) return;
    await this.session.run("COMMIT");
    this.#isOpen = false;
    this.#uncommitted = 0;
  }

  async #store(writer: RowWriter, portion: RowPortion): Promise<void> {
    await this.#begin();
    await writer.store(this.session.connection, portion);
    this.#uncommitted += portion.bytes.length;
    recycle(portion.bytes);
    if (this.#uncommitted >= COMMIT_BYTES) await this.#commit();
  }
}
