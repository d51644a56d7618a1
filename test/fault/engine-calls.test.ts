import { readdirSync } from "node:fs";
import { dirname } from "node:path";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import type { MetadataStore } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { loadStamp } from "../../src/operations/interrupted-load.ts";
import { loadVolume } from "../../src/operations/load-volume.ts";
import { snapshotTree } from "../../src/operations/snapshot-tree.ts";
import { STOP_ON_UNSUPPORTED } from "../../src/operations/unsupported-values.ts";
import { FindingList } from "../../src/volume/findings.ts";
import { packBatch, type RecordStream } from "../../src/volume/records.ts";
import { FaultPlan, faulty, InjectedFault } from "../support/faults.ts";
import { requireEngines, type TestEngine } from "../support/test-engines.ts";
import { dumpText, loadText, newSqlite, quietContext } from "../support/volume-files.ts";
import { decodeText } from "../support/volume-streams.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const engines = await requireEngines(["Redis", "SQLite", "etcd", "TiKV", "BadgerDB"]);
const text: Buffer = await wideVolumeText(4_000);

/** Everything in a database, or in the directory around it where it is a file or a directory. */
async function contentOf({ name, readContent }: TestEngine, url: string): Promise<readonly string[]> {
  if (name === "SQLite" || name === "BadgerDB") return readdirSync(dirname(url.slice(url.indexOf("://") + 3)));
  return [...(await readContent(url)).values()].flat();
}

async function withStore<T>(url: string, work: (store: MetadataStore) => Promise<T>): Promise<T> {
  const signal = new AbortController().signal;
  const store = await openStore(url, { logger: silentLogger, signal, env: {}, create: true });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

async function load(records: RecordStream, target: MetadataStore): Promise<unknown> {
  const options = {
    target,
    dryRun: false,
    findings: new FindingList(),
    context: quietContext(),
    unsupported: STOP_ON_UNSUPPORTED,
    resumption: { stamp: loadStamp("test", quietContext(), undefined), resume: false, checkpointBytes: 0 },
  };
  return loadVolume(records, options).then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** Runs `attempt` with a fault at call 0, 1, 2, ... until none is left. */
async function forEachFault(attempt: (plan: FaultPlan) => Promise<void>): Promise<string[]> {
  for (let failAt = 0; ; failAt++) {
    const plan = new FaultPlan(failAt);
    await attempt(plan);
    if (!plan.hasFailed) return plan.calls;
  }
}

describe.each(engines)("$name", (engine) => {
  test("is empty again after a load whose engine fails, at whatever call", async () => {
    const calls = await forEachFault(async (plan) => {
      const url = await engine.createDatabase();
      const error = await withStore(url, (store) => load(decodeText(text), faulty(store, plan)));
      if (!plan.hasFailed) return expect(error).toBeUndefined();
      expect(error).toBeInstanceOf(InjectedFault);
      // An answer that is lost after the setting was written does not undo the volume: it is whole.
      if (plan.calls.at(-1) === "finish") expect((await dumpText(url)).text.equals(text)).toBe(true);
      else expect(await contentOf(engine, url)).toEqual([]);
    });
    expect(new Set(calls)).toEqual(new Set(["openLoader", "write", "finish"]));
    expect(calls.length).toBeGreaterThan(7);
  });

  test("is empty again after a load whose source fails, at whatever batch", async () => {
    const calls = await forEachFault(async (plan) => {
      const url = await engine.createDatabase();
      const source = faulty({ records: () => decodeText(text) }, plan);
      const error = await withStore(url, (store) => load(source.records(), store));
      if (!plan.hasFailed) return expect(error).toBeUndefined();
      expect(error).toBeInstanceOf(InjectedFault);
      expect(await contentOf(engine, url)).toEqual([]);
    });
    expect(calls.length).toBeGreaterThan(5);
  });

  test("takes a load after one that failed", async () => {
    const url = await engine.createDatabase();
    const error = await withStore(url, (store) => load(decodeText(text), faulty(store, new FaultPlan(5))));
    expect(error).toBeInstanceOf(InjectedFault);
    await loadText(url, text);
    expect((await dumpText(url)).text.equals(text)).toBe(true);
  });

  test("leaves the target of a migration empty when reading it fails, at whatever batch", async () => {
    const sourceUrl = await engine.createDatabase();
    await loadText(sourceUrl, text);
    const calls = await forEachFault(async (plan) => {
      const target = newSqlite();
      const error = await withStore(sourceUrl, (from) =>
        withStore(target.url, (to) => load(migrated(faulty(from, plan)), to)),
      );
      if (!plan.hasFailed) return expect(error).toBeUndefined();
      expect(error).toBeInstanceOf(InjectedFault);
      expect(target.files()).toEqual([]);
    });
    expect(new Set(calls)).toEqual(new Set(["openSnapshot", "records[]"]));
  });
});

async function* migrated(source: MetadataStore): RecordStream {
  const signal = new AbortController().signal;
  const snapshot = await source.openSnapshot({ signal, logger: silentLogger });
  try {
    yield packBatch("setting", [{ json: snapshot.setting }]);
    yield* snapshotTree(snapshot, quietContext(), { withTrash: true, findings: new FindingList() });
  } finally {
    await snapshot.close();
  }
}
