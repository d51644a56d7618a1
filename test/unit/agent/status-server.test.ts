import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { BucketView } from "../../../src/agent/bucket-view.ts";
import { metricsText } from "../../../src/agent/metrics.ts";
import { MetricsTextfile } from "../../../src/agent/metrics-textfile.ts";
import { StatusServer } from "../../../src/agent/status-server.ts";
import { healthOf, type VolumeStatus } from "../../../src/agent/volume-status.ts";
import { UsageError } from "../../../src/base/errors.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const NOW = new Date("2026-11-23T12:00:00Z");
const HOUR = 3_600_000;

function ago(ms: number): Date {
  return new Date(NOW.getTime() - ms);
}

function bucket(changes: Partial<BucketView> = {}): BucketView {
  const time = ago(HOUR / 2);
  return {
    newest: time,
    lastGood: { key: "meta/dump-2026-11-23-113000.json.gz", time, bytes: 560, inodes: 3, durationMs: 81 },
    unverified: undefined,
    count: 52,
    runs: [],
    frozenBy: undefined,
    statuses: [
      {
        outcome: "failed",
        at: "2026-11-23T10:00:00Z",
        name: undefined,
        reason: "no",
        cause: "DECANT_E_OBJECT",
        by: { program: "decant 0.1.0", host: "host1", pid: 1 },
      },
    ],
    ...changes,
  };
}

function volume(changes: Partial<VolumeStatus> = {}): VolumeStatus {
  return {
    label: "myvol",
    uuid: "11d3287e-1a6e-41a3-9460-df975e1d2dfc",
    intervalMs: HOUR,
    startedAt: ago(24 * HOUR),
    checkedAt: ago(60_000),
    bucket: bucket(),
    usedInodes: 3,
    clockSkewMs: -1500,
    troubles: [],
    skipped: undefined,
    runningSince: undefined,
    holdsLease: false,
    made: 24,
    failures: new Map([["DECANT_E_OBJECT", 2]]),
    skips: 0,
    hookFailures: 1,
    ...changes,
  };
}

/** The text format: comments, then `name{label="value",...} number`. Throws for anything else. */
function parseMetrics(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const typed = new Set<string>();
  expect(text.endsWith("\n")).toBe(true);
  for (const line of text.trimEnd().split("\n")) {
    const comment = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line);
    if (comment !== null) {
      const [, kind, name, rest] = comment;
      if (kind === "TYPE") {
        expect(rest).toMatch(/^(gauge|counter)$/);
        expect(typed.has(name!)).toBe(false);
        typed.add(name!);
        if (rest === "counter") expect(name).toMatch(/_total$/);
      }
      continue;
    }
    const match = /^([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\}) (-?[0-9.e+]+)$/.exec(line);
    if (match === null) throw new Error(`no sample: ${line}`);
    expect(typed.has(match[1]!)).toBe(true);
    expect(samples.has(match[1]! + match[2])).toBe(false);
    samples.set(match[1]! + match[2], Number(match[3]));
  }
  return samples;
}

describe("metrics", () => {
  test("tell of the last good backup in the bucket, of what is wrong, and of this process", () => {
    const samples = parseMetrics(metricsText([volume()], NOW));
    expect(Object.fromEntries(samples)).toMatchObject({
      'decant_backup_last_success_timestamp_seconds{volume="myvol"}': 1795433400,
      'decant_backup_last_success_age_seconds{volume="myvol"}': 1800,
      'decant_backup_last_success_duration_seconds{volume="myvol"}': 0.081,
      'decant_backup_last_success_size_bytes{volume="myvol"}': 560,
      'decant_backup_last_success_inodes{volume="myvol"}': 3,
      'decant_backup_backups{volume="myvol"}': 52,
      'decant_backup_interval_seconds{volume="myvol"}': 3600,
      'decant_backup_healthy{volume="myvol"}': 1,
      'decant_backup_trouble{volume="myvol",kind="bucket"}': 0,
      'decant_backup_skipped{volume="myvol",reason="too-many-inodes"}': 0,
      'decant_backup_suspicious{volume="myvol"}': 0,
      'decant_backup_last_run_timestamp_seconds{volume="myvol",outcome="failed",cause="DECANT_E_OBJECT"}': 1795428000,
      'decant_backup_clock_skew_seconds{volume="myvol"}': -1.5,
      'decant_backup_made_total{volume="myvol"}': 24,
      'decant_backup_failures_total{volume="myvol",cause="DECANT_E_OBJECT"}': 2,
      'decant_backup_hook_failures_total{volume="myvol"}': 1,
      'juicefs_last_successful_backup{vol_name="myvol"}': 1795433400,
      'juicefs_last_backup_duration{vol_name="myvol"}': 0.081,
    });
  });

  test("leave out what is not known yet", () => {
    const fresh = volume({ bucket: undefined, checkedAt: undefined, usedInodes: undefined, failures: new Map() });
    const names = [...parseMetrics(metricsText([fresh], NOW)).keys()];
    expect(names.some((name) => name.includes("last_success"))).toBe(false);
    expect(names).toContain('decant_backup_interval_seconds{volume="myvol"}');
  });

  test("escape labels, and keep two volumes of one name apart", () => {
    const strange = volume({ label: 'a"b\\c\nd' });
    expect(metricsText([strange], NOW)).toContain('decant_backup_backups{volume="a\\"b\\\\c\\nd"} 52');
    const other = volume({ uuid: "22d3287e-1a6e-41a3-9460-df975e1d2dfc" });
    const samples = parseMetrics(metricsText([volume(), other], NOW));
    expect(samples.get('decant_backup_backups{volume="myvol 11d3287e"}')).toBe(52);
    expect(samples.get('decant_backup_backups{volume="myvol 22d3287e"}')).toBe(52);
  });

  test("are replaced as a whole in a file, and nothing else stays there", async () => {
    const directory = temporaryDirectory();
    const file = join(directory, "decant.prom");
    const textfile = new MetricsTextfile(file, { statuses: () => [volume()], now: () => NOW }, silentLogger);
    await Promise.all([textfile.write(), textfile.write()]);
    expect(readFileSync(file, "utf8")).toBe(metricsText([volume()], NOW));
    expect(readdirSync(directory)).toEqual(["decant.prom"]);
  });

  test("that cannot be written are warned of once, and do not stop anything", async () => {
    const lines: string[] = [];
    const logger = { ...silentLogger, warn: (line: string) => void lines.push(line) };
    const source = { statuses: () => [volume()], now: () => NOW };
    const textfile = new MetricsTextfile("/no/such/directory/decant.prom", source, logger);
    await textfile.write();
    await textfile.write();
    expect(lines).toEqual([
      expect.stringMatching(/^Cannot write metrics to \/no\/such\/directory\/decant.prom: ENOENT/),
    ]);
  });
});

