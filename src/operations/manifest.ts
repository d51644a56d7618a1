import { randomBytes } from "node:crypto";
import { open, readFile, realpath, rename, rm } from "node:fs/promises";
import { basename } from "node:path";
import { DataError, UsageError } from "../base/errors.ts";
import { fileError } from "../base/file-error.ts";
import type { CompressionName } from "../formats/container/output.ts";
import { decantVersion } from "./own-version.ts";
import type { DumpReport, RecordCounts } from "./report.ts";

/** What a dump is and how it was made, kept beside it (docs/verify.md). Members are added, never changed or removed. */
export interface Manifest {
  readonly manifestVersion: 1;
  readonly decantVersion: string;
  /** Name of the dump without its directory: both may be moved together. */
  readonly file: string;
  readonly format: "json" | "binary";
  readonly compression: CompressionName;
  /** Bytes of the document before compression, and of the file. */
  readonly documentBytes: number;
  readonly writtenBytes: number;
  /** Of the file, in hexadecimal digits. */
  readonly sha256: string;
  readonly volume: { readonly name: string; readonly uuid: string };
  /** Address without password. */
  readonly source: { readonly engine: string; readonly address: string };
  /** How that was made, as of which instant, and what it took. */
  readonly consistency: DumpReport["consistency"];
  /** False for a part of the volume. */
  readonly whole: boolean;
  /** Records of a binary dump by kind. Of a JSON dump: its entries, and what they have at every place. */
  readonly counts: RecordCounts;
}

/** What a dump says of itself. */
export type ManifestContent = Omit<Manifest, "manifestVersion" | "decantVersion" | "file">;

/** Where the manifest of a dump is looked for. */
export function manifestOf(file: string): string {
  return `${file}.manifest.json`;
}

/** Throws `UsageError` where a dump has no name that a manifest could stand beside. */
export function checkManifestTarget(target: { readonly file: string } | { readonly stream: unknown }): void {
  if ("file" in target) return;
  throw new UsageError("DECANT_E_MANIFEST_TARGET", "A manifest stands beside a file: there is none on stdout", {
    hint: "Give the dump a FILE, or leave --manifest out",
  });
}

/** Writes the manifest of a dump that is complete. It appears under its name when it is complete too. Throws `FileError`. */
export async function writeManifest(file: string, manifest: ManifestContent): Promise<string> {
  const path = manifestOf(file);
  // Entries are no records: how many can be reached is not what a binary dump says.
  const { directory, file: files, ...records } = manifest.counts;
  const content: Manifest = {
    manifestVersion: 1,
    decantVersion: decantVersion(),
    file: basename(file),
    ...manifest,
    counts: manifest.format === "binary" ? records : manifest.counts,
  };
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const handle = await open(temporary, "wx", 0o644);
    try {
      await handle.writeFile(`${JSON.stringify(content, undefined, 2)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, await realpath(path).catch(() => path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw fileError("write", path, error);
  }
  return path;
}

/** Removes the manifest of a dump that was replaced: it would say of the new one what is true of the old. */
export async function removeStaleManifest(file: string): Promise<boolean> {
  const path = manifestOf(file);
  const stale = await readManifest(path).catch(() => undefined);
  if (stale?.file !== basename(file)) return false;
  await rm(path).catch((error: unknown) => {
    throw fileError("write", path, error);
  });
  return true;
}

/** Reads a manifest. Throws `NotFoundError`, `FileError`, and `DataError` for what is none. */
export async function readManifest(path: string): Promise<Manifest> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw fileError("read", path, error);
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw notAManifest(path, "it is no JSON");
  }
  const manifest = value as Partial<Manifest> | null;
  if (typeof manifest !== "object" || manifest === null || typeof manifest.manifestVersion !== "number") {
    throw notAManifest(path, "it has no manifestVersion");
  }
  if (manifest.manifestVersion !== 1) {
    throw notAManifest(path, `its version ${manifest.manifestVersion} is not known to this decant`);
  }
  const isComplete =
    typeof manifest.sha256 === "string" &&
    typeof manifest.writtenBytes === "number" &&
    typeof manifest.counts === "object" &&
    typeof manifest.volume?.uuid === "string";
  if (!isComplete) throw notAManifest(path, "it has not all members");
  return manifest as Manifest;
}

function notAManifest(path: string, reason: string): DataError {
  return new DataError("DECANT_E_MANIFEST", `${path} cannot be used as a manifest: ${reason}`, {
    hint: "Move it away to check the dump without it",
  });
}
