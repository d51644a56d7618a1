import { mkdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type LeaseValue, parseLease } from "../../src/agent/lease-value.ts";
import { openStore } from "../../src/engines/registry.ts";
import { backupName } from "../../src/operations/backups/backup-name.ts";
import { openVolumeStorage } from "../../src/operations/backups/backup-place.ts";
import { readCatalogue } from "../../src/operations/backups/catalogue.ts";
import { makeBackup } from "../../src/operations/backups/make-backup.ts";
import { parsePolicy } from "../../src/operations/backups/retention-policy.ts";
import { createContext } from "../../src/operations/context.ts";
import { load } from "../../src/operations/load.ts";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";
import { BACKUP_LEASE_XATTR } from "../../src/volume/backup-xattrs.ts";
import { EMPTY_SETTING } from "../../src/volume/setting.ts";
import { runCommand } from "../../test/support/run-command.ts";
import { S3Proxy } from "../../test/support/s3-proxy.ts";
import { requireS3Server, S3_KEYS, type S3Server } from "../../test/support/s3-server.ts";
import { temporaryDirectory } from "../../test/support/temporary-directory.ts";
import { wideVolumeText } from "../../test/support/wide-volume.ts";
import { AgentProcess, DIST_MAIN, LoggedProcess } from "./agent-process.ts";
import { BucketHistory } from "./history.ts";

const NAME = "faults";

export interface WorldOptions {
  /** Address of an empty database. */
  readonly url: string;
  /** `s3`: versitygw behind a proxy that spoils. A path: a directory. */
  readonly bucket: "s3" | "file" | { readonly directory: string };
  readonly files?: number;
  readonly periodS: number;
  readonly leaseS?: number;
  readonly policy?: string;
  readonly client?: string | undefined;
  readonly directory: string;
  /** The program; what was compiled when not given. */
  readonly main?: string;
  /** Times the limits of what is waited for; 1 when not given. */
  readonly patience?: number;
  /** Good backups of so many days and months before. */
  readonly oldDays?: number;
  readonly oldMonths?: number;
  /** `binary`: where clients, which clean up by rules of their own, do not look. */
  readonly oldFormat?: "json" | "binary";
}

/** Something that is wrong on purpose. */
export interface Fault {
  readonly what: string;
  readonly fromMs: number;
  toMs: number;
  /** Lines that tell of it, and the label `cause` of the failures that count it; undefined: nothing has to be told. */
  readonly told: { readonly log: RegExp; readonly cause: RegExp; readonly by: "all" | "some" } | undefined;
}

/** One volume, its bucket, and all that run for it. */
export class World {
  readonly options: WorldOptions;
  readonly storage: ObjectStorage;
  readonly proxy: S3Proxy | undefined;
  readonly s3: S3Server | undefined;
  readonly history: BucketHistory;
  /** All that ever ran. */
  readonly agents: AgentProcess[] = [];
  readonly mounts: LoggedProcess[] = [];
  readonly faults: Fault[] = [];
  readonly startedMs: number = Date.now();
  kills = 0;
  /** Done when everything was checked. */
  readonly afterwards: (() => void | Promise<void>)[] = [];
  readonly #mountDirectories: string[] = [];

  private constructor(
    options: WorldOptions,
    storage: ObjectStorage,
    history: BucketHistory,
    s3: { proxy: S3Proxy; server: S3Server } | undefined,
  ) {
    this.options = options;
    this.storage = storage;
    this.history = history;
    this.proxy = s3?.proxy;
    this.s3 = s3?.server;
  }