describe("a volume", () => {
  const frozenBy = { name: "dump-2026-11-23-113000.json.gz", reasons: ["inodes fell by 60 %, from 5 to 2"] };
  test.each<[string, Partial<VolumeStatus>, string | undefined]>([
    ["with a fresh backup is healthy", {}, undefined],
    [
      "whose last good backup is just within two periods and a quarter is healthy",
      { bucket: aged(2.25 * HOUR) },
      undefined,
    ],
    [
      "whose last good backup is older is not",
      { bucket: aged(2.25 * HOUR + 1) },
      "the last good backup is of 2026-11-23T09:44:59.999Z",
    ],
    ["without any is not", { bucket: bucket({ lastGood: undefined }) }, "there is no good backup"],
    [
      "without any, of an agent that has just been started, is not blamed yet",
      { bucket: bucket({ lastGood: undefined }), startedAt: ago(1.25 * HOUR) },
      undefined,
    ],
    [
      "that was never reached is not",
      { bucket: undefined, checkedAt: undefined },
      "no check has come to its end since the agent was started",
    ],
    [
      "that was not looked at for more than a period is not",
      { checkedAt: ago(1.25 * HOUR + 1) },
      "no check has come to its end since 2026-11-23T10:44:59.999Z",
    ],
    ["whose backup takes long is healthy", { checkedAt: ago(1.25 * HOUR + 1), runningSince: ago(HOUR) }, undefined],
    [
      "that is skipped is not",
      { skipped: { reason: "too-many-inodes", text: "backup metadata skipped", fittingMs: HOUR } },
      "backup metadata skipped",
    ],
    [
      "with a suspicious backup is not",
      { bucket: bucket({ frozenBy }) },
      "dump-2026-11-23-113000.json.gz looks as if something was lost (inodes fell by 60 %, from 5 to 2); nothing is cleaned up",
    ],
    [
      "whose lease is held for too long is not",
      { troubles: [{ kind: "lease", message: "another agent has held the lease" }] },
      "another agent has held the lease",
    ],
  ])("%s", (_, changes, reason) => {
    const reasons = reason === undefined ? [] : [reason];
    expect(healthOf(volume(changes), NOW)).toEqual({ healthy: reasons.length === 0, reasons });
  });

  function aged(ms: number): BucketView {
    return bucket({ lastGood: { ...bucket().lastGood!, time: ago(ms) } });
  }
});

describe("the server", () => {
  async function served(statuses: readonly VolumeStatus[], work: (url: string) => Promise<void>): Promise<void> {
    const server = new StatusServer({ statuses: () => statuses, now: () => NOW });
    const port = await server.listen("127.0.0.1", 0);
    try {
      await work(`http://127.0.0.1:${port}`);
    } finally {
      await server.close();
    }
  }

  test("gives metrics", async () => {
    await served([volume()], async (url) => {
      const response = await fetch(`${url}/metrics?x=1`);
      expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
      expect(await response.text()).toBe(metricsText([volume()], NOW));
    });
  });

  test("answers 200 while all volumes are healthy, else 503 with the reasons", async () => {
    await served([volume()], async (url) => {
      const response = await fetch(`${url}/healthz`);
      expect(response.status).toBe(200);
      expect(await response.json()).toEqual({
        healthy: true,
        volumes: [
          {
            volume: "myvol",
            uuid: "11d3287e-1a6e-41a3-9460-df975e1d2dfc",
            healthy: true,
            reasons: [],
            lastSuccess: "2026-11-23T11:30:00.000Z",
            ageSeconds: 1800,
          },
        ],
      });
    });
    const ill = volume({ label: "other", troubles: [{ kind: "bucket", message: "no bucket" }] });
    await served([volume(), ill], async (url) => {
      const response = await fetch(`${url}/healthz`);
      expect(response.status).toBe(503);
      expect(await response.json()).toMatchObject({
        healthy: false,
        volumes: [{ healthy: true }, { volume: "other", healthy: false, reasons: ["no bucket"] }],
      });
    });
  });

  test("knows nothing else and changes nothing", async () => {
    await served([volume()], async (url) => {
      expect((await fetch(`${url}/`)).status).toBe(404);
      expect((await fetch(`${url}/metrics`, { method: "POST", body: "x" })).status).toBe(405);
    });
  });

  test("says so when its port is taken", async () => {
    await served([], async (url) => {
      const port = Number(new URL(url).port);
      const second = new StatusServer({ statuses: () => [], now: () => NOW });
      const error: unknown = await second.listen("127.0.0.1", port).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(UsageError);
      expect((error as UsageError).message).toBe(`Cannot listen on 127.0.0.1:${port}: EADDRINUSE`);
    });
  });
});
