import type { SnapshotLoss } from "../engines/engine.ts";
import { UnnamedValues } from "../tree/unnamed-values.ts";
import type { FindingKind, FindingList } from "../volume/findings.ts";
import type { RecordStream } from "../volume/records.ts";
import type { OperationContext } from "./context.ts";

interface NamedLoss {
  readonly inode: bigint;
  readonly message: string;
  /** Undefined for what cannot be read. */
  readonly kind: FindingKind | undefined;
  readonly path?: string;
}

/** What is found wrong with inodes while a volume is read, until it is known under which path. Close it in any case. */
export class SnapshotLosses {
  readonly #findings: FindingList;
  readonly #losses: UnnamedValues<NamedLoss>;

  constructor(findings: FindingList, { memory: { maxBytes, tmpDir }, signal }: OperationContext) {
    this.#findings = findings;
    this.#losses = new UnnamedValues({ maxBytes: Math.floor(maxBytes / 16), tmpDir, signal });
  }

  /** For `SnapshotOptions.onLoss`. */
  readonly add = ({ inode, message }: SnapshotLoss): void => {
    if (inode === undefined) this.#note(undefined, message);
    else this.#losses.add({ inode, message, kind: undefined });
  };

  addFinding(kind: FindingKind, inode: bigint, message: string): void {
    this.#losses.add({ inode, message, kind });
  }

  /** Passes a tree on, and notes all losses when it has ended. */
  async *named(tree: RecordStream): RecordStream {
    for await (const batch of tree) {
      if (batch.kind === "tree" && this.#losses.count > 0) this.#losses.see(batch.bytes);
      yield batch;
    }
    for (const { path, inode, message, kind } of this.#losses.seen()) {
      const where = path ?? `inode ${inode}`;
      this.#note(kind, path?.endsWith(message) === true ? where : `${where}: ${message}`); // a new name says nothing more
    }
  }

  close(): void {
    this.#losses.close();
  }

  #note(kind: FindingKind | undefined, place: string): void {
    if (kind !== undefined) return this.#findings.add(kind, () => place);
    const text = "A record that cannot be read or understood was left out";
    this.#findings.addOther("unreadable", text, true, () => place);
  }
}
