import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import type { OperationContext } from "../context.ts";
import { type VerifyReport, verify } from "../verify.ts";
import type { BackupName } from "./backup-name.ts";
import type { CatalogueEntry } from "./catalogue.ts";
import { type BackupCheck, checkJson } from "./check-record.ts";
import { sidecarKey, thisAuthor, writeSidecar } from "./sidecars.ts";

export interface BackupVerification {
  readonly backup: BackupName;
  readonly ok: boolean;
  readonly check: BackupCheck;
  /** What was found in the dump itself. */
  readonly dump: VerifyReport;
  /** The object of an encrypted volume is stored in clear, as clients of the reference store large ones. */
  readonly inClear: boolean;
}

/**
 * Reads a backup from its bucket to the end and checks it as `verify` does a file; where it has a manifest, its size and SHA-256 too.
 * With `record` the result is kept beside it. Throws only for what keeps it from looking.
 */
export async function verifyBackup(
  storage: ObjectStorage,
  { backup, size, manifest }: Pick<CatalogueEntry, "backup" | "size" | "manifest">,
  options: { readonly record: boolean; readonly strict?: boolean },
  context: OperationContext,
): Promise<BackupVerification> {
  const { signal } = context;
  const hash = createHash("sha256");
  const read = { bytes: 0, isWhole: false, inClear: false };
  async function* shown(): AsyncGenerator<Buffer> {
    const onClear = (): void => {
      read.inClear = true;
    };
    for await (const piece of storage.getStream(backup.key, { signal, onClear })) {
      hash.update(piece);
      read.bytes += piece.length;
      yield piece;
    }
    read.isWhole = true;
  }
  const dump = await verify(
    { source: { stream: Readable.from(shown(), { objectMode: false }) }, strict: options.strict ?? false },
    context,
  );
  const sha256 = read.isWhole ? hash.digest("hex") : undefined;
  const problems = dump.problems.filter(({ severity }) => severity === "error").map(problemText);
  const expected = nameProblem(backup, dump);
  if (expected !== undefined) problems.push(expected);
  if (manifest !== undefined && sha256 !== undefined) {
    if (manifest.writtenBytes !== read.bytes) {
      problems.push(`It has ${read.bytes} bytes, its manifest says ${manifest.writtenBytes}`);
    }
    if (manifest.sha256 !== sha256) problems.push("Its SHA-256 is not that of its manifest");
  }
  const check: BackupCheck = {
    ok: problems.length === 0,
    at: new Date().toISOString(),
    by: thisAuthor(),
    storedBytes: size,
    bytes: read.bytes,
    sha256,
    problems,
  };
  if (options.record) await writeSidecar(storage, sidecarKey("check", backup.name), checkJson(check), signal);
  return { backup, ok: check.ok, check, dump, inClear: read.inClear };
}

/** Whether the object is a dump that can be read to its end. */
export async function isWholeDump(
  storage: ObjectStorage,
  backup: BackupName,
  context: OperationContext,
): Promise<boolean> {
  const info = await storage.head(backup.key, context.signal);
  if (info === undefined) return false;
  const entry = { backup, size: info.size, manifest: undefined };
  return (await verifyBackup(storage, entry, { record: false }, context)).dump.damage === undefined;
}

function problemText({ text, count, examples }: VerifyReport["problems"][number]): string {
  const example = examples[0] === undefined || examples[0] === "" ? "" : ` (${examples[0]})`;
  return count > 1 ? `${text}: ${count}${example}` : `${text}${example}`;
}

/** Clients go by the name. */
function nameProblem({ format, compression }: BackupName, dump: VerifyReport): string | undefined {
  if (dump.format === undefined || dump.container === undefined) return undefined;
  const named = compression === "none" ? "plain" : compression;
  if (dump.format === format && dump.container === named) return undefined;
  return `Its name says ${format}, ${named}; its content is ${dump.format}, ${dump.container}`;
}
