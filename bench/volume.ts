import { createHash } from "node:crypto";
import { createWriteStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { CACHE } from "../test/support/repository.ts";
import { mustRun } from "../test/support/run-command.ts";
import { generateCorpus } from "./corpus.ts";
import type { CorpusOptions } from "./corpus-shape.ts";
import { type BenchEngine, ENGINES, type EngineName } from "./engines.ts";

/** One corpus in every form that a cell starts from. What can be kept is built once, under .cache/bench/. */
export interface BenchVolume {
  readonly files: number;
  /** Bytes of the JSON dump. */
  readonly documentBytes: number;
  readonly json: string;
  /** The binary dump that the reference makes of the volume in that engine, if there is none of another one yet. */
  binary(from: EngineName): Promise<string>;
  /** For outputs of single runs. */
  readonly scratch: string;
  engine(name: EngineName): BenchEngine;
  close(): Promise<void>;
}

const BUILD_TIMEOUT_MS = 3_600_000;

/** `client` loads the volumes: the reference, so that what is read by both was made by neither of ours. */
export async function openVolume(
  options: Partial<CorpusOptions> & { files: number },
  client: readonly string[],
  names: ReadonlySet<EngineName>,
): Promise<BenchVolume> {
  const key = createHash("sha256").update(JSON.stringify(options)).digest("hex").slice(0, 8);
  const directory = join(CACHE, "bench", `${options.files}-${key}`);
  const scratch = join(directory, "scratch");
  mkdirSync(scratch, { recursive: true });
  const json = join(directory, "corpus.json");
  if (!existsSync(json)) {
    const partial = `${json}.partial`;
    await pipeline(Readable.from(generateCorpus(options)), createWriteStream(partial));
    renameSync(partial, json);
  }
  const [program, ...args] = client;
  const engines = new Map<EngineName, BenchEngine>();
  const close = async (): Promise<void> => {
    rmSync(scratch, { recursive: true, force: true });
    for (const engine of engines.values()) await engine.close();
  };
  try {
    for (const name of names) {
      const load = async (url: string): Promise<void> => {
        console.error(`Building the volume in ${name}`);
        await mustRun(program!, [...args, "load", url, json], { timeoutMs: BUILD_TIMEOUT_MS });
      };
      engines.set(name, await ENGINES[name](directory, scratch, load));
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    files: options.files,
    documentBytes: statSync(json).size,
    json,
    binary: async (from) => {
      const file = join(directory, "corpus.bin");
      if (existsSync(file)) return file;
      const dump = ["dump", "--binary", "--keep-secret-key", engines.get(from)!.url, `${file}.partial`];
      await mustRun(program!, [...args, ...dump], { timeoutMs: BUILD_TIMEOUT_MS });
      renameSync(`${file}.partial`, file);
      return file;
    },
    scratch,
    engine: (name) => engines.get(name)!,
    close,
  };
}
