import { createHash } from "node:crypto";
import { createReadStream, rmSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { BenchVolume } from "./volume.ts";

/** What decant may use of what the reference uses, at a million files. */
export interface Target {
  readonly cpu: number;
  readonly wall: number;
}

/** One way to call the reference. */
export interface Variant {
  readonly name: string;
  readonly flags: readonly string[];
  readonly target: Target;
}

/** One engine, format and direction. */
export interface Cell {
  readonly name: string;
  readonly needs: { readonly sqlite: boolean; readonly redis: boolean };
  readonly variants: readonly Variant[];
  /** Arguments of either program, without flags. */
  arguments(volume: BenchVolume): string[];
  /** Removes what an earlier run left. */
  reset(volume: BenchVolume): Promise<void>;
  /** A digest of the result, for cells whose result must be the same for both programs. */
  digest?(volume: BenchVolume): Promise<string>;
}

export const CELLS: readonly Cell[] = [
  dumpCell("sqlite-json", (volume) => volume.sqliteUrl, { sqlite: true, redis: false }, [
    { name: "default", flags: [], target: { cpu: 0.06, wall: 0.06 } },
    { name: "--fast", flags: ["--fast"], target: { cpu: 0.2, wall: 0.2 } },
  ]),
  {
    name: "json-sqlite",
    needs: { sqlite: false, redis: false },
    variants: [{ name: "default", flags: [], target: { cpu: 0.18, wall: 0.25 } }],
    arguments: (volume) => ["load", `sqlite3://${loadedDatabase(volume)}`, volume.json],
    reset: async (volume) => {
      for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(loadedDatabase(volume) + suffix, { force: true });
    },
  },
  dumpCell("redis-json", (volume) => volume.redisUrl, { sqlite: false, redis: true }, [
    { name: "default", flags: [], target: { cpu: 0.5, wall: 0.65 } },
  ]),
  {
    name: "json-redis",
    needs: { sqlite: false, redis: true },
    variants: [{ name: "default", flags: [], target: { cpu: 0.25, wall: 0.45 } }],
    arguments: (volume) => ["load", volume.emptyRedisUrl, volume.json],
    reset: (volume) => volume.emptyRedis(),
  },
];

function dumpCell(
  name: string,
  url: (volume: BenchVolume) => string,
  needs: Cell["needs"],
  variants: readonly Variant[],
): Cell {
  return {
    name,
    needs,
    variants,
    arguments: (volume) => ["dump", url(volume), dumpedFile(volume)],
    reset: async (volume) => rmSync(dumpedFile(volume), { force: true }),
    digest: async (volume) => {
      const hash = createHash("sha256");
      await pipeline(createReadStream(dumpedFile(volume)), hash);
      return hash.digest("hex");
    },
  };
}

function dumpedFile(volume: BenchVolume): string {
  return join(volume.scratch, "dumped.json");
}

function loadedDatabase(volume: BenchVolume): string {
  return join(volume.scratch, "loaded.db");
}
