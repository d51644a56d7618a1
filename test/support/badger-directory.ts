import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { silentLogger } from "../../src/base/logger.ts";
import { BadgerStore } from "../../src/engines/badger/badger-store.ts";
import { pairsOf } from "../../src/engines/kv/kv-page.ts";
import type { KvRange } from "../../src/engines/kv/kv-store.ts";
import { fixture } from "./repository.ts";
import { mustRun } from "./run-command.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

export const BADGER: string = "badger://";

/** The META-URL of a directory that does not exist yet. */
export function newBadgerTarget(): { directory: string; url: string } {
  const directory = join(temporaryDirectory(), "badger");
  return { directory, url: BADGER + directory };
}

/** Unpacks a fixture, a path or a name below test/fixtures; returns the only directory in it, or that of the given name. */
export async function unpackBadger(file: string, name?: string): Promise<string> {
  const target = join(temporaryDirectory(), "unpacked");
  mkdirSync(target);
  // the archives have holes of gigabytes, of which GNU tar makes holes again
  await mustRun("tar", ["-xzSf", file.startsWith("/") ? file : fixture(file), "-C", target]);
  return join(target, name ?? readdirSync(target)[0]!);
}

export const ALL_KEYS: KvRange = { start: new Uint8Array(0), end: new Uint8Array(0) };

/** A store for what is tested below the volumes. */
export function badgerStore(directory: string): BadgerStore {
  return new BadgerStore(BADGER + directory, directory, temporaryDirectory());
}

/** All that is alive in a directory, one pair per line: key and value in hex. Nothing for a directory that is not there. */
export async function readBadgerLines(directory: string, range: KvRange = ALL_KEYS): Promise<string[]> {
  const snapshot = await badgerStore(directory).openSnapshot({
    signal: new AbortController().signal,
    logger: silentLogger,
  });
  try {
    const lines: string[] = [];
    for await (const page of snapshot.scan(range)) {
      for (const [key, value] of pairsOf(page)) lines.push(`${key.toString("hex")} ${value.toString("hex")}`);
    }
    return lines;
  } finally {
    await snapshot.close();
  }
}
