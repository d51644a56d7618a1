import { expect, test } from "vitest";
import { runDecant } from "../support/decant.ts";

test("without its optional package, FoundationDB is refused with what to install, and all else works", async () => {
  const { code, out, err } = await runDecant(["status", "fdb:///etc/foundationdb/fdb.cluster?prefix=x"]);
  expect([code, out]).toEqual([7, ""]);
  expect(err).toMatch(
    /^decant: error: Cannot use FoundationDB: the package foundationdb is not installed\n {2}hint: Install .*foundationdb-clients.*: npm install foundationdb@2\.0\.1\n$/,
  );
  const json = await runDecant(["status", "fdb:///x", "--json"]);
  expect(JSON.parse(json.out || json.err)).toMatchObject({ error: { code: "DECANT_E_FOUNDATIONDB_MISSING" } });
  expect((await runDecant(["--version"])).code).toBe(0);
});
