import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { parseLease } from "../../src/agent/lease-value.ts";
import { BACKUP_LEASE_XATTR, LAST_BACKUP_XATTR } from "../../src/volume/backup-xattrs.ts";
import { type BucketVolume, bucketVolume, lastBackup, withStore } from "../support/backup-volume.ts";
import { runDecant } from "../support/decant.ts";
import { type RunningDecant, STACK_TRACE, startDecant } from "../support/running-decant.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

/** Short periods, which the reference allows for tests too. */
const SHORT = { SKIP_BACKUP_META_CHECK: "true" };

const NAME = /^dump-\d{4}-\d\d-\d\d-\d{6}\.json\.gz$/;

const signal = new AbortController().signal;

const started: RunningDecant[] = [];

/** It ends with the test at the latest, however that ends. */
function startAgent(args: readonly string[], env: Readonly<Record<string, string>> = {}): RunningDecant {
  const agent = startDecant(["agent", ...args], env);
  started.push(agent);
  return agent;
}

afterEach(() => {
  for (const agent of started.splice(0)) agent.kill("SIGKILL");
});

/** `lastBackup` becomes this, whatever it was. */
async function setLastBackup(url: string, text: string): Promise<void> {
  await withStore(url, (store) =>
    store.swapRootXattrs({ expected: new Map(), values: new Map([[LAST_BACKUP_XATTR, Buffer.from(text)]]) }, signal),
  );
}

async function leaseOf(url: string) {
  const found = await withStore(url, (store) => store.readRootXattrs([BACKUP_LEASE_XATTR], signal));
  return parseLease(found.get(BACKUP_LEASE_XATTR)!);
}

