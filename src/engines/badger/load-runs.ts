import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileError } from "../../base/file-error.ts";
import { makeDirectory, publishFile, syncDirectory, UNFINISHED } from "./directory-changes.ts";
import type { KeptRun, RunKeeper } from "./pair-sorter.ts";
import { damagedRun, RunFile, type RunFileContent } from "./run-file.ts";

/**
 * The directory, inside that of the database, in which a load keeps its sorted runs until MANIFEST is there. Clients leave alone what
 * they do not know (docs/spec/kv-stores.md §3.1).
 */
export const RUNS_DIRECTORY = "decant-load-runs";

/** What belongs to the last checkpoint; runs that it does not list are of no use. Without it, nobody can go on. */
const PROGRESS_FILE = "progress";
const RUN_NAME = /^run-\d{6,}$/;

/** A checkpoint as it is stored. */
export interface StoredLoad {
  /** The whole file. */
  readonly bytes: Buffer;
  readonly progress: Buffer;
  /** The topmost directory that the load has made for the database. */
  readonly made: string | undefined;
  /** How many pieces of memory the sorter has written: their numbers tell which of two pairs came last. */
  readonly pieces: number;
  readonly runs: readonly StoredRun[];
}

interface StoredRun extends RunFileContent {
  readonly name: string;
  /** How often its pairs were merged. */
  readonly tier: number;
}

/** The last checkpoint of a load that was cut off in this directory; undefined when there is none. Throws `DataError`, `FileError`. */
export function readStoredLoad(directory: string): StoredLoad | undefined {
  const path = join(directory, RUNS_DIRECTORY, PROGRESS_FILE);
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw fileError("read", path, error);
  }
  const end = bytes.indexOf("\n");
  const stored = parseRuns(bytes.subarray(end + 1).toString());
  if (end < 0 || stored === undefined) throw damagedRun(path, "its second line does not tell the runs");
  return { ...stored, bytes, progress: bytes.subarray(0, end) };
}

function parseRuns(line: string): Pick<StoredLoad, "made" | "pieces" | "runs"> | undefined {
  try {
    const { made, pieces, runs } = JSON.parse(line) as Partial<StoredLoad>;
    if (!Number.isSafeInteger(pieces) || !Array.isArray(runs) || !runs.every(isStoredRun)) return undefined;
    return { made: typeof made === "string" ? made : undefined, pieces: pieces!, runs };
  } catch {
    return undefined;
  }
}

function isStoredRun(run: Partial<StoredRun>): run is StoredRun {
  return RUN_NAME.test(run.name ?? "") && [run.bytes, run.crc32, run.tier].every(Number.isSafeInteger);
}

/** Whether a load has left runs, of use or not. */
export function hasRuns(directory: string): boolean {
  return existsSync(join(directory, RUNS_DIRECTORY));
}

/** Removes them, the checkpoint first: at no moment it lists what is not there. Other files stay. Throws `FileError`. */
export function removeRuns(directory: string): void {
  const runs = join(directory, RUNS_DIRECTORY);
  if (!existsSync(runs)) return;
  try {
    rmSync(join(runs, PROGRESS_FILE), { force: true });
    syncDirectory(runs);
    const own = new Set([PROGRESS_FILE, UNFINISHED + PROGRESS_FILE]);
    const names = readdirSync(runs);
    for (const name of names) if (RUN_NAME.test(name) || own.has(name)) rmSync(join(runs, name), { force: true });
    if (names.every((name) => RUN_NAME.test(name) || own.has(name))) rmdirSync(runs);
    syncDirectory(directory);
  } catch (error) {
    throw fileError("delete", runs, error);
  }
}

/** The runs of a load, one file for each. The caller holds the lock of the database. */
export class LoadRuns implements RunKeeper {
  readonly #database: string;
  readonly #made: string | undefined;
  readonly #names = new Map<RunFile, string>();
  /** Files that the last checkpoint lists. */
  #listed: Set<RunFile> = new Set();
  /** Merged into others, but listed. */
  readonly #outdated: Set<RunFile> = new Set();
  #nextNumber = 1;
  #hasCheckpoint: boolean;

  /** `made`: the topmost directory that was made for the database. Nothing is written before the first run. */
  constructor(database: string, made: string | undefined, hasCheckpoint = false) {
    this.#database = database;
    this.#made = made;
    this.#hasCheckpoint = hasCheckpoint;
  }

  /**
   * Goes on with a load that was cut off: what came behind its checkpoint is removed, the rest is read and compared. Throws `DataError`
   * where a file is not as that load has left it.
   */
  static resume(database: string, { made, runs }: StoredLoad): { keeper: LoadRuns; runs: KeptRun[] } {
    const keeper = new LoadRuns(database, made, true);
    const listed = new Set(runs.map(({ name }) => name));
    try {
      for (const name of readdirSync(keeper.#directory)) {
        if (RUN_NAME.test(name) && !listed.has(name)) rmSync(join(keeper.#directory, name), { force: true });
      }
    } catch (error) {
      throw fileError("delete", keeper.#directory, error);
    }
    try {
      const kept = runs.map(({ name, tier, ...content }): KeptRun => {
        const store = RunFile.open(join(keeper.#directory, name), content);
        keeper.#names.set(store, name);
        keeper.#nextNumber = Math.max(keeper.#nextNumber, Number(name.slice("run-".length)) + 1);
        return { store, tier };
      });
      keeper.#listed = new Set(keeper.#names.keys());
      return { keeper, runs: kept };
    } catch (error) {
      keeper.close();
      throw error;
    }
  }

  get hasCheckpoint(): boolean {
    return this.#hasCheckpoint;
  }

  begin(): RunFile {
    this.#makeDirectory();
    const name = `run-${String(this.#nextNumber++).padStart(6, "0")}`;
    const file = RunFile.create(join(this.#directory, name));
    this.#names.set(file, name);
    return file;
  }

  drop(run: RunFile): void {
    if (this.#listed.has(run)) this.#outdated.add(run);
    else this.#remove(run);
  }

  close(): void {
    for (const run of this.#names.keys()) run.close();
    this.#names.clear();
  }

  /** Makes the runs durable, and then this checkpoint. */
  async checkpoint(progress: Uint8Array, runs: readonly KeptRun[], pieces: number): Promise<void> {
    const files = runs.map(({ store }) => store as RunFile);
    for (const file of files) await file.sync();
    this.#makeDirectory();
    const stored = runs.map(
      ({ tier }, i): StoredRun => ({ name: this.#names.get(files[i]!)!, tier, ...files[i]!.content }),
    );
    const line = JSON.stringify({ made: this.#made, pieces, runs: stored });
    publishFile(this.#directory, PROGRESS_FILE, [progress, Buffer.from(`\n${line}\n`)]); // makes the names of the runs durable too
    this.#hasCheckpoint = true;
    this.#listed = new Set(files);
    for (const run of this.#outdated) this.#remove(run);
    this.#outdated.clear();
  }

  get #directory(): string {
    return join(this.#database, RUNS_DIRECTORY);
  }

  #makeDirectory(): void {
    if (this.#names.size === 0) makeDirectory(this.#directory);
  }

  #remove(run: RunFile): void {
    run.close();
    this.#names.delete(run);
    try {
      rmSync(run.path, { force: true });
    } catch (error) {
      throw fileError("delete", run.path, error);
    }
  }
}
