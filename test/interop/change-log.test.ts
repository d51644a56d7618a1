import { readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createContext } from "../../src/operations/context.ts";
import { type DumpRequest, dump } from "../../src/operations/dump.ts";
import { expectSameBytes } from "../golden/compare-bytes.ts";
import { BADGER, newBadgerTarget } from "../support/badger-directory.ts";
import { requireEtcd } from "../support/etcd-server.ts";
import { mountingClient, whileMounted } from "../support/mount.ts";
import { readReferenceDump, recordTexts } from "../support/reference-binary-dump.ts";
import { mustRun } from "../support/run-command.ts";
import { loadVolumeFile, newSqliteTarget } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireTikvCluster } from "../support/tikv-server.ts";

/** Dumps of key-value stores whose volumes keep a change log, beside the reference's of the same moment (docs/spec/changelog.md). */

const client = await mountingClient();
const etcd = client === undefined ? undefined : await requireEtcd();
const tikv = client === undefined ? undefined : await requireTikvCluster({ stores: 2 });

let volumes = 0;

interface Store {
  readonly name: string;
  readonly hasLog: boolean;
  newUrl(): string;
  /** `JFS_TKV_REWIND`: less than the whole log, which all of it is within by default. */
  readonly shortRewind: string;
  /** What the reference may open, once: it changes directories of BadgerDB by that. */
  copyOf(url: string): Promise<string>;
  /** To be called between two commands of the client. */
  repair?(url: string): void;
}

/** A command that ends while it makes a log leaves an empty one, with which no client opens the directory again. */
function removeEmptyLogs(url: string): void {
  const directory = url.slice(BADGER.length);
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (name.endsWith(".mem") && statSync(path).size === 0) rmSync(path);
  }
}

const STORES: readonly (Store | undefined)[] = [
  etcd && {
    name: "etcd",
    hasLog: false,
    newUrl: () => etcd.url(`/change-log-${process.pid}-${Date.now()}-${volumes++}`),
    shortRewind: "1",
    copyOf: async (url) => url,
  },
  tikv && {
    name: "TiKV",
    hasLog: true,
    newUrl: () => tikv.url(`change-log-${volumes++}`),
    shortRewind: String(300n << 18n), // timestamps: 300 ms, while the work below takes more than a second
    copyOf: async (url) => url,
  },
  client === undefined
    ? undefined
    : {
        name: "BadgerDB",
        hasLog: true,
        newUrl: () => newBadgerTarget().url,
        shortRewind: "700",
        async copyOf(url) {
          const copy = join(temporaryDirectory(), "copy");
          await mustRun("cp", ["-a", "--sparse=always", url.slice(BADGER.length), copy]);
          removeEmptyLogs(BADGER + copy);
          return BADGER + copy;
        },
        repair: removeEmptyLogs,
      },
];

/** Names and values with everything that the log escapes, and sets and moves a second apart. */
const WORK = `
import os, sys, time
os.chdir(sys.argv[1])
os.mkdir('d'); os.mkdir('a<b>&c')
with open(os.fsencode('d/') + b'n\\xff\\xe2\\x80\\xa8"', 'w') as f: f.write('x')
os.symlink('a,b%(q)\\\\', 'd/link')
os.setxattr('d', 'user.a', b'<v>\\x00\\xff')
time.sleep(1)
os.rename('d/link', 'd/moved'); os.mkdir('late'); os.rmdir('late')
`;

async function newVolume({ newUrl, repair }: Store): Promise<string> {
  const url = newUrl();
  await mustRun(client!, ["format", "--storage", "file", "--bucket", `${temporaryDirectory()}/`, url, "logged"]);
  repair?.(url);
  await mustRun(client!, ["config", url, "--changelog", "--changelog-max-age", "240h", "--yes"]);
  repair?.(url);
  await whileMounted(client!, url, async (directory) => {
    await mustRun("python3", ["-c", WORK, directory]);
  });
  return url;
}

async function dumpOf(url: string, env: Record<string, string>, request: Partial<DumpRequest> = {}): Promise<string> {
  const file = join(temporaryDirectory(), request.format === "binary" ? "ours.bin" : "ours.json");
  const report = await dump({ ...request, source: url, target: { file } }, createContext({ env }));
  expect(report.findings.filter(({ loss }) => loss)).toEqual([]);
  return file;
}

async function dumpByReference(url: string, env: Record<string, string>, ...flags: string[]): Promise<string> {
  const file = join(temporaryDirectory(), "theirs");
  await mustRun(client!, ["dump", ...flags, url, file], { env });
  return file;
}

const linesIn = (file: string): number => readFileSync(file, "latin1").split('"version": ').length - 1;

describe.each(STORES.filter((store) => store !== undefined))("a volume in $name with a change log", (store) => {
  test("is dumped with the end of the log that the reference's dump has", async () => {
    const url = await newVolume(store);
    const counts: number[] = [];
    for (const env of [{}, { JFS_TKV_REWIND: store.shortRewind }]) {
      for (const [flags, request] of [
        [[], {}],
        [["--skip-trash"], { skipTrash: true }],
        [["--subdir", "/d"], { subdir: "/d" }],
      ] as const) {
        const [ours, theirs] = [
          await dumpOf(url, env, request),
          await dumpByReference(await store.copyOf(url), env, ...flags),
        ];
        expectSameBytes(readFileSync(ours), readFileSync(theirs));
        counts.push(linesIn(ours));
      }
      const ours = readReferenceDump(await dumpOf(url, env, { format: "binary" }));
      const theirs = readReferenceDump(await dumpByReference(await store.copyOf(url), env, "--binary"));
      for (const kind of ["changeLog", "counter"] as const) {
        expect([kind, recordTexts(ours.get(kind) ?? [])]).toEqual([kind, recordTexts(theirs.get(kind) ?? [])]);
      }
      expect((ours.get("changeLog") ?? []).length).toBe(counts.at(-1));
    }
    const [whole, , , end] = counts as [number, number, number, number];
    if (store.hasLog) expect([whole > end, end > 0]).toEqual([true, true]);
    else expect(counts).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test("is loaded from its dumps, whose log is left out", async () => {
    const url = await newVolume(store);
    for (const request of [{}, { format: "binary" }] as const) {
      const { findings } = await loadVolumeFile(newSqliteTarget().url, await dumpOf(url, {}, request));
      expect(findings.map(({ kind }) => kind)).toEqual(store.hasLog ? ["change-log-dropped"] : []);
    }
  });
});
