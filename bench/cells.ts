import { createHash } from "node:crypto";
import { createReadStream, rmSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { config } from "../src/operations/config.ts";
import { createContext } from "../src/operations/context.ts";
import type { EngineName } from "./engines.ts";
import type { Floor } from "./floors.ts";
import type { Program } from "./measure.ts";
import type { BenchVolume } from "./volume.ts";

/** What decant may use of what the reference uses, at a million files; undefined where nothing was asked. */
export interface Target {
  readonly cpu: number | undefined;
  readonly wall: number | undefined;
}

/** One way to call the reference. */
export interface Variant {
  readonly name: string;
  readonly flags: readonly string[];
  readonly target: Target;
  /** Takes so long that it runs only when it is asked for by its name. */
  readonly onRequest?: boolean;
  /** Its result is known to be another one: extended attributes of hard links are escaped again at each (docs/spec/kv.md §8). */
  readonly hasOtherResult?: boolean;
}

/** One engine, format and direction. */
export interface Cell {
  readonly name: string;
  readonly engine: EngineName;
  readonly variants: readonly Variant[];
  /** Removes what an earlier run left; returns the arguments of a program, without flags. */
  prepare(volume: BenchVolume, program: Program): Promise<string[]>;
  /** Removes what a run left. */
  clean(volume: BenchVolume): Promise<void>;
  /** A digest of the result, for cells whose result must be the same for both programs. */
  digest?(volume: BenchVolume): Promise<string>;
  /** What the database's own client takes for the same tables. */
  floor?(volume: BenchVolume): Floor | undefined;
}

const plain = (cpu?: number, wall?: number): Variant => ({ name: "default", flags: [], target: { cpu, wall } });
const fast = (cpu?: number, wall?: number): Variant => ({ name: "--fast", flags: ["--fast"], target: { cpu, wall } });

export const CELLS: readonly Cell[] = [
  dumpCell("sqlite", plain(0.06, 0.06), fast(0.2, 0.2)),
  loadCell("sqlite", plain(0.18, 0.25)),
  dumpCell("redis", plain(0.5, 0.65)),
  loadCell("redis", plain(0.25, 0.45)),
  dumpCell("postgres", plain(0.02, 0.02), fast(0.2, 0.45)),
  loadCell("postgres", plain(0.15, 0.45)),
  dumpCell("mariadb", plain(0.1, 0.2), fast(0.3, 0.6)),
  loadCell("mariadb", plain(0.2, 0.45)),
  binaryDumpCell("sqlite", plain(0.12, 0.2)),
  binaryLoadCell("sqlite", plain(0.07, 0.08)),
  binaryDumpCell("redis", plain(0.65, 0.9)),
  binaryLoadCell("redis", plain(0.5, 0.9)),
  binaryDumpCell("postgres", plain(0.12, 0.5)),
  binaryLoadCell("postgres", plain(0.12, 0.45)),
  binaryDumpCell("mariadb", plain(0.2, 0.6)),
  binaryLoadCell("mariadb", plain(0.2, 0.45)),
  dumpCell("badger", plain(0.35, 0.35), { ...fast(0.6, 0.6), hasOtherResult: true }),
  loadCell("badger", plain(0.6, 0.6)),
  binaryDumpCell("badger", plain(1, 1.2)),
  binaryLoadCell("badger", plain(0.6, 0.6)),
  dumpCell("etcd", { ...plain(undefined, 0.1), onRequest: true }, { ...fast(), hasOtherResult: true }),
  loadCell("etcd", plain(0.8, 0.8)),
  binaryDumpCell("etcd", plain(1, 0.8)),
  binaryLoadCell("etcd", plain(0.8, 0.8)),
  verifyCell(),
  convertCell(),
  backupCell("redis", { ...plain(1, 0.7), name: "dump to .json.gz" }),
  backupCell("sqlite", { ...plain(1, 0.7), name: "dump to .json.gz" }),
];

/** What is measured when nothing is chosen: the others' reference takes up to hours at a million files. */
export const DEFAULT_CELLS: readonly string[] = CELLS.slice(0, 4).map((cell) => cell.name);

function dumpCell(engine: EngineName, ...variants: Variant[]): Cell {
  const clean = async (volume: BenchVolume): Promise<void> => rmSync(dumpedFile(volume), { force: true });
  return {
    name: `${engine}-json`,
    engine,
    variants,
    prepare: async (volume) => {
      await clean(volume);
      return ["dump", volume.engine(engine).url, dumpedFile(volume)];
    },
    clean,
    digest: async (volume) => {
      const hash = createHash("sha256");
      await pipeline(createReadStream(dumpedFile(volume)), hash);
      return hash.digest("hex");
    },
    floor: (volume) => volume.engine(engine).floors?.dump,
  };
}

function loadCell(engine: EngineName, ...variants: Variant[]): Cell {
  return {
    name: `json-${engine}`,
    engine,
    variants,
    prepare: async (volume) => ["load", await volume.engine(engine).emptyTarget(), volume.json],
    clean: async (volume) => {
      await volume.engine(engine).emptyTarget();
    },
    floor: (volume) => volume.engine(engine).floors?.load,
  };
}

/** The order of segments is the reference's own: there is nothing to compare but what is loaded from them, which tests do. */
function binaryDumpCell(engine: EngineName, ...variants: Variant[]): Cell {
  const clean = async (volume: BenchVolume): Promise<void> => rmSync(dumpedFile(volume), { force: true });
  return {
    name: `${engine}-binary`,
    engine,
    variants,
    prepare: async (volume) => {
      await clean(volume);
      return ["dump", volume.engine(engine).url, dumpedFile(volume), "--binary"];
    },
    clean,
  };
}

function binaryLoadCell(engine: EngineName, ...variants: Variant[]): Cell {
  return {
    name: `binary-${engine}`,
    engine,
    variants,
    prepare: async (volume) => [
      "load",
      await volume.engine(engine).emptyTarget(),
      await volume.binary(engine),
      "--binary",
    ],
    clean: async (volume) => {
      await volume.engine(engine).emptyTarget();
    },
  };
}

/** Reads and checks what `json-sqlite` loads; the reference has nothing like it. */
function verifyCell(): Cell {
  return {
    name: "json-verify",
    engine: "sqlite",
    variants: [],
    prepare: async (volume) => ["verify", volume.json],
    clean: async () => undefined,
  };
}

/** Reads what `json-verify` reads and writes what `sqlite-binary` writes. */
function convertCell(): Cell {
  const target = (volume: BenchVolume): string => join(volume.scratch, "converted.bin");
  return {
    name: "json-convert",
    engine: "sqlite",
    variants: [],
    prepare: async (volume) => ["convert", volume.json, target(volume)],
    clean: async (volume) => rmSync(target(volume), { force: true }),
  };
}

/** A backup into a directory, read back and compared, beside a mere dump, which is what clients upload. */
function backupCell(engine: EngineName, ...variants: Variant[]): Cell {
  const bucket = (volume: BenchVolume): string => join(volume.scratch, "bucket");
  const file = (volume: BenchVolume): string => join(volume.scratch, "dumped.json.gz");
  const clean = async (volume: BenchVolume): Promise<void> => {
    for (const path of [bucket(volume), file(volume)]) rmSync(path, { recursive: true, force: true });
  };
  return {
    name: `${engine}-backup`,
    engine,
    variants,
    prepare: async (volume, program) => {
      await clean(volume);
      const { url } = volume.engine(engine);
      if (program === "reference") return ["dump", url, file(volume)];
      await config({ target: url, flags: { bucket: bucket(volume) }, force: true }, createContext());
      return ["backup", url];
    },
    clean,
  };
}

function dumpedFile(volume: BenchVolume): string {
  return join(volume.scratch, "dumped.json");
}
