import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { DecantError } from "../../src/base/errors.ts";
import { TLS_DIRECTORY } from "../support/redis-server.ts";
import { tikvStoreAt } from "../support/tikv-keys.ts";
import { requireTikv } from "../support/tikv-server.ts";
import { never } from "./engine-harness.ts";

const server = await requireTikv({ tls: true });
const file = (name: string): string => join(TLS_DIRECTORY, name);
const OWN = `cert=${file("client.crt")}&key=${file("client.key")}`;

async function failure(url: string): Promise<DecantError> {
  return (await tikvStoreAt(url).then(
    () => undefined,
    (reason: unknown) => reason,
  )) as DecantError;
}

describe.skipIf(server === undefined)("TiKV with certificates", () => {
  afterAll(() => server?.end());

  test.each(["", "&verify-cn=somebody,server"])("is read and written%s", async (more) => {
    const store = await tikvStoreAt(server!.url("tls", `ca=${file("ca.crt")}&${OWN}${more}`));
    const change = { key: Buffer.from("a"), value: Buffer.from("1") };
    expect(await store.transact({ conditions: [], changes: [change] }, never)).toBe(true);
    expect(await store.get([change.key], never)).toEqual([change.value]);
    await store.close();
  });

  test.each([
    ["without TLS", ""],
    ["without a certificate of the client", `ca=${file("ca.crt")}`],
    ["with another authority", `ca=${file("client.crt")}&${OWN}`],
    ["with a name that the server does not have", `ca=${file("ca.crt")}&${OWN}&verify-cn=somebody`],
  ])("is not reached %s, and that is said at once", async (_, parameters) => {
    const error = await failure(server!.url("tls", parameters || "x=1"));
    expect([error.code, error.message]).toEqual([
      "DECANT_E_TIKV_CONNECT",
      expect.stringMatching(/^Cannot reach the placement drivers of TiKV: 127\.0\.0\.1:\d+: \S+/),
    ]);
  });

  test("a file that is missing or no certificate is named", async () => {
    const missing = await failure("tikv://h/x?ca=/nowhere/ca.crt");
    expect([missing.code, missing.message]).toEqual([
      "DECANT_E_TIKV_TLS",
      "Cannot read the file /nowhere/ca.crt (ca): no such file or directory",
    ]);
    const wrong = await failure(`tikv://h/x?ca=${file("ca.crt")}&cert=${file("README.md")}&key=${file("client.key")}`);
    expect(wrong.code).toBe("DECANT_E_TIKV_TLS");
  });
});
