import { DataError } from "../base/errors.ts";
import { FileType } from "../volume/file-type.ts";
import type { FindingList } from "../volume/findings.ts";
import type { RecordBatch, RecordStream } from "../volume/records.ts";
import { settingGap } from "../volume/setting.ts";
import {
  ENTRY_FLAGS,
  ENTRY_ROOT,
  ENTRY_TRASH_ROOT,
  ENTRY_TYPE,
  ITEM_TAG,
  KEEP_ACL_ID,
  LEAVE_ACCESS_ACL,
  LEAVE_DEFAULT_ACL,
  LEAVE_XATTRS,
  TREE_ENTRY,
  TREE_LEAVE,
} from "../volume/tree-item.ts";
import { settingOf } from "./volume-setting.ts";

/**
 * What can be read of a damaged dump, as a stream that ends well: where the decoder gives up, the loss is noted, and open
 * directories of a tree are ended. Damage that leaves no setting, or no tree of files and no record, stays an error.
 */
export async function* salvage(records: RecordStream, findings: FindingList): RecordStream {
  let hasSetting = false;
  let hasContent = false;
  let depth = 0;
  try {
    for await (const batch of records) {
      if (batch.kind === "setting") {
        assertWhole(batch);
        hasSetting = true;
      }
      hasContent ||= batch.kind === "node" || batch.kind === "edge";
      if (batch.kind === "tree") {
        hasContent ||= hasFileTree(batch.bytes);
        depth += directoriesLeftOpen(batch.bytes);
      }
      yield batch;
    }
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    if (!hasSetting || !hasContent) throw nothingToSave(error, hasSetting ? NO_CONTENT : NO_SETTING);
    noteDamage(findings, error);
    if (depth > 0) yield leaves(depth);
  }
}

function assertWhole(batch: RecordBatch): void {
  const gap = settingGap(settingOf(batch));
  if (gap !== undefined) throw new DataError("DECANT_E_SETTING", `The setting of the volume is not whole: ${gap}`);
}

const NOT_AUTHENTICATED =
  "NOT AUTHENTICATED: nothing proves that what was decrypted is what was encrypted; any of it may have been changed, and its end " +
  "may be missing";
const NOT_PROVEN = "The compressed file is damaged: its checksum does not prove what was read, and more may be lost";

/** Notes what is wrong with the encryption or compression around a document. */
export function noteContainer(findings: FindingList, error: DataError): void {
  const isEncryption = error.code === "DECANT_E_DECRYPT";
  const kind = isEncryption ? "not-authenticated" : "not-proven";
  findings.addOther(kind, isEncryption ? NOT_AUTHENTICATED : NOT_PROVEN, true, () => error.message);
}

function noteDamage(findings: FindingList, error: DataError): void {
  const text = "The dump is damaged: what stands behind the damage is lost";
  findings.addOther("damaged", text, true, () => error.message);
}

const NO_SETTING =
  "Nothing can be saved: the setting of the volume is not whole, and without it nobody knows how the data of the files is stored " +
  "(block size, compression, encryption). Correct that place by hand, or put the setting of another dump of this volume there";
const NO_CONTENT =
  "Nothing can be saved: no entry of the tree of files can be read. Take another copy or an earlier backup";

function nothingToSave(error: DataError, hint: string): DataError {
  const { code, message, location } = error;
  return new DataError(code, message, { cause: error, location, hint });
}

/** Whether the tree of files begins in a batch: that of the trash alone is no volume. */
function hasFileTree(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at)) {
    const roots = bytes[at + ENTRY_FLAGS]! & (ENTRY_ROOT | ENTRY_TRASH_ROOT);
    if (bytes[at + ITEM_TAG] === TREE_ENTRY && roots === ENTRY_ROOT) return true;
  }
  return false;
}

function directoriesLeftOpen(bytes: Buffer): number {
  let depth = 0;
  for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at)) {
    const tag = bytes[at + ITEM_TAG];
    if (tag === TREE_ENTRY && bytes[at + ENTRY_TYPE] === FileType.directory) depth++;
    else if (tag === TREE_LEAVE) depth--;
  }
  return depth;
}

function leaves(count: number): RecordBatch {
  const bytes = Buffer.alloc(count * LEAVE_XATTRS);
  for (let at = 0; at < bytes.length; at += LEAVE_XATTRS) {
    bytes.writeUInt32BE(LEAVE_XATTRS, at);
    bytes[at + ITEM_TAG] = TREE_LEAVE;
    bytes.writeUInt32BE(KEEP_ACL_ID, at + LEAVE_ACCESS_ACL);
    bytes.writeUInt32BE(KEEP_ACL_ID, at + LEAVE_DEFAULT_ACL);
  }
  return { kind: "tree", count, bytes };
}
