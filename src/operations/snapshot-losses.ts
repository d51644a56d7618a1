import type { SnapshotLoss } from "../engines/engine.ts";
import { UnnamedValues } from "../tree/unnamed-values.ts";
import type { FindingList } from "../volume/findings.ts";
import type { RecordStream } from "../volume/records.ts";
import type { OperationContext } from "./context.ts";

interface NamedLoss {
  readonly inode: bigint;
  readonly message: string;
  readonly path?: string;
}

/** What cannot be read of a snapshot, until it is known under which path. Close it in any case. */
export class SnapshotLosses {
  readonly #findings: FindingList;
  readonly #losses: UnnamedValues<NamedLoss>;

  constructor(findings: FindingList, { memory: { maxBytes, tmpDir }, signal }: OperationContext) {
    this.#findings = findings;
    this.#losses = new UnnamedValues({ maxBytes: Math.floor(maxBytes / 16), tmpDir, signal });
  }

  /** For `SnapshotOptions.onLoss`. */
  readonly add = ({ inode, message }: SnapshotLoss): void => {
    if (inode === undefined) this.#note(message);
    else this.#losses.add({ inode, message });
  };

  /** Passes a tree on, and notes all losses when it has ended. */
  async *named(tree: RecordStream): RecordStream {
    for await (const batch of tree) {
      if (batch.kind === "tree" && this.#losses.count > 0) this.#losses.see(batch.bytes);
      yield batch;
    }
    for (const { path, inode, message } of this.#losses.seen()) this.#note(`${path ?? `inode ${inode}`}: ${message}`);
  }

  close(): void {
    this.#losses.close();
  }

  #note(place: string): void {
    const text = "A record that cannot be read or understood was left out";
    this.#findings.addOther("unreadable", text, true, () => place);
  }
}
