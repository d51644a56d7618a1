import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
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
    ["without TLS", "", /\S/],
    [
      "without a certificate of the client",
      `ca=${file("ca.crt")}`,
      /^TLS failed, .*: it wants a certificate of the client/,
    ],
    ["with another authority", `ca=${file("client.crt")}&${OWN}`, /: it is not of the authority that ca names$/],
    [
      "with a name that the server does not have",
      `ca=${file("ca.crt")}&${OWN}&verify-cn=somebody`,
      /^the certificate has the name server, not one of verify-cn$/,
    ],
  ])("is not reached %s, and that is said at once", async (_, parameters, reason) => {
    const error = await failure(server!.url("tls", parameters || "x=1"));
    const [, told] = /^Cannot reach the placement drivers of TiKV: 127\.0\.0\.1:\d+: (.*)$/s.exec(error.message) ?? [];
    expect([error.code, told]).toEqual(["DECANT_E_TIKV_CONNECT", expect.stringMatching(reason)]);
  });

  test("a server that does not speak TLS, or not gRPC, is told apart", async () => {
    const web = createServer((_, response) => response.end("hello")).listen(0, "127.0.0.1");
    await once(web, "listening");
    const host = `127.0.0.1:${(web.address() as AddressInfo).port}`;
    const messages = [`tikv://${host}/x`, `tikv://${host}/x?ca=${file("ca.crt")}&${OWN}`].map(async (url) => {
      return (await failure(url)).message.replace(/^.*?: [^ ]+: /, "");
    });
    expect(await Promise.all(messages)).toEqual([
      "Protocol error: it does not speak gRPC",
      "TLS failed, wrong version number: it does not speak TLS",
    ]);
    web.close();
  });

  test("a file that is missing or no certificate is named", async () => {
    const missing = await failure("tikv://h/x?ca=/nowhere/ca.crt");
    expect([missing.code, missing.message]).toEqual([
      "DECANT_E_TIKV_TLS",
      "Cannot read the file /nowhere/ca.crt (ca): no such file or directory",
    ]);
    const wrong = await failure(`tikv://h/x?ca=${file("ca.crt")}&cert=${file("README.md")}&key=${file("client.key")}`);
    expect(wrong.code).toBe("DECANT_E_TIKV_TLS");
    expect((await failure(`tikv://h/x?ca=${file("README.md")}`)).message).toBe(
      `There is no certificate in the file ${file("README.md")} (ca)`,
    );
  });
});
