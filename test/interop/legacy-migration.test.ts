import { lstatSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { config } from "../../src/operations/config.ts";
import { migrate } from "../../src/operations/migrate.ts";
import { type ListedEntry, mountingClient, readListing, whileMounted } from "../support/mount.ts";
import { restoreRedisJsonl } from "../support/redis-fixture.ts";
import { fixture } from "../support/repository.ts";
import { requireServer } from "../support/require-server.ts";
import { requireSqlServers } from "../support/sql-servers.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { quietContext } from "../support/volume-files.ts";

const client = await mountingClient();
const servers = client === undefined ? [] : await requireSqlServers();
const redis = client === undefined ? undefined : await requireServer("redis");

/** Real volumes of old clients (test/fixtures/legacy) and the listing of a mount of each. */
const SOURCES: readonly (readonly [name: string, listing: string, open: () => Promise<string>])[] = [
  ...["1-3-0", "1-3-1"].map(
    (version) =>
      [
        `${version} on SQLite`,
        `legacy-${version}`,
        async () => copySqliteFixture(`legacy/legacy-${version}.sqlite.db`).url,
      ] as const,
  ),
  ["1-3-0 on Redis", "legacy-1-3-0", () => restoreRedis("legacy-1-3-0.redis-loaded")],
  ["0.14.2 on Redis", "ancient", () => restoreRedis("ancient.redis")],
];

async function restoreRedis(name: string): Promise<string> {
  const url = redis!.url(6);
  await restoreRedisJsonl(url, fixture(`legacy/${name}.jsonl`));
  return url;
}

const cases = servers.flatMap(([name, server]) =>
  SOURCES.map(([source, listing, open]) => [source, name, listing, open, server] as const),
);

describe.skipIf(client === undefined)("a volume of an old client", () => {
  test.each(cases)("of %s is migrated to %s and mounted as it was", async (...parameters) => {
    const [name, , listing, open, server] = parameters;
    if (server === undefined || (redis === undefined && name.endsWith("Redis"))) return; // which was said
    const target = await server.createDatabase();
    await migrate({ source: await open(), target }, quietContext());
    // The data is not among the fixtures: what is compared is metadata, and nothing is written outside.
    await config({ target, flags: { bucket: `${temporaryDirectory()}/` }, force: true }, quietContext());
    const wanted = readListing(fixture(`legacy/${listing}.expected.json`)).filter(({ path }) => isCompared(path));
    const found = new Map<string, object>();
    await whileMounted(client!, target, async (directory) => {
      for (const entry of wanted) found.set(entry.path!, inspect(join(directory, entry.path!), entry));
      const count = readdirSync(directory, { recursive: true }).length;
      expect(count).toBeGreaterThanOrEqual(wanted.length - 1);
    });
    expect(wanted.length).toBeGreaterThan(5);
    const differing = wanted.filter((entry) => JSON.stringify(found.get(entry.path!)) !== JSON.stringify(pick(entry)));
    expect(differing.map((entry) => [pick(entry), found.get(entry.path!)])).toEqual([]);
  });
});

/** Names that are UTF-8, outside of what mounting changes. */
function isCompared(path: string | undefined): boolean {
  return path !== undefined && !path.startsWith("/.trash") && !path.includes("\ufffd");
}

/** Link counts of a cloned hard-linked symlink are counted anew (test/fixtures/golden/README.md). */
const RECOUNTED = /^\/clones\/links\/rel(-hardlink)?$/;

function pick(entry: ListedEntry): object {
  const { path, ino, mode, uid, gid, size, mtime_ns, target, target_b64 } = entry;
  const nlink = RECOUNTED.test(path!) ? 1 : entry.nlink;
  return { ino: String(ino), mode, uid, gid, nlink, size, mtime: mtime_ns, target: target_b64 ?? base64(target) };
}

function inspect(file: string, { type }: ListedEntry): object {
  const found = lstatSync(file, { bigint: true });
  return {
    ino: String(found.ino),
    mode: (found.mode & 0o7777n).toString(8).padStart(4, "0"),
    uid: Number(found.uid),
    gid: Number(found.gid),
    nlink: Number(found.nlink),
    size: Number(found.size),
    mtime: Number(found.mtimeNs),
    target: type === "symlink" ? readlinkSync(file, "buffer").toString("base64") : "",
  };
}

function base64(text: unknown): string {
  return Buffer.from(String(text ?? "")).toString("base64");
}