  static async create(options: WorldOptions): Promise<World> {
    const {
      url,
      bucket,
      files = 2000,
      oldDays = 0,
      oldMonths = 0,
      policy = "all=2d,day=2w,week=2mo,month=forever",
    } = options;
    const context = createContext({ env: { ...process.env, ...keys() } });
    let place = { storage: "file", bucket: "", direct: "" };
    let s3: { proxy: S3Proxy; server: S3Server } | undefined;
    if (bucket === "s3") {
      const server = await requireS3Server();
      if (server === undefined) throw new Error("No S3 server");
      const proxy = await S3Proxy.start(server.port);
      const name = await server.createBucket();
      const at = (port: number): string => `http://127.0.0.1:${port}/${name}`;
      place = { storage: "minio", bucket: at(proxy.port), direct: at(server.port) };
      s3 = { proxy, server };
    } else {
      const directory = `${bucket === "file" ? temporaryDirectory() : bucket.directory}/`;
      place = { storage: "file", bucket: directory, direct: directory };
    }
    const text = (await wideVolumeText(files))
      .toString("latin1")
      .replace('"Name": "conformance"', `"Name": "${NAME}"`)
      .replace('"Storage": "file"', `"Storage": "${place.storage}"`)
      .replace('"Bucket": "/srv/jfs/"', `"Bucket": "${place.bucket}"`);
    const file = join(temporaryDirectory(), "volume.json");
    await writeFile(file, text, "latin1");
    await load({ target: url, source: { file } }, context);
    const setting = { ...EMPTY_SETTING, name: NAME, storage: place.storage, bucket: place.direct };
    const storage = await openVolumeStorage(setting, context);
    await seed(url, storage, oldDays, oldMonths, options.oldFormat ?? "json");
    const before = (await readCatalogue(storage, context.signal)).entries;
    return new World(options, storage, new BucketHistory(storage, parsePolicy(policy), before), s3);
  }

  get periodMs(): number {
    return this.options.periodS * 1000;
  }

  get leaseMs(): number {
    return (this.options.leaseS ?? 5) * 1000;
  }

  async startAgent(
    parts: { args?: string[]; env?: Record<string, string>; hasWrongClock?: boolean } = {},
  ): Promise<AgentProcess> {
    const { url, periodS, policy, directory } = this.options;
    const label = `agent-${this.agents.length + 1}`;
    const args = [
      ...["--backup-meta", `${periodS}s`, "--lease", `${this.leaseMs / 1000}s`],
      ...(policy === undefined ? [] : ["--policy", policy]),
      ...(parts.args ?? []),
    ];
    const agent = await AgentProcess.start(label, join(directory, `${label}.log`), {
      main: this.options.main ?? DIST_MAIN,
      url,
      args,
      env: { ...keys(), ...parts.env },
      hasWrongClock: parts.hasWrongClock ?? false,
    });
    this.agents.push(agent);
    return agent;
  }

  async startAgents(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.startAgent();
  }

  async startMount(): Promise<void> {
    const { client, url, periodS, directory } = this.options;
    if (client === undefined) throw new Error("No client that can mount");
    const label = `mount-${this.mounts.length + 1}`;
    const at = join(temporaryDirectory(), "mnt");
    mkdirSync(at);
    this.#mountDirectories.push(at);
    this.mounts.push(
      new LoggedProcess({
        label,
        program: client,
        args: [
          ...["mount", "--no-usage-report", "--backup-meta", `${periodS}s`, "--metrics", "127.0.0.1:0"],
          ...["--cache-dir", "memory", "--cache-size", "64", url, at],
        ],
        env: { SKIP_BACKUP_META_CHECK: "true", ...keys() },
        logFile: join(directory, `${label}.log`),
      }),
    );
  }

  get living(): AgentProcess[] {
    return this.agents.filter(({ isAlive }) => isAlive);
  }

  /** The lease as it is stored; undefined when it is not there or nobody answers. */
  async lease(): Promise<LeaseValue | undefined> {
    try {
      const context = createContext({ env: {}, signal: AbortSignal.timeout(3000) });
      const store = await openStore(this.options.url, context);
      try {
        const bytes = (await store.readRootXattrs([BACKUP_LEASE_XATTR], context.signal)).get(BACKUP_LEASE_XATTR);
        return bytes === undefined ? undefined : parseLease(bytes);
      } finally {
        await store.close();
      }
    } catch {
      return undefined;
    }
  }

  /** The agent that holds the lease. */
  async holder(): Promise<AgentProcess | undefined> {
    const pid = Number((await this.lease())?.holder?.split(":").at(-1));
    return this.living.find((agent) => agent.pid === pid);
  }

  /** Waits for something that has to happen. */
  async until(what: string, limitMs: number, isReached: () => boolean | Promise<boolean>): Promise<boolean> {
    const end = Date.now() + limitMs * (this.options.patience ?? 1);
    while (!(await isReached())) {
      if (Date.now() > end) {
        this.history.violations.push(`waited ${Math.round(limitMs / 1000)} s in vain for ${what}`);
        return false;
      }
      await sleep(20);
    }
    return true;
  }

