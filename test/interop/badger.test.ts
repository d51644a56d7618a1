import { spawn } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { config } from "../../src/operations/config.ts";
import { createContext } from "../../src/operations/context.ts";
import { expectSameBytes } from "../golden/compare-bytes.ts";
import { BADGER, badgerStore, newBadgerTarget, readBadgerLines } from "../support/badger-directory.ts";
import { listMount, mountingClient, whileMounted, withBucket } from "../support/mount.ts";
import { fixture } from "../support/repository.ts";
import { mustRun, runCommand } from "../support/run-command.ts";
import { dumpVolume, loadVolumeFile } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const client = await mountingClient();
const never = new AbortController().signal;
const KEEP = { keepSecretKey: true };

async function dumpByReference(url: string): Promise<Buffer> {
  const file = join(temporaryDirectory(), "dump.json");
  await mustRun(client!, ["dump", "--keep-secret-key", url, file]);
  return readFileSync(file);
}

/** A copy with its holes: the reference changes a directory whenever it opens it. */
async function copyDirectory(directory: string): Promise<string> {
  const copy = join(temporaryDirectory(), "copy");
  await mustRun("cp", ["-a", "--sparse=always", directory, copy]);
  return copy;
}

async function formatted(): Promise<{ directory: string; url: string }> {
  const target = newBadgerTarget();
  await mustRun(client!, ["format", "--storage", "file", "--bucket", `${temporaryDirectory()}/`, target.url, "native"]);
  return target;
}

