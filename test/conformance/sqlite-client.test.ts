import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { openStore } from "../../src/engines/registry.ts";
import { encodeAttribute, newDirectoryAttribute } from "../../src/volume/attribute.ts";
import { ENGINE_KINDS } from "../support/collect-records.ts";
import { realClient } from "../support/real-client.ts";
import { fixture } from "../support/repository.ts";
import { requireMount } from "../support/require-server.ts";
import { mustRun } from "../support/run-command.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { query, readCatalog } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const client = await realClient();
const canMount = client !== undefined && (await requireMount());
const signal = new AbortController().signal;
const context = { logger: silentLogger, signal, env: {} };

const run = (...args: string[]) => mustRun(client!, args);

async function copyVolume(source: string, target: string): Promise<void> {
  const snapshot = await (await openStore(source, context)).openSnapshot(context);
  const store = await openStore(target, { ...context, create: true });
  const loader = await store.openLoader({ ...context, sliceRefs: "exceptions" });
  for await (const batch of snapshot.records({ kinds: ENGINE_KINDS })) await loader.write(batch);
  await loader.finish(snapshot.setting);
  await snapshot.close();
}

function newTarget(): { path: string; url: string } {
  const path = join(temporaryDirectory(), "new.db");
  return { path, url: `sqlite3://${path}` };
}

/** Mounts in the foreground, so that the client is a child of this process, and unmounts when `work` is done. */
async function whileMounted(url: string, work: (directory: string) => Promise<void>): Promise<void> {
  const directory = join(temporaryDirectory(), "mnt");
  mkdirSync(directory);
  const options = [
    "mount",
    "--no-usage-report",
    "--backup-meta",
    "0",
    "--cache-dir",
    "memory",
    "--enable-xattr",
    url,
    directory,
  ];
  const child = spawn(client!, options, { stdio: "ignore" });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  try {
    for (let i = 0; statSync(directory).ino !== 1; i++) {
      if (i === 200 || child.exitCode !== null) throw new Error(`${url} was not mounted`);
      await sleep(100);
    }
    await work(directory);
  } finally {
    execFileSync(client!, ["umount", directory], { stdio: "ignore" });
    await ended;
  }
}

describe.skipIf(client === undefined)("the reference client", () => {
  test("dumps a loaded volume to the same bytes as its source", async () => {
    const target = newTarget();
    await copyVolume(copySqliteFixture("golden/native/natsqlite.sqlite.db").url, target.url);
    const dump = `${target.path}.json`;
    await run("dump", "--keep-secret-key", target.url, dump);
    expect(readFileSync(dump, "utf8")).toBe(readFileSync(fixture("golden/native/natsqlite.keep.json"), "utf8"));
  });

  test("prints an address that is in the way as decant does", async () => {
    const target = newTarget();
    await copyVolume(copySqliteFixture("golden/native/natsqlite.sqlite.db").url, target.url);
    const url = `${target.url}?table_prefix=A&zz=1+2%26`;
    const state = await (await openStore(url, context)).inspectTarget(signal);
    const file = fixture("golden/native/natsqlite.keep.json");
    await expect(run("load", url, file)).rejects.toThrow(state.state === "occupied" ? state.message : "not occupied");
  });

  test("knows every volume that decant creates", async () => {
    const target = newTarget();
    const bucket = `${temporaryDirectory()}/`;
    const reference = newTarget();
    await run("format", "--storage", "file", "--bucket", bucket, reference.url, "created");
    const setting = await (await openStore(reference.url, context)).readSetting(signal);
    const store = await openStore(target.url, { ...context, create: true });
    const root = encodeAttribute(newDirectoryAttribute(0o777, 1700000000n));
    const trashRoot = encodeAttribute(newDirectoryAttribute(0o555, 1700000000n));
    await store.createVolume({ setting: setting!, root, trashRoot }, signal);
    expect(readCatalog(target.path)).toEqual(readCatalog(reference.path));
    const rows = "SELECT name || value FROM jfs_counter ORDER BY name";
    expect(query(target.path, rows)).toEqual(query(reference.path, rows));
    expect((await run("status", target.url)).out).toContain('"Name": "created"');
    await run("fsck", target.url);
  });
});

describe.skipIf(!canMount)("a volume that a client has written", () => {
  const source = newTarget();

  beforeAll(async () => {
    const options = ["--storage", "file", "--bucket", `${temporaryDirectory()}/`, "--trash-days", "1", "--enable-acl"];
    await run("format", ...options, source.url, "written");
    await whileMounted(source.url, async (directory) => {
      mkdirSync(join(directory, "d"));
      for (let i = 0; i < 50; i++) writeFileSync(join(directory, "d", `f${i}`), `content ${i}`.repeat(i));
      execFileSync("sh", ["-c", "ln f1 l1; ln -s f2 s2; rm f3; echo more >> f4; truncate -s 100 f5"], {
        cwd: join(directory, "d"),
      });
    });
  });

  test("is read while it is mounted, and the copy is whole", async () => {
    const target = newTarget();
    await whileMounted(source.url, async (directory) => {
      writeFileSync(join(directory, "late"), "written after the mount");
      await sleep(1200); // the client flushes its counters once per second
      await copyVolume(source.url, target.url);
    });
    const catalog = readCatalog(target.path);
    expect(catalog).toEqual(readCatalog(source.path));
    expect((await run("status", target.url)).out).toContain('"Name": "written"');
    await run("fsck", target.url);
    await whileMounted(target.url, async (directory) => {
      expect(readFileSync(join(directory, "late"), "utf8")).toBe("written after the mount");
      expect(readFileSync(join(directory, "d", "f7"), "utf8")).toBe("content 7".repeat(7));
      expect(statSync(join(directory, "d", "l1")).nlink).toBe(2);
      writeFileSync(join(directory, "d", "new"), "new");
      execFileSync("sh", ["-c", "rm f6; mv f8 f9; mkdir e; echo x >> f10"], { cwd: join(directory, "d") });
    });
    expect(readCatalog(target.path)).toEqual(catalog);
    await run("fsck", target.url);
    await run("gc", target.url);
    await run("dump", target.url, `${target.path}.json`);
    expect(existsSync(`${target.path}.json`)).toBe(true);
    expect(query(target.path, "PRAGMA integrity_check")).toEqual(["ok"]);
  });
});