  /** Waits for so many good backups more. */
  async untilGood(count: number, limitMs?: number): Promise<boolean> {
    const before = this.history.good().length;
    const limit = limitMs ?? (count + 1) * this.periodMs * 1.5 + 4 * this.leaseMs;
    return this.until(`${count} good backups`, limit, () => this.history.good().length >= before + count);
  }

  /** Lets periods pass. */
  async periods(count: number): Promise<void> {
    const end = Date.now() + count * this.periodMs;
    while (Date.now() < end) {
      await this.readMetrics();
      await sleep(Math.min(1000, Math.max(0, end - Date.now())));
    }
  }

  async readMetrics(): Promise<void> {
    await Promise.all(this.living.map((agent) => agent.readMetrics()));
  }

  /** Something is wrong while `work` runs. */
  async during(what: string, told: Fault["told"], work: () => Promise<void>): Promise<void> {
    const fault: Fault = { what, told, fromMs: Date.now(), toMs: Number.POSITIVE_INFINITY };
    this.faults.push(fault);
    try {
      await work();
      if (told !== undefined) await this.#untilTold(fault, told);
    } finally {
      fault.toMs = Date.now();
      await this.readMetrics();
    }
  }

  /** Each agent that met it, or one at least, has to tell it in its log, and to count it. */
  async #untilTold({ what, fromMs }: Fault, { log, cause, by }: NonNullable<Fault["told"]>): Promise<void> {
    await this.until(`${by} of the agents to tell and count that ${what}`, 3 * this.periodMs, async () => {
      await this.readMetrics();
      const lived = this.living.filter(({ startedMs }) => startedMs <= fromMs);
      const tell = lived.filter((agent) => agent.linesBetween(fromMs, Number.POSITIVE_INFINITY, log).length > 0);
      const isEnough = tell.length >= (by === "all" ? lived.length : 1);
      return isEnough && tell.every((agent) => agent.metric("decant_backup_failures_total", cause) > 0);
    });
  }

  /** Kills an agent and puts another one in its place. */
  async replace(agent: AgentProcess, signal: NodeJS.Signals, args: string[] = []): Promise<void> {
    await agent.readMetrics();
    await this.during(`${signal} of ${agent.label}`, undefined, async () => {
      agent.kill(signal);
      const { code } = await agent.ended;
      if (signal === "SIGTERM" && code !== 0)
        this.history.violations.push(`${agent.label} ended with ${code} after SIGTERM`);
    });
    this.kills++;
    await this.startAgent({ args });
  }

  async stop(): Promise<void> {
    await this.readMetrics();
    for (const agent of this.living) agent.kill("SIGTERM");
    await Promise.all(this.agents.map(({ ended }) => ended));
    for (const [i, mount] of this.mounts.entries()) {
      for (let n = 0; n < 50 && mount.isAlive; n++) {
        await runCommand(this.options.client!, ["umount", ...(n > 20 ? ["--force"] : []), this.#mountDirectories[i]!]);
        await sleep(100);
      }
      await mount.ended;
    }
    this.proxy?.close();
  }
}

function keys(): Record<string, string> {
  return { MINIO_ACCESS_KEY: S3_KEYS.accessKey, MINIO_SECRET_KEY: S3_KEYS.secretKey };
}

/** Good backups of before: three a day, and one a month. */
async function seed(
  url: string,
  storage: ObjectStorage,
  days: number,
  months: number,
  format: "json" | "binary",
): Promise<void> {
  const context = createContext({ env: {} });
  const store = await openStore(url, context);
  try {
    const now = Date.now();
    const times = Array.from({ length: days * 3 }, (_, i) => now - (i + 9) * 8 * 3_600_000);
    for (let i = 1; i <= months; i++) times.push(now - (days + i * 30) * 86_400_000);
    for (const time of times.sort((a, b) => a - b)) {
      await makeBackup({ store, storage, backup: backupName(new Date(time), format, "gzip") }, context);
    }
  } finally {
    await store.close();
  }
}
