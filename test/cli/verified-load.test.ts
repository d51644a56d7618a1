import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runDecant } from "../support/decant.ts";
import { newSqliteTarget } from "../support/run-operations.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const VOLUME = "golden/native/natsqlite.sqlite.db";

test("migrate says what it has verified, and does not verify with --no-verify", async () => {
  const source = copySqliteFixture(VOLUME).url;
  const plain = await runDecant(["migrate", source, newSqliteTarget().url]);
  expect(plain.code).toBe(0);
  expect(plain.err).toMatch(/verified: [\d,]+ records were read again and are what was written\n/);
  expect(plain.err).toMatch(/not compared: slices with one reference, which no database gives back: \d+\n/);
  const json = await runDecant(["migrate", source, newSqliteTarget().url, "--json", "--quiet"]);
  expect(JSON.parse(json.out).verification).toMatchObject({
    verified: true,
    kinds: { node: { records: expect.any(Number) } },
  });
  for (const option of ["--no-verify", "--verify=false"]) {
    const off = await runDecant(["migrate", source, newSqliteTarget().url, option, "--json"]);
    expect([off.code, JSON.parse(off.out).verification]).toEqual([0, null]);
    expect(off.err).not.toContain("verified");
  }
});

test("load verifies with --verify, and refuses that in a dry run", async () => {
  const file = join(temporaryDirectory(), "dump.bin");
  expect((await runDecant(["dump", copySqliteFixture(VOLUME).url, file, "--binary"])).code).toBe(0);
  const plain = await runDecant(["load", newSqliteTarget().url, file, "--json", "--quiet"]);
  expect(JSON.parse(plain.out).verification).toBe(null);
  const verified = await runDecant(["load", newSqliteTarget().url, file, "--verify", "--json", "--quiet"]);
  expect(JSON.parse(verified.out).verification.verified).toBe(true);
  const target = newSqliteTarget();
  const both = await runDecant(["load", target.url, file, "--verify", "--dry-run"]);
  expect(both.code).toBe(2);
  expect(both.err).toContain("--verify cannot be combined with --dry-run");
  expect(existsSync(target.path)).toBe(false);
});
