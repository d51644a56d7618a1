import { recycle } from "../../base/bytes.ts";
import type { MysqlSession } from "./mysql-session.ts";

/** Statements are committed in portions of this size: a commit waits for the disk, and a large one for its undo log. */
const COMMIT_BYTES = 16 * 1024 * 1024;

/**
 * Runs statements on one connection, one after the other, of which one is under way while the caller collects the next. It
 * is always in a transaction, which `commit` ends for good.
 */
export class InsertLane {
  readonly session: MysqlSession;
  #underWay: Promise<void>;
  #uncommitted = 0;

  constructor(session: MysqlSession) {
    this.session = session;
    this.#underWay = this.#begin();
    this.#underWay.catch(() => undefined); // told to whoever waits for it next
  }

  /** Waits for the statement before, and begins this one. */
  async send(statement: Buffer): Promise<void> {
    await this.#underWay;
    this.#underWay = this.#execute(statement);
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

  async #execute(statement: Buffer): Promise<void> {
    await this.session.connection.execute(statement);
    this.#uncommitted += statement.length;
    recycle(statement);
    if (this.#uncommitted < COMMIT_BYTES) return;
    await this.session.run("COMMIT", "START TRANSACTION");
    this.#uncommitted = 0;
  }
}