describe("agent --once", () => {
  test("makes what is due and cleans up, then finds that nothing is due", async () => {
    const volume = await bucketVolume();
    const first = await runDecant(["agent", "--once", volume.url]);
    expect(first.err).toContain('backup metadata succeed, fast mode: true, path: "file://');
    expect(first.code).toBe(0);
    expect(volume.names("meta")).toEqual([expect.stringMatching(NAME)]);
    const second = await runDecant(["agent", "--once", "--json", volume.url]);
    expect(second.code).toBe(0);
    expect(JSON.parse(second.out)).toMatchObject({
      operation: "agent",
      volumes: [{ volume: volume.name, outcome: "not-due", troubles: [], lastSuccess: expect.any(String) }],
    });
    expect(volume.names("meta").length).toBe(1);
    expect((await runDecant(["backups", "list", volume.url])).out).toContain(volume.names("meta")[0]);
    expect(await leaseOf(volume.url)).toMatchObject({ holder: undefined, work: { state: "idle" } });
  });

  test("ends with 3 when it skips, says so in the bucket, and leaves lastBackup alone", async () => {
    const volume = await bucketVolume();
    const { code, err } = await runDecant(["agent", "--once", "--skip-above", "5", volume.url]);
    expect(code).toBe(3);
    expect(err).toMatch(
      /backup metadata skipped because of too many inodes: \d+ 1h0m0s; you may increase `--backup-meta` to enable it again/,
    );
    expect(await lastBackup(volume.url)).toBeUndefined();
    expect(volume.names("meta")).toEqual([]);
    const listed = await runDecant(["backups", "list", volume.url]);
    expect(listed.out + listed.err).toContain("skipped");
    expect((await runDecant(["agent", "--once", "--skip-above", "0", volume.url])).code).toBe(0);
  });

  test("ends with 3 when the backup is suspicious, until it is confirmed", async () => {
    const volume = await bucketVolume();
    expect((await runDecant(["agent", "--once", volume.url])).code).toBe(0);
    await setLastBackup(volume.url, "2020-01-01T00:00:00Z");
    // The same bucket, and a volume that has lost nearly everything: what an accident leaves.
    const file = await smallDump(volume);
    rmSync(new URL(volume.url.replace("sqlite3://", "file://")).pathname);
    expect((await runDecant(["load", volume.url, file])).code).toBeLessThanOrEqual(3);
    const made = await runDecant(["agent", "--once", volume.url]);
    expect(made.err).toMatch(/suspicious backup dump-.*: inodes fell by/);
    expect(made.code).toBe(3);
    expect((await runDecant(["agent", "--once", volume.url])).code).toBe(3);
    expect((await runDecant(["backups", "confirm", volume.url, volume.names("meta").at(-1)!])).code).toBe(0);
    expect((await runDecant(["agent", "--once", volume.url])).code).toBe(0);
  });

  test("ends with 3 for a stamp that nobody can use, and says when it is repaired", async () => {
    const volume = await bucketVolume();
    await setLastBackup(volume.url, "garbage");
    const { code, err } = await runDecant(["agent", "--once", volume.url]);
    expect(code).toBe(3);
    expect(err).toContain(
      "parse time value garbage: not an RFC 3339 time; no client makes backups; it is repaired in 1h0m0s",
    );
    expect(await lastBackup(volume.url)).toBe("garbage");
  });

  test.each([
    ["a database that is not there", "sqlite3:///no/such/volume.db", 4],
    ["a server that is not there", "redis://127.0.0.1:1/0", 7],
  ])("ends with the code of %s", async (_, url, code) => {
    const result = await runDecant(["agent", "--once", url]);
    expect(result.code).toBe(code);
    expect(result.err).not.toMatch(STACK_TRACE);
  });

  test("a bucket that cannot be written to is a failure that is told, not thrown", async () => {
    const volume = await bucketVolume();
    await runDecant(["agent", "--once", volume.url]);
    await setLastBackup(volume.url, "2020-01-01T00:00:00Z");
    rmSync(join(volume.bucket, volume.name, "meta"), { recursive: true });
    writeFileSync(join(volume.bucket, volume.name, "meta"), "a file in the way");
    const { code, err } = await runDecant(["agent", "--once", volume.url]);
    expect(code).toBe(7);
    expect(err).toContain("backup metadata failed: ");
    expect(err).not.toMatch(STACK_TRACE);
  });

  test("trouble of one volume does not reach the others", async () => {
    const volume = await bucketVolume();
    const { code, err } = await runDecant(["agent", "--once", "sqlite3:///no/such/volume.db", volume.url]);
    expect(code).toBe(4);
    expect(err).toContain("backup metadata succeed");
    expect(volume.names("meta").length).toBe(1);
  });

  test("waits to see whether another agent that has the lease is alive, and takes it over when it is dead", async () => {
    const volume = await bucketVolume();
    await runDecant(["agent", "--once", volume.url]);
    await setLastBackup(volume.url, "2020-01-01T00:00:00Z");
    await withStore(volume.url, async (store) => {
      const held = Buffer.from(
        JSON.stringify({
          version: 1,
          holder: "dead:1",
          instance: "x",
          token: 9,
          renewal: 1,
          durationMs: 2000,
          state: "idle",
        }),
      );
      await store.swapRootXattrs({ expected: new Map(), values: new Map([[BACKUP_LEASE_XATTR, held]]) }, signal);
    });
    const { code, err } = await runDecant(["agent", "--once", "--lease", "2s", volume.url]);
    expect(code).toBe(0);
    expect(err).toContain("backup metadata succeed");
    expect(volume.names("meta").length).toBe(2);
  });
});

/** A dump of a volume of the same name and UUID that has nothing in it. */
async function smallDump(volume: BucketVolume): Promise<string> {
  const file = join(temporaryDirectory(), "whole.json");
  expect((await runDecant(["dump", volume.url, file])).code).toBe(0);
  const dump = JSON.parse(readFileSync(file, "utf8")) as {
    FSTree: { entries: object };
    Trash?: unknown;
  };
  dump.FSTree.entries = {};
  delete dump.Trash;
  writeFileSync(file, JSON.stringify(dump));
  return file;
}

