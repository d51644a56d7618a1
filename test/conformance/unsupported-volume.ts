import { silentLogger } from "../../src/base/logger.ts";
import { openStore } from "../../src/engines/registry.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { encodeSlices } from "../../src/volume/slices.ts";
import { type MysqlServer, requireMysql } from "../support/mysql-server.ts";
import { readMysqlTables } from "../support/mysql-tables.ts";
import { type PostgresServer, requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { readPostgresCatalog } from "../support/postgres-tables.ts";
import { newSqliteTarget } from "../support/run-operations.ts";
import { NEW_VOLUME, never } from "./engine-harness.ts";
import { attribute, type RecordSet, SAMPLE_SETTING, toBatches } from "./engine-records.ts";

export const mysql: MysqlServer | undefined = await requireMysql();
export const postgres: PostgresServer | undefined = (await requirePostgresServer()) ? await startPostgres() : undefined;

const NOBODY = 4294967294;
const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
const xattr = (inode: bigint, text: string, value = "v") => ({ inode, name: bytes(text), value: bytes(value) });
const slices = (count: number): Buffer =>
  encodeSlices(Array.from({ length: count }, (_, i) => ({ pos: i, id: 7n, size: 9, off: 0, len: 1 })));
const edge = (parent: bigint, inode: bigint, text: string, type: number = FileType.regular) => ({
  parent,
  inode,
  type,
  name: bytes(text),
});

/** A volume of which no other database than SQLite and Redis holds everything. */
export const VOLUME: RecordSet = {
  counter: [
    { name: "nextInode", value: 100n },
    { name: "nextChunk", value: 100n },
  ],
  node: [
    { inode: 1n, attribute: NEW_VOLUME.root },
    { inode: 2n, attribute: attribute(FileType.directory, 1n, { gid: NOBODY }) },
    { inode: 3n, attribute: attribute(FileType.regular, 2n, { uid: NOBODY, mode: 0o4755, length: 67_108_869n }) },
    { inode: 4n, attribute: attribute(FileType.blockdev, 2n, { rdev: 2147483648 }) },
    { inode: 5n, attribute: attribute(FileType.symlink, 2n) },
    { inode: 6n, attribute: attribute(FileType.regular, 2n) },
  ],
  edge: [
    edge(1n, 2n, "d", FileType.directory),
    edge(2n, 3n, "f"),
    edge(2n, 4n, "dev", FileType.blockdev),
    edge(2n, 5n, "l", FileType.symlink),
    edge(2n, 6n, "g"),
  ],
  symlink: [{ inode: 5n, target: Buffer.alloc(4097, "t") }],
  xattr: [
    xattr(3n, "user.a"),
    xattr(3n, "user.A", "second"),
    xattr(3n, "user.b\xff", "bytes"),
    xattr(6n, "user.long", "x".repeat(65_536)),
    xattr(6n, "user.z"),
  ],
  chunk: [
    { inode: 3n, index: 0, slices: slices(2731) },
    { inode: 3n, index: 1, slices: slices(1) },
  ],
};

/** A new SQLite database with it. */
export async function sourceVolume(): Promise<string> {
  const { url } = newSqliteTarget();
  const store = await openStore(url, { logger: silentLogger, signal: never, env: {}, create: true });
  const loader = await store.openLoader({ signal: never, logger: silentLogger, sliceRefs: "exceptions" });
  for (const batch of toBatches(VOLUME)) await loader.write(batch);
  await loader.finish(SAMPLE_SETTING);
  await store.close();
  return url;
}

export interface Target {
  readonly name: string;
  newDatabase(): Promise<string>;
  /** Everything that stands in it. */
  content(url: string): Promise<unknown>;
  readonly empty: unknown;
  /** What it cannot hold of the volume, as the command shows it. */
  readonly lines: readonly string[];
  /** Paths and attributes of the volume that are left. */
  readonly keeps: { readonly entries: readonly string[]; readonly xattrs: readonly string[]; readonly chunks: number };
}

const NUMBER = "the largest number is 2147483647";
const OWNERS = [
  `/d (inode 2): gid ${NOBODY}: ${NUMBER}`,
  `/d/dev (inode 4): device number 2147483648: ${NUMBER}`,
  `/d/f (inode 3): uid ${NOBODY}: ${NUMBER}`,
];

const CANDIDATES: readonly (Target | undefined)[] = [
  postgres && {
    name: "PostgreSQL",
    newDatabase: async () => postgres.url(await postgres.createDatabase()),
    content: readPostgresCatalog,
    empty: [],
    lines: [...OWNERS, "/d/f (inode 3): extended attribute user.b%FF: its name is not UTF-8"],
    keeps: { entries: ["f", "g", "l"], xattrs: ["user.A", "user.a", "user.long", "user.z"], chunks: 2 },
  },
  mysql && {
    name: "MySQL",
    newDatabase: async () => mysql.url(await mysql.createDatabase()),
    content: (url) => readMysqlTables(mysql, url.slice(url.lastIndexOf("/") + 1)),
    empty: new Map(),
    lines: [
      ...OWNERS,
      '/d/f (inode 3): extended attribute user.a: its name is the same as "user.A" under the collation utf8mb4_general_ci of the database',
      "/d/f (inode 3): extended attribute user.b%FF: its name is not UTF-8",
      "/d/f (inode 3): slices of chunk 0: it has 2731 slices, 2730 are possible",
      "/d/g (inode 6): extended attribute user.long: it has 65536 bytes, 65535 are possible",
      "/d/l (inode 5): target of the link: it has 4097 bytes, 4096 are possible",
    ],
    keeps: { entries: ["f", "g"], xattrs: ["user.A", "user.z"], chunks: 1 },
  },
];

export const TARGETS: readonly Target[] = CANDIDATES.filter((target) => target !== undefined);
