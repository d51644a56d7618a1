import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { openStore } from "../../src/engines/registry.ts";
import { migrate } from "../../src/operations/migrate.ts";
import { BACKUP_LEASE_XATTR } from "../../src/volume/backup-xattrs.ts";
import { differences, expectSameVolume } from "../support/compare-volumes.ts";
import { fixture } from "../support/repository.ts";
import { dumpVolume, loadVolumeFile, newSqliteTarget } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireEngines } from "../support/test-engines.ts";
import { quietContext } from "../support/volume-files.ts";

const engines = await requireEngines();
const never = new AbortController().signal;
const LEASE = '{"version":1,"holder":"here","token":5,"durationMs":1000}';

async function storeLease(url: string): Promise<void> {
  const store = await openStore(url, { logger: silentLogger, signal: never, env: {} });
  const values = new Map([[BACKUP_LEASE_XATTR, Buffer.from(LEASE)]]);
  expect(await store.swapRootXattrs({ expected: new Map(), values }, never)).toBe(true);
}

async function leaseIn(url: string): Promise<string | undefined> {
  const store = await openStore(url, { logger: silentLogger, signal: never, env: {} });
  return (await store.readRootXattrs([BACKUP_LEASE_XATTR], never)).get(BACKUP_LEASE_XATTR)?.toString();
}

/** Every kind of dump: of a whole volume and of parts, which are made in different ways. */
const DUMPS: Record<string, Parameters<typeof dumpVolume>[1]> = {
  json: {},
  "json of a part": { skipTrash: true },
  binary: { format: "binary" },
  "binary of a part": { format: "binary", skipTrash: true },
};

describe.each(engines)("the lease of backup agents in $name", ({ ending, restore, createDatabase }) => {
  test("is in no dump, and nothing is said of it", async () => {
    const url = await restore(fixture(`golden/engines/golden-json.${ending}`));
    const before = new Map<string, Awaited<ReturnType<typeof dumpVolume>>>();
    for (const [name, options] of Object.entries(DUMPS)) before.set(name, await dumpVolume(url, options));
    await storeLease(url);
    for (const [name, options] of Object.entries(DUMPS)) {
      const { bytes, report } = await dumpVolume(url, options);
      expect([name, bytes.equals(before.get(name)!.bytes)]).toEqual([name, true]);
      expect(report.findings).toEqual(before.get(name)!.report.findings);
      expect(bytes.includes("user.rootattr")).toBe(true); // the other attribute of the root is
    }
    expect(await leaseIn(url)).toBe(LEASE);
  });

  test("is not migrated, and is no difference", async () => {
    const url = await restore(fixture(`golden/engines/golden-json.${ending}`));
    await storeLease(url);
    const copy = await createDatabase();
    await migrate({ source: url, target: copy }, quietContext());
    expect(await leaseIn(copy)).toBeUndefined();
    // A counter is another one in the copy of any volume: that of inodes given out.
    const ignore = new Set(["counters" as const]);
    expect((await differences(url, copy, { ignore })).lines).toEqual([]);
    expect((await differences(copy, url, { ignore })).lines).toEqual([]);
  });
});

describe("the lease of backup agents in a dump of the reference", () => {
  const member = `"xattrs": [{"name":"${BACKUP_LEASE_XATTR}","value":"${LEASE.replaceAll('"', "%22").replaceAll(",", "%2C")}"},{"name":"user.rootattr"`;
  const golden = fixture("golden/dumps/golden.json");
  const file = join(temporaryDirectory(), "with-lease.json");
  const text = readFileSync(golden, "latin1");
  writeFileSync(file, text.replace('"xattrs": [{"name":"user.rootattr"', member), "latin1");

  test("is no difference to a volume without it, while another attribute is", async () => {
    expect(readFileSync(file).length).toBeGreaterThan(text.length);
    await expectSameVolume(golden, file);
    await expectSameVolume(file, golden);
    const other = join(temporaryDirectory(), "other.json");
    writeFileSync(other, readFileSync(file, "latin1").replace(BACKUP_LEASE_XATTR, "decant.backupOther"), "latin1");
    expect((await differences(golden, other)).lines).toHaveLength(1);
  });

  test("is in no dump of a volume that is loaded from it", async () => {
    const { url } = newSqliteTarget();
    await loadVolumeFile(url, file);
    const without = newSqliteTarget();
    await loadVolumeFile(without.url, golden);
    expect((await dumpVolume(url)).bytes.equals((await dumpVolume(without.url)).bytes)).toBe(true);
  });
});