describe("the configuration", () => {
  test("is checked and shown without its secrets", async () => {
    const directory = temporaryDirectory();
    const file = join(directory, "agent.yaml");
    writeFileSync(
      file,
      [
        "defaults: { backupMeta: 8h, policy: 'day=30d' }",
        "volumes:",
        "  - { metaUrl: 'redis://:secret@localhost/1', name: first }",
        "  - { metaUrl: 'sqlite3:///srv/a.db', backupMeta: 0 }",
      ].join("\n"),
    );
    chmodSync(file, 0o600);
    const { code, err, out } = await runDecant(["agent", "--check-config", "--config", file]);
    expect({ code, out }).toEqual({ code: 0, out: "" });
    expect(err).toBe(
      "decant: first: redis://:****@localhost/1: every 8h0m0s, json gzip, day=30d\n" +
        "decant: sqlite3:///srv/a.db: no backups, json gzip, day=30d\n",
    );
    const json = await runDecant(["agent", "--check-config", "--json"], {
      env: { DECANT_CONFIG: file, DECANT_SKIP_ABOVE: "auto" },
    });
    expect(JSON.parse(json.out)).toMatchObject({
      volumes: [{ metaUrl: "redis://:****@localhost/1", skipAbove: "auto" }, {}],
    });
    expect(json.out + json.err).not.toContain("secret");
  });

  test.each([
    ["volumes:\n  - metaUrl: redis://a/1\n    backupMetta: 1h\n", ":3: volumes[0].backupMetta: unknown key"],
    ["volumes: [\n", ":2:1: "],
  ])("that is wrong ends it with 2 and names the place: %j", async (text, message) => {
    const file = join(temporaryDirectory(), "agent.yaml");
    writeFileSync(file, text);
    const { code, err } = await runDecant(["agent", "--config", file]);
    expect(code).toBe(2);
    expect(err).toContain(`decant: error: ${file}${message}`);
    expect(err).not.toMatch(STACK_TRACE);
  });

  test.each([
    [[], "There is no volume to back up", 2],
    [["--config", "/no/such/file", "redis://a/1"], "/no/such/file", 4],
    [["--backup-meta", "1m", "redis://a/1"], "--backup-meta: backup-meta should not be less than 5 minutes: 1m0s", 2],
    [["--log-format", "xml", "redis://a/1"], '--log-format: Invalid value "xml": expected text, json', 2],
  ] as const)("%j: %s", async (args, message, code) => {
    const result = await runDecant(["agent", ...args], { env: { DECANT_META_URL: undefined } });
    expect(result.code).toBe(code);
    expect(result.err).toContain(message);
  });
});

