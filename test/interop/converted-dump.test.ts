import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { chmod, link } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { dump } from "../../src/operations/dump.ts";
import { differences, expectSameVolume } from "../support/compare-volumes.ts";
import { convertFile } from "../support/convert-file.ts";
import { mountingClient, whileMounted, withBucket } from "../support/mount.ts";
import { realClient } from "../support/real-client.ts";
import { fixture } from "../support/repository.ts";
import { runCommand } from "../support/run-command.ts";
import { loadVolumeFile, newSqliteTarget } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { quietContext } from "../support/volume-files.ts";

const client = await realClient();
const mounting = await mountingClient();

/** Loads a file with the real client into a new SQLite database. */
async function loadByClient(
  file: string,
  options: readonly string[],
  env: Record<string, string> = {},
): Promise<string> {
  const { path, url } = newSqliteTarget();
  const run = await runCommand(client!, ["load", url, file, ...options], { env });
  expect(run.err).toContain("succeed");
  expect(run.code).toBe(0);
  expect(existsSync(path)).toBe(true);
  return url;
}

/** Times beyond the year 2262 wrap in SQL loads of the reference (docs/spec/json-dump.md §11). */
const WRAPPED_TIMES = ["M /times/y2300 (atime, mtime)"];

describe.skipIf(client === undefined)("the real client loads what was converted", () => {
  const json = fixture("golden/dumps/golden.json");
  const key = fixture("object-storage/rsa2048-pkcs8-encrypted.pem");
  const env = { JFS_RSA_PASSPHRASE: "secret12" };

  test.each(["aes256gcm-rsa", "chacha20-rsa"])("encrypted with %s and compressed", async (algorithm) => {
    const { file } = await convertFile(
      json,
      "x.json.gz",
      { encryption: { keyFile: key, algorithm } },
      quietContext({ env }),
    );
    const url = await loadByClient(file, ["--encrypt-rsa-key", key, "--encrypt-algo", algorithm], env);
    const plain = await loadByClient(json, []);
    await expectSameVolume(plain, url);
  });

  test("from JSON to binary", async () => {
    const { file } = await convertFile(json, "x.bin", { format: "binary" });
    const url = await loadByClient(file, ["--binary"]);
    expect((await differences(file, url)).lines).toEqual(WRAPPED_TIMES);
  });
});

describe.skipIf(mounting === undefined)("what clients do to a mounted volume", () => {
  test("is what diff says, against the dump from before", async () => {
    const { url } = newSqliteTarget();
    await loadVolumeFile(url, withBucket(fixture("malformed/base.json"), `${temporaryDirectory()}/`));
    const before = join(temporaryDirectory(), "before.json");
    await whileMounted(mounting!, url, async (root) => {
      mkdirSync(join(root, "p/q"), { recursive: true });
      writeFileSync(join(root, "p/q/moved"), "1");
      writeFileSync(join(root, "p/kept"), "12");
      writeFileSync(join(root, "gone"), "123");
      writeFileSync(join(root, "log"), "old");
    });
    await dump({ source: url, target: { file: before } }, quietContext());
    await whileMounted(mounting!, url, async (root) => {
      renameSync(join(root, "p/q"), join(root, "r"));
      writeFileSync(join(root, "r/new"), "");
      await chmod(join(root, "p/kept"), 0o600);
      await link(join(root, "p/kept"), join(root, "p/linked"));
      rmSync(join(root, "gone"));
      renameSync(join(root, "log"), join(root, "log.1"));
      writeFileSync(join(root, "log"), "new log");
    });
    const { lines } = await differences(before, url, {
      ignore: new Set(["atime", "mtime", "ctime", "nlink", "counters"]),
    });
    expect(lines.filter((line) => !line.includes("/.trash"))).toEqual([
      "D /gone",
      "A /log",
      "R /log -> /log.1",
      "M /p/kept (mode 0644 -> 0600)",
      "A /p/linked",
      "R /p/q -> /r/",
      "A /r/new",
    ]);
    expect(lines.filter((line) => line.includes("/.trash")).at(-1)).toMatch(/^A \/\.trash\/[\d-]+\/1-\d+-gone$/);
  });
});
