import { createHash } from "node:crypto";
import { lstat } from "node:fs/promises";
import type { Writable } from "node:stream";
import { ConflictError, DataError } from "../../base/errors.ts";
import { fileError } from "../../base/file-error.ts";
import { openOutput } from "../../formats/container/output.ts";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import type { OperationContext } from "../context.ts";
import type { CatalogueEntry } from "./catalogue.ts";

export interface FetchRequest {
  readonly storage: ObjectStorage;
  readonly entry: Pick<CatalogueEntry, "backup" | "manifest">;
  /** A file appears under its name only when it is whole and its checksum is right. */
  readonly target: { readonly file: string } | { readonly stream: Writable };
  /** Replace a file of that name. */
  readonly force?: boolean;
}

export interface Fetched {
  /** Bytes as written, decrypted and still compressed. */
  readonly bytes: number;
  readonly sha256: string;
  /** Whether there was a manifest to compare with. */
  readonly compared: boolean;
}

/**
 * Copies a backup out of the bucket, decrypted. Throws `DataError` when it is not what its manifest says, `ConflictError` for a file
 * that is there; then no file was written.
 */
export async function fetchBackup(request: FetchRequest, context: OperationContext): Promise<Fetched> {
  const { storage, entry, target } = request;
  const { signal, progress } = context;
  const { backup, manifest } = entry;
  if ("file" in target && request.force !== true) await refuseExisting(target.file);
  const phase = progress.begin("Fetching", manifest === undefined ? {} : { bytes: manifest.writtenBytes });
  const hash = createHash("sha256");
  const output = await openOutput(target, { signal, compression: "none" });
  try {
    for await (const piece of storage.getStream(backup.key, { signal })) {
      hash.update(piece);
      phase.bytes += piece.length;
      await output.write(piece);
    }
    const sha256 = hash.digest("hex");
    if (manifest !== undefined && (manifest.sha256 !== sha256 || manifest.writtenBytes !== phase.bytes)) {
      throw new DataError(
        "DECANT_E_BACKUP_DAMAGED",
        `Backup ${storage.displayName}${backup.key} is not what its manifest says: ${phase.bytes} bytes with SHA-256 ${sha256}`,
        {
          hint: `Its manifest says ${manifest.writtenBytes} bytes with SHA-256 ${manifest.sha256}: it is damaged or was replaced, take another one`,
        },
      );
    }
    await output.commit();
    progress.end(phase);
    return { bytes: phase.bytes, sha256, compared: manifest !== undefined };
  } catch (error) {
    await output.abort();
    throw error;
  }
}

async function refuseExisting(file: string): Promise<void> {
  const found = await lstat(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw fileError("write", file, error);
  });
  if (found === undefined || !(found.isFile() || found.isSymbolicLink())) return;
  throw new ConflictError("DECANT_E_FILE_EXISTS", `File ${file} exists`, { hint: "Give another name, or --force" });
}
