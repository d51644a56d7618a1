import { mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type BackupManifest, manifestJson } from "../../src/operations/backups/backup-manifest.ts";
import { type BackupName, backupName } from "../../src/operations/backups/backup-name.ts";
import { sidecarKey, writeSidecar } from "../../src/operations/backups/sidecars.ts";
import { FileStorage } from "../../src/storage/file-storage.ts";
import type { ListedObject, ObjectStorage } from "../../src/storage/object-storage.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const SIGNAL = new AbortController().signal;

/** A bucket in a directory. */
export class TestBucket {
  readonly directory: string = temporaryDirectory();
  readonly storage: ObjectStorage = new FileStorage(`${this.directory}/`, "vol");

  /** Objects of one byte each, unless told. */
  async put(...keys: (string | readonly [key: string, content: string])[]): Promise<void> {
    for (const each of keys) {
      const [key, content] = typeof each === "string" ? [each, "x"] : each;
      await this.storage.put(key, Buffer.from(content), SIGNAL);
    }
  }

  /** The same for many, which need not be durable. */
  putMany(keys: Iterable<string>): void {
    for (const key of keys) {
      const file = join(this.directory, "vol", key);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, "x");
    }
  }

  /** A backup of that time, with the manifest of one that was read back unless it is by a client of the reference. */
  async putBackup(
    time: Date | string,
    {
      by = "decant",
      inodes = 100n,
      suspicious = [],
    }: { by?: "decant" | "juicefs"; inodes?: bigint; suspicious?: string[] } = {},
  ): Promise<BackupName> {
    const backup = backupName(new Date(time), "json", "gzip");
    await this.put(backup.key);
    if (by === "decant") {
      const manifest = manifestOf(backup, inodes, suspicious);
      await writeSidecar(this.storage, sidecarKey("manifest", backup.name), manifestJson(manifest), SIGNAL);
    }
    return backup;
  }

  /** Keys of all objects, sorted. */
  async keys(prefix: string = ""): Promise<string[]> {
    const keys: string[] = [];
    for await (const { key } of this.storage.list(prefix, { signal: SIGNAL })) keys.push(key);
    return keys.sort();
  }

  /** Lets an object look as if it had been written then. */
  setModified(key: string, time: Date): void {
    utimesSync(join(this.directory, "vol", key), time, time);
  }
}

/** A manifest of an object of one byte. */
function manifestOf(backup: BackupName, inodes: bigint, suspicious: readonly string[]): BackupManifest {
  const at = backup.time.toISOString();
  return {
    manifestVersion: 1,
    decantVersion: "0.1.0",
    file: backup.name,
    format: backup.format,
    compression: backup.compression,
    documentBytes: 1000,
    writtenBytes: 1,
    sha256: "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", // of "x"
    volume: { name: "vol", uuid: "e369eebd-5538-4cc1-bfd4-6c1534d5c460" },
    source: { engine: "SQLite", address: "sqlite3://vol.db" },
    consistency: { pointInTime: true, method: "one read transaction", asOf: at },
    whole: true,
    counts: { directory: 1, file: Number(inodes) - 1 },
    backup: {
      key: backup.key,
      storedBytes: 1,
      startedAt: at,
      verifiedAt: at,
      durationMs: 10,
      by: { program: "decant 0.1.0", host: "host", pid: 1 },
      usage: { inodes, usedSpace: inodes * 4096n },
      entries: inodes > 100n ? 100 : Number(inodes),
      losses: [],
      suspicious,
      comparedWith: undefined,
    },
  };
}

/** The same storage with some of its methods replaced. */
export function changedStorage(storage: ObjectStorage, changes: Partial<ObjectStorage>): ObjectStorage {
  return new Proxy(storage, {
    get(target, name) {
      const changed = changes[name as keyof ObjectStorage] as unknown;
      const value = changed ?? (Reflect.get(target, name, target) as unknown);
      return typeof value === "function" ? value.bind(changed === undefined ? target : changes) : value;
    },
  });
}

/** Lists in an order that is none, as some object storages do; the same one for the same objects. */
export function unsorted(storage: ObjectStorage): ObjectStorage {
  const rank = (key: string) => [...key].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) | 0, 7);
  return changedStorage(storage, {
    async *list(prefix, options) {
      const all: ListedObject[] = [];
      for await (const object of storage.list(prefix, options)) all.push(object);
      yield* all.sort((a, b) => rank(a.key) - rank(b.key));
    },
  });
}