describe("a running agent", () => {
  test("makes backups, serves metrics and health, calls hooks, and ends with 0 on SIGTERM", async () => {
    const volume = await bucketVolume();
    const directory = temporaryDirectory();
    const textfile = join(directory, "decant.prom");
    const agent = startAgent(
      [
        ...["--backup-meta", "2s", "--listen", "127.0.0.1:0", "--metrics-textfile", textfile],
        ...["--log-format", "json", "--on-success", `cat >> ${join(directory, "told")}`, volume.url],
      ],
      SHORT,
    );
    await agent.waitFor("listening on");
    await agent.waitFor("backup metadata succeed");
    await until(() => volume.names("meta").length >= 2 && existsSync(join(directory, "told")));
    agent.kill("SIGTERM");
    const { code, err } = await agent.ended;
    expect(code).toBe(0);
    expect(err).toMatch(/"message":"listening on 127\.0\.0\.1:\d+: /);
    for (const line of err.trimEnd().split("\n")) {
      expect(JSON.parse(line)).toMatchObject({
        time: expect.any(String),
        level: expect.any(String),
        message: expect.any(String),
      });
    }
    expect(err).toContain('"volume":');
    expect(err.trimEnd().split("\n").at(-1)).toContain('"message":"stopped"');
    expect(readFileSync(textfile, "utf8")).toContain(
      `decant_backup_last_success_timestamp_seconds{volume="${volume.name}"} `,
    );
    const [told] = readFileSync(join(directory, "told"), "utf8").split("\n");
    expect(JSON.parse(told!)).toMatchObject({
      event: "success",
      volume: volume.name,
      key: expect.stringMatching(/^meta\/dump-/),
    });
    expect(readdirSync(directory).sort()).toEqual(["decant.prom", "told"]);
    expect(await leaseOf(volume.url)).toMatchObject({ holder: undefined, work: { state: "idle" } });
  });

  test("answers over HTTP what it knows", async () => {
    const volume = await bucketVolume();
    const agent = startAgent(["--backup-meta", "5m", "--listen", "127.0.0.1:0", volume.url]);
    try {
      let text = "";
      agent.onOutput((piece) => {
        text += piece;
      });
      await agent.waitFor("/healthz");
      const url = `http://${/listening on (127\.0\.0\.1:\d+)/.exec(text)![1]}`;
      expect(await (await fetch(`${url}/metrics`)).text()).toContain("decant_backup_interval_seconds{volume=");
      const health = await fetch(`${url}/healthz`);
      expect(health.status).toBe(200);
      expect(await health.json()).toMatchObject({ healthy: true, volumes: [{ reasons: [], lastSuccess: null }] });
    } finally {
      agent.kill("SIGTERM");
    }
    expect((await agent.ended).code).toBe(0);
  });
});

/** Waits for a state, for as long as the test may last. */
async function until(isReached: () => boolean): Promise<void> {
  while (!isReached()) await new Promise((resolve) => setTimeout(resolve, 50));
}

describe("an agent that is stopped in the middle of a backup", () => {
  let dump: string;

  beforeAll(async () => {
    dump = join(temporaryDirectory(), "wide.json");
    writeFileSync(dump, await wideVolumeText(120_000));
  });

  const begun = "backup metadata started, inodes=120120";
  const options = ["--backup-meta", "2s", "--lease", "2s"];

  test("finishes it, cleans up and gives the lease back", async () => {
    const volume = await bucketVolume(dump);
    const agent = startAgent([...options, "--stop-timeout", "100s", volume.url], SHORT);
    await agent.waitFor(begun);
    agent.kill("SIGTERM");
    const { code, err } = await agent.ended;
    expect(code).toBe(0);
    expect(err).toContain("backup metadata succeed");
    expect(volume.names("meta").length).toBe(1);
    expect(volume.names("decant/manifests").length).toBe(1);
    expect(await leaseOf(volume.url)).toMatchObject({ holder: undefined, work: { state: "idle" } });
  });

  test.each([
    ["a second signal", ["--stop-timeout", "100s"], 2],
    ["no time to finish it", ["--stop-timeout", "0"], 1],
  ])("gives it up after %s: bucket, stamp and lease are as they were", async (_, more, signals) => {
    const volume = await bucketVolume(dump);
    await setLastBackup(volume.url, "2026-01-01T00:00:00+08:00");
    const agent = startAgent([...options, ...more, volume.url], SHORT);
    await agent.waitFor(begun);
    for (let i = 0; i < signals; i++) {
      agent.kill("SIGTERM");
      if (i === 0) await agent.waitFor("SIGTERM received");
    }
    const { code, err } = await agent.ended;
    expect(code).toBe(0);
    expect(err).toContain("backup metadata aborted: nothing is left of it in the bucket, lastBackup is as it was");
    expect(volume.names("meta")).toEqual([]);
    expect(volume.names("decant/manifests")).toEqual([]);
    expect(await lastBackup(volume.url)).toBe("2026-01-01T00:00:00+08:00");
    expect(await leaseOf(volume.url)).toMatchObject({ holder: undefined, work: { state: "idle" } });
  });

  test("by kill -9 leaves word of it, and the next agent makes it without waiting for a period", async () => {
    const volume = await bucketVolume(dump);
    const agent = startAgent([...options, volume.url], SHORT);
    await agent.waitFor(begun);
    agent.kill("SIGKILL");
    await agent.ended;
    expect(await leaseOf(volume.url)).toMatchObject({
      holder: expect.any(String),
      work: { state: "backing-up", attempt: 1 },
    });
    expect(volume.names("decant/manifests")).toEqual([]);
    const { code, err } = await runDecant(["agent", "--once", "--lease", "2s", volume.url]);
    expect(err).toContain("an agent has begun a backup and did not end it: making it");
    expect(code).toBe(0);
    expect(volume.names("decant/manifests").length).toBe(1);
    expect(await leaseOf(volume.url)).toMatchObject({ holder: undefined, work: { state: "idle" } });
  });
});