describe.skipIf(client === undefined)("BadgerDB and the reference client", () => {
  test("a volume that we loaded is mounted, shows the files, and is written to", async () => {
    const { directory, url } = newBadgerTarget();
    const bucket = temporaryDirectory();
    await mustRun("tar", ["xzf", fixture("golden/objects.tar.gz"), "-C", bucket]);
    await loadVolumeFile(url, withBucket(fixture("golden/dumps/golden.keep.json"), `${bucket}/`));
    const expected = JSON.parse(readFileSync(fixture("golden/expected.json"), "utf8")) as { entries: unknown[] };
    await whileMounted(client!, url, async (mount) => {
      expect((await listMount(mount)).length).toBe(expected.entries.length);
      writeFileSync(join(mount, "new"), "written by the client");
      rmSync(join(mount, "names"), { recursive: true });
    });
    await whileMounted(client!, url, async (mount) => {
      expect(readFileSync(join(mount, "new"), "utf8")).toBe("written by the client");
      expect(existsSync(join(mount, "names"))).toBe(false);
    });
    const { bytes, report } = await dumpVolume(url, KEEP);
    expect(report.findings.filter(({ loss }) => loss)).toEqual([]);
    expectSameBytes(bytes, await dumpByReference(BADGER + (await copyDirectory(directory))));
  });

  test("a directory left by kill -9 of a mount is read completely", async () => {
    const { directory, url } = await formatted();
    const mount = join(temporaryDirectory(), "mnt");
    mkdirSync(mount);
    const options = [
      "--no-usage-report",
      "--backup-meta",
      "0",
      "--no-bgjob",
      "--metrics",
      "127.0.0.1:0",
      "--enable-xattr",
    ];
    const child = spawn(client!, ["mount", ...options, url, mount], { stdio: "ignore", detached: true });
    while (statSync(mount).ino !== 1) await sleep(50);
    for (let i = 0; i < 300; i++) {
      mkdirSync(join(mount, `directory ${i}`));
      writeFileSync(join(mount, `directory ${i}`, "file"), `content ${i}`);
      appendFileSync(join(mount, "log"), `line ${i}\n`);
    }
    process.kill(-child.pid!, "SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
    await runCommand("umount", ["-l", mount]);
    const files = readdirSync(directory);
    expect(files.some((name) => name.endsWith(".mem"))).toBe(true);
    const { bytes } = await dumpVolume(url, KEEP);
    expect(bytes.toString()).toContain('"directory%20299"');
    expect(readdirSync(directory)).toEqual(files);
    expectSameBytes(bytes, await dumpByReference(BADGER + (await copyDirectory(directory))));
  });

  test("a mounted volume is left alone, and one that we read is not mounted meanwhile", async () => {
    const { directory, url } = await formatted();
    await whileMounted(client!, url, async () => {
      const files = readdirSync(directory);
      await expect(dumpVolume(url)).rejects.toMatchObject({ code: "DECANT_E_LOCKED", retryable: true });
      const transaction = { conditions: [], changes: [{ key: Buffer.from("a"), value: Buffer.from("b") }] };
      await expect(badgerStore(directory).transact(transaction, never)).rejects.toMatchObject({
        code: "DECANT_E_LOCKED",
      });
      expect(readdirSync(directory)).toEqual(files);
    });
    const snapshot = await badgerStore(directory).openSnapshot({ signal: never, logger: silentLogger });
    const refused = await runCommand(client!, ["status", url]);
    expect(refused.code).not.toBe(0);
    expect(refused.err).toContain("Another process is using this Badger database");
    // what this process writes meanwhile is not in its snapshot, and the lock is kept
    const changes = [{ key: Buffer.from("Cagent"), value: Buffer.alloc(8, 1) }];
    expect(await badgerStore(directory).transact({ conditions: [], changes }, never)).toBe(true);
    expect(await snapshot.get([Buffer.from("Cagent")])).toEqual([undefined]);
    expect((await runCommand(client!, ["status", url])).code).not.toBe(0);
    await snapshot.close();
    expect((await runCommand(client!, ["status", url])).code).toBe(0);
    expect(await badgerStore(directory).get([Buffer.from("Cagent")], never)).toEqual([Buffer.alloc(8, 1)]);
  });

  test("many changes of ours, between those of the client, are all there", async () => {
    const { directory, url } = await formatted();
    const countLogs = (): number => readdirSync(directory).filter((name) => name.endsWith(".mem")).length;
    for (let round = 0; round < 3; round++) {
      const before = countLogs();
      for (let i = 0; i < 20; i++) {
        const changes = [
          { key: Buffer.from(`Cours ${round} ${i}`), value: Buffer.from(String(i).padStart(8, "0")) },
          { key: Buffer.from(`Cours ${round - 1} ${i}`), value: undefined },
        ];
        await badgerStore(directory).transact({ conditions: [], changes }, never);
      }
      // one log for all of them: the client takes much memory for each
      expect(countLogs()).toBe(before + 1);
      await config({ target: url, flags: { trashDays: BigInt(10 + round) }, force: true }, createContext());
      await mustRun(client!, ["config", url, "--capacity", String(100 + round), "--yes"]);
      const status = await mustRun(client!, ["status", url]);
      expect(status.out).toContain(`"TrashDays": ${10 + round}`);
      expect(status.out).toContain(`"Capacity": ${(100 + round) * 2 ** 30}`);
    }
    const range = { start: Buffer.from("Cours"), end: Buffer.from("Courz") };
    const names = (await readBadgerLines(directory, range)).map((line) =>
      Buffer.from(line.split(" ")[0]!, "hex").toString(),
    );
    expect(names).toEqual(Array.from({ length: 20 }, (_, i) => `Cours 2 ${i}`).sort());
  });

  test("tables without MANIFEST, which a load that was cut off leaves, are no volume, and the client deletes them", async () => {
    const { directory, url } = newBadgerTarget();
    await loadVolumeFile(url, fixture("golden/dumps/golden.keep.json"));
    rmSync(join(directory, "MANIFEST"));
    writeFileSync(join(directory, "decant-load"), "");
    const status = await runCommand(client!, ["status", url]);
    expect(status.code).not.toBe(0);
    expect(status.err).toContain("database is not formatted");
    expect(readdirSync(directory).filter((name) => name.endsWith(".sst"))).toEqual([]);
    // and it goes on as a database of the client
    await mustRun(client!, ["format", "--storage", "file", "--bucket", `${dirname(directory)}/`, url, "native"]);
    expect((await dumpVolume(url)).report.findings).toEqual([]);
  });

  test("values of more than a megabyte are read from the value log, and ours are read by the client", async () => {
    const { directory, url } = await formatted();
    const large = Buffer.alloc(1_300_000, 0x5a);
    const changes = [{ key: Buffer.from("AX large"), value: large }];
    await badgerStore(directory).transact({ conditions: [], changes }, never);
    await mustRun(client!, ["config", url, "--trash-days", "3", "--yes"]); // moves it to a table, or its value to the value log
    await mustRun(client!, ["config", url, "--trash-days", "4", "--yes"]);
    const [value] = await badgerStore(directory).get([Buffer.from("AX large")], never);
    expect(value?.equals(large)).toBe(true);
  });
});
