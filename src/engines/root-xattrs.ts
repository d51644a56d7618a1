import { DecantError, EngineError } from "../base/errors.ts";
import { BACKUP_LEASE_XATTR } from "../volume/backup-xattrs.ts";
import { xattrChangeEntry } from "../volume/change-log.ts";
import { ROOT_INODE } from "../volume/inode.ts";
import { parseSetting } from "../volume/setting.ts";
import type { RootXattrSwap } from "./engine.ts";

/** What all engines have in common in `MetadataStore.swapRootXattrs`. */

/** One attribute to store, or to remove when `value` is undefined. */
export interface XattrChange {
  readonly name: string;
  readonly value: Buffer | undefined;
}

/** Every name that a swap looks at, in one order for all, so that no two swaps wait for each other. */
export function swapNames({ expected, values }: RootXattrSwap): string[] {
  return [...new Set([...expected.keys(), ...values.keys()])].sort();
}

/** Whether what is stored is what the swap expects. */
export function isExpected({ expected }: RootXattrSwap, stored: ReadonlyMap<string, Buffer>): boolean {
  for (const [name, value] of expected) if (!isSame(stored.get(name), value)) return false;
  return true;
}

/** What a swap that is as expected has to change. */
export function swapChanges({ values }: RootXattrSwap, stored: ReadonlyMap<string, Buffer>): XattrChange[] {
  return Array.from(values, ([name, value]) => ({ name, value })).filter(
    ({ name, value }) => !isSame(stored.get(name), value),
  );
}

function isSame(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}

/**
 * The entries that a volume with a change log gets: those of the reference, but none of the lease. It is renewed all the
 * time, would push the entries of others out of a log of limited length, and means nothing to whoever follows the log.
 */
export function changeLogEntries(setting: Buffer, changes: readonly XattrChange[]): string[] {
  const logged = changes.filter(({ name }) => name !== BACKUP_LEASE_XATTR);
  if (logged.length === 0 || !parseSetting(setting).changeLog) return [];
  const now = new Date();
  return logged.map(({ name, value }) => xattrChangeEntry(ROOT_INODE, name, value, now));
}

/** What says that nothing is stored, also when it comes at the end of a transaction: a lock, a command that was refused. */
const NOTHING_STORED: ReadonlySet<string> = new Set([
  "DECANT_E_LOCKED",
  "DECANT_E_REDIS_BUSY",
  "DECANT_E_REDIS_LOADING",
  "DECANT_E_REDIS_READONLY",
  "DECANT_E_REDIS_CLUSTER",
  "DECANT_E_REDIS_PERMISSION",
]);

/** Remembers whether a transaction has got as far as its end, from where on an error says nothing about its outcome. */
export class SwapOutcome {
  #isEnding = false;

  /** A transaction begins, or begins again: nothing of an earlier attempt is stored. */
  begin(): void {
    this.#isEnding = false;
  }

  /** All is written; what follows is the end of the transaction. */
  end(): void {
    this.#isEnding = true;
  }

  /** Runs all attempts. Throws `EngineError` `DECANT_E_OUTCOME_UNKNOWN` for an error from the end of the last one. */
  async settle<T>(address: string, signal: AbortSignal, attempts: () => Promise<T>): Promise<T> {
    try {
      return await attempts();
    } catch (error) {
      if (!this.#isEnding || signal.aborted || !(error instanceof DecantError)) throw error;
      if (NOTHING_STORED.has(error.code)) throw error;
      throw new EngineError(
        "DECANT_E_OUTCOME_UNKNOWN",
        `Cannot tell whether a change of ${address} is stored: ${error.message}`,
        { cause: error, retryable: true, hint: "What is stored now can be read when the database answers again" },
      );
    }
  }
}
