import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { dump } from "../../src/operations/dump.ts";
import { load } from "../../src/operations/load.ts";
import { mountingClient, whileMounted } from "../support/mount.ts";
import { mustRun, runCommand } from "../support/run-command.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { quietContext } from "../support/volume-files.ts";

const client = await mountingClient();
const never = new AbortController().signal;

/** Files that the mount is given; the large one has two chunks. */
const FILES: Readonly<Record<string, Buffer>> = {
  "whole/untouched": randomBytes(300_000),
  "whole/lost-inode": randomBytes(70_000_000),
  "lost/deep/file": randomBytes(5000),
  "whole/lost-entry": randomBytes(123_456),
};

test.skipIf(client === undefined).each(["json", "binary"] as const)(
  "a damaged volume that was salvaged through a %s dump is mounted by the client, which finds all data",
  async (format) => {
    const directory = temporaryDirectory();
    const path = join(directory, "damaged.db");
    await mustRun(client!, ["format", "--storage", "file", "--bucket", `${directory}/`, `sqlite3://${path}`, "saved"]);
    const inodes: Record<string, number> = {};
    await whileMounted(client!, `sqlite3://${path}`, async (mount) => {
      mkdirSync(join(mount, "whole"));
      mkdirSync(join(mount, "lost", "deep"), { recursive: true });
      for (const [name, bytes] of Object.entries(FILES)) writeFileSync(join(mount, name), bytes);
      for (const name of [...Object.keys(FILES), "lost", "lost/deep"]) inodes[name] = statSync(join(mount, name)).ino;
    });
    const db = new Database(path);
    db.prepare("DELETE FROM jfs_node WHERE inode = ?").run(inodes["whole/lost-inode"]);
    db.prepare("DELETE FROM jfs_edge WHERE inode = ?").run(inodes["whole/lost-entry"]);
    db.prepare("DELETE FROM jfs_edge WHERE inode = ?").run(inodes.lost);
    db.prepare("DELETE FROM jfs_node WHERE inode = ?").run(inodes.lost);
    db.close();

    const [file, target] = [join(directory, "rest"), `sqlite3://${join(directory, "saved.db")}`];
    const options = { keepGoing: true, lostFound: true, keepSecretKey: true, format };
    const report = await dump({ source: `sqlite3://${path}`, target: { file }, ...options }, quietContext());
    expect(
      report.findings
        .filter(({ loss }) => loss)
        .map(({ kind, count }) => `${kind} ${count}`)
        .toSorted(),
    ).toEqual(["placed-inode 2", "rebuilt-node 2"]);
    await load({ target, source: { file }, verify: true }, quietContext({ signal: never }));

    const checked = await runCommand(client!, ["fsck", target]);
    expect([checked.code, checked.err]).toEqual([0, expect.not.stringContaining("<ERROR>")]);
    await whileMounted(client!, target, async (mount) => {
      const read = (...names: string[]): Buffer => readFileSync(join(mount, ...names));
      const found = join("lost+found", `#${inodes.lost}`);
      expect(readdirSync(join(mount, "lost+found")).toSorted()).toEqual(
        [`#${inodes.lost}`, `#${inodes["whole/lost-entry"]}`].toSorted(),
      );
      expect(read("whole", "untouched").equals(FILES["whole/untouched"]!)).toBe(true);
      expect(read("whole", "lost-inode").equals(FILES["whole/lost-inode"]!)).toBe(true);
      expect(read(found, "deep", "file").equals(FILES["lost/deep/file"]!)).toBe(true);
      const orphan = read("lost+found", `#${inodes["whole/lost-entry"]}`);
      expect(orphan.equals(FILES["whole/lost-entry"]!)).toBe(true);
      writeFileSync(join(mount, "new"), "new files get new inodes");
      expect(statSync(join(mount, "new")).ino).toBeGreaterThan(statSync(join(mount, "lost+found")).ino);
    });
  },
);
