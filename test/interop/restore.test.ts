import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { runDecant } from "../support/decant.ts";
import { requireEtcd } from "../support/etcd-server.ts";
import { mountingClient, whileMounted } from "../support/mount.ts";
import { startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { mustRun } from "../support/run-command.ts";
import { newSqliteTarget } from "../support/run-operations.ts";
import { requireS3Server, S3_KEYS } from "../support/s3-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireTikvCluster } from "../support/tikv-server.ts";

const client = await mountingClient();
const s3 = client === undefined ? undefined : await requireS3Server();
const redis =
  client !== undefined && (await requireRedisServer("a restored volume in Redis")) ? await startRedis() : undefined;
const etcd = client === undefined ? undefined : await requireEtcd();
const tikv = client === undefined ? undefined : await requireTikvCluster();
afterAll(() => redis?.stop());

const SIZES = [0, 1, 4096, 65_537, 4 * 1024 * 1024, 9_000_000];

/** Writes files into a mount; returns their checksums by path. */
function writeFiles(directory: string): Map<string, string> {
  const sums = new Map<string, string>();
  for (const [i, size] of SIZES.entries()) {
    const path = `d${i}/f${size}`;
    mkdirSync(join(directory, `d${i}`));
    const bytes = Buffer.alloc(size, `content of ${path};`);
    writeFileSync(join(directory, path), bytes);
    sums.set(path, sumOf(bytes));
  }
  return sums;
}

function sumOf(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

interface Case {
  readonly format: readonly string[];
  readonly address: string;
  readonly old: string;
  readonly target: string;
  readonly env: Record<string, string>;
}

/** Makes a volume, backs it up, writes on, loses the database, restores, and reads all back through a mount. */
async function loseAndRestore({ format, address, old, target, env }: Case): Promise<void> {
  let sums = new Map<string, string>();
  await mustRun(client!, ["format", ...format, old, "vol"], { env });
  await whileMounted(client!, old, async (directory) => {
    sums = writeFiles(directory);
  });
  expect((await runDecant(["backup", old], { env })).code).toBeOneOf([0, 3]);
  await whileMounted(client!, old, async (directory) => {
    writeFileSync(join(directory, "later"), Buffer.alloc(4 * 1024 * 1024, "written after the backup"));
  });

  const run = await runDecant(["restore", target, "--from", address], { env });
  expect([run.err, run.code]).toEqual([expect.stringContaining(": all are there\n"), 0]);
  expect(run.err).toContain(`mount: juicefs mount -d ${target} /mnt/vol\n`);

  await whileMounted(client!, target, async (directory) => {
    for (const [path, sum] of sums) expect([path, sumOf(readFileSync(join(directory, path)))]).toEqual([path, sum]);
    expect(() => readFileSync(join(directory, "later"))).toThrow(/ENOENT/);
    // New data does not get the key of what was written after the backup.
    const fresh = Buffer.alloc(4 * 1024 * 1024, "written after the restore");
    writeFileSync(join(directory, "fresh"), fresh);
    expect(readFileSync(join(directory, "fresh")).equals(fresh)).toBe(true);
  });
  const info = await runDecant(["dump", target, "-"], { env });
  const slices = [...info.out.matchAll(/"chunkid":(\d+),|"id":(\d+),/g)].map((match) => BigInt(match[1] ?? match[2]!));
  expect(slices.filter((id) => id > 1n << 32n)).toHaveLength(1);
}

describe.skipIf(client === undefined)(
  "a volume that was restored is mounted by the real client, which reads every file,",
  () => {
    test("from a directory into SQLite", async () => {
      const bucket = `${temporaryDirectory()}/`;
      const [old, target] = [newSqliteTarget(), newSqliteTarget()];
      await loseAndRestore({
        format: ["--storage", "file", "--bucket", bucket],
        address: `file://${bucket}vol`,
        old: old.url,
        target: target.url,
        env: {},
      });
      rmSync(old.path);
    });

    test.skipIf(etcd === undefined || tikv === undefined)("from etcd into TiKV, and from there back", async () => {
      const [first, second] = ["old", "restored"].map((name) => etcd!.url(`/${name}-${process.pid}-${Date.now()}`));
      for (const [old, target] of [
        [first!, tikv!.url("restored")],
        [tikv!.url("old"), second!],
      ] as const) {
        const bucket = `${temporaryDirectory()}/`;
        const format = ["--storage", "file", "--bucket", bucket];
        await loseAndRestore({ format, address: `file://${bucket}vol`, old, target, env: {} });
      }
    });

    test.skipIf(s3 === undefined || redis === undefined)(
      "from S3 into Redis, with the keys of the environment",
      async () => {
        const bucket = await s3!.createBucket();
        const env = { ACCESS_KEY: S3_KEYS.accessKey, SECRET_KEY: S3_KEYS.secretKey };
        const place = `127.0.0.1:${s3!.port}/${bucket}`;
        await loseAndRestore({
          format: ["--storage", "minio", "--bucket", `http://${place}`],
          address: `minio://${place}/vol`,
          old: newSqliteTarget().url,
          target: redis!.url(3),
          env,
        });
      },
    );
  },
);
