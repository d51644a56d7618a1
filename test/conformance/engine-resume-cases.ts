import { expect } from "vitest";
import { ConflictError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { Loader, LoadPosition, LoadProgress, LoadStamp } from "../../src/engines/engine.ts";
import type { RecordBatch } from "../../src/volume/records.ts";
import { type Bench, type Fresh, failureOf, type It, never } from "./engine-harness.ts";
import { SAMPLE_SETTING, toBatches } from "./engine-records.ts";

const STAMP: LoadStamp = {
  host: "here",
  process: 1,
  began: "2026-01-02T03:04:05.000Z",
  version: "1.2.3",
  source: "dump.json",
  maxBytes: 1024,
};

const DIGEST = "0123456789abcdef".repeat(4);
const at = (batches: number): LoadPosition => ({ checkpoint: { batches, digest: DIGEST }, announced: [] });

async function begin(bench: Bench, resume: boolean, stamp: LoadStamp = STAMP): Promise<Loader> {
  const store = await bench.open();
  return store.openLoader({ signal: never, logger: silentLogger, sliceRefs: "complete", stamp, resume });
}

async function progressOf(bench: Bench): Promise<LoadProgress | undefined> {
  const target = await (await bench.open()).inspectTarget(never);
  return target.state === "interrupted" ? target.progress : undefined;
}

function batchesOf(bench: Bench): RecordBatch[] {
  return [...toBatches(bench.sample(), 7)];
}

/** Loaders take batches over: every one is written from a copy. */
async function writeAll(loader: Loader, batches: readonly RecordBatch[]): Promise<void> {
  for (const batch of batches) await loader.write({ ...batch, bytes: Buffer.from(batch.bytes) });
}

async function undisturbed(fresh: Fresh): Promise<unknown> {
  const bench = await fresh();
  const loader = await begin(bench, false);
  await writeAll(loader, batchesOf(bench));
  await loader.finish(SAMPLE_SETTING);
  return bench.fingerprint();
}

export function resumeCases(it: It, fresh: Fresh): void {
  it("from any checkpoint, with more written after it, ends as one that was not disturbed", async () => {
    const expected = await undisturbed(fresh);
    const bench = await fresh();
    const count = batchesOf(bench).length;
    for (let stored = 1; stored <= count; stored += Math.ceil(count / 15)) {
      const target = await fresh();
      const batches = batchesOf(target);
      const first = await begin(target, false);
      await writeAll(first, batches.slice(0, stored));
      await first.checkpoint(at(stored));
      const announced = [{ batches: stored + 4, digest: DIGEST }];
      await first.announce({ ...at(stored), announced });
      const position = { ...at(stored), announced: bench.harness.exactCheckpoints ? [] : announced };
      await writeAll(first, batches.slice(stored, stored + 4));
      await first.readNodes([1n]); // waits until all is stored
      expect(await first.suspend()).toBe(true);
      expect(await (await target.open()).inspectTarget(never)).toEqual({
        state: "interrupted",
        progress: { stamp: STAMP, ...position },
        message: expect.stringContaining("not empty"),
      });
      expect(await target.storedSetting()).toBeUndefined();
      const second = await begin(target, true);
      expect(second.earlier).toEqual({ stamp: STAMP, ...position });
      for (const batch of batches.slice(0, stored)) await second.skip(batch);
      await writeAll(second, batches.slice(stored));
      await second.finish(SAMPLE_SETTING);
      expect(await target.fingerprint()).toEqual(expected);
    }
  });

  it("tells of the load that goes on, not of the one that was cut off", async () => {
    const bench = await fresh();
    const batches = batchesOf(bench);
    const first = await begin(bench, false);
    await writeAll(first, batches.slice(0, 3));
    await first.checkpoint(at(3));
    await first.suspend();
    const stamp = { ...STAMP, process: 2, began: "2026-01-03T03:04:05.000Z" };
    const second = await begin(bench, true, stamp);
    expect(second.earlier).toEqual({ stamp: STAMP, ...at(3) });
    if (!bench.harness.holdsItsPlace && !bench.harness.exactCheckpoints) {
      expect(await progressOf(bench)).toEqual({ stamp, ...at(3) });
    }
    for (const batch of batches.slice(0, 3)) await second.skip(batch);
    await writeAll(second, batches.slice(3, 5));
    await second.checkpoint(at(5));
    await second.suspend();
    expect(await progressOf(bench)).toEqual({ stamp, ...at(5) });
  });

  it("is refused without being asked for, and lets --clean remove everything", async () => {
    const bench = await fresh();
    const before = await bench.fingerprint();
    const first = await begin(bench, false);
    await writeAll(first, batchesOf(bench));
    await first.checkpoint(at(3));
    await first.suspend();
    await expect(begin(bench, false)).rejects.toThrow(ConflictError);
    expect(await (await bench.open()).removeRemains(never)).toBe(true);
    expect(await (await bench.open()).inspectTarget(never)).toEqual({ state: "empty" });
    expect(await bench.fingerprint()).toEqual(before);
  });

  it("stops the load whose place it takes, should that still run, or is refused", async () => {
    const expected = await undisturbed(fresh);
    const bench = await fresh();
    const batches = batchesOf(bench);
    const first = await begin(bench, false);
    await writeAll(first, batches.slice(0, 4));
    await first.checkpoint(at(4));
    if (bench.harness.holdsItsPlace) {
      await expect(begin(bench, true)).rejects.toThrow("Another load");
      await writeAll(first, batches.slice(4));
      await first.finish(SAMPLE_SETTING);
      expect(await bench.fingerprint()).toEqual(expected);
      return;
    }
    const second = await begin(bench, true);
    const error = await failureOf(async () => {
      await writeAll(first, batches.slice(4));
      await first.finish(SAMPLE_SETTING);
    });
    expect(error).toBeInstanceOf(Error);
    await first.abort();
    for (const batch of batches.slice(0, 4)) await second.skip(batch);
    await writeAll(second, batches.slice(4));
    await second.finish(SAMPLE_SETTING);
    expect(await bench.fingerprint()).toEqual(expected);
  });

  it("aborts as a whole, with what was stored before it began", async () => {
    const bench = await fresh();
    const before = await bench.fingerprint();
    const first = await begin(bench, false);
    await writeAll(first, batchesOf(bench).slice(0, 9));
    await first.checkpoint(at(9));
    await first.suspend();
    const second = await begin(bench, true);
    for (const batch of batchesOf(bench).slice(0, 9)) await second.skip(batch);
    await second.abort();
    expect(await (await bench.open()).inspectTarget(never)).toEqual({ state: "empty" });
    expect(await bench.fingerprint()).toEqual(before);
  });
}
