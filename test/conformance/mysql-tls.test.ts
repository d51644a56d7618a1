import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DecantError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { openStore } from "../../src/engines/registry.ts";
import { type PrivateMysqlServer, requireMysqlProgram, startMysql } from "../support/mysql-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { NEW_VOLUME, never } from "./engine-harness.ts";
import { SAMPLE_SETTING } from "./engine-records.ts";

const isAvailable = await requireMysqlProgram();
const TLS = join(import.meta.dirname, "..", "support", "tls");
const file = (name: string): string => join(TLS, name);
const CA = `ssl-ca=${file("ca.crt")}`;
const CERTIFICATE = `ssl-cert=${file("client.crt")}&ssl-key=${file("client.key")}`;

async function readSetting(url: string): Promise<string | undefined> {
  const store = await openStore(url, { logger: silentLogger, signal: never, env: {} });
  return (await store.readSetting(never))?.toString();
}

async function failure(url: string): Promise<DecantError> {
  return readSetting(url).then(
    () => expect.unreachable(`${url} should not work`),
    (error: unknown) => error as DecantError,
  );
}

describe.skipIf(!isAvailable)("TLS with MySQL", () => {
  const setting = SAMPLE_SETTING.toString();
  let server: PrivateMysqlServer;
  const url = (query: string, host = "127.0.0.1", user = "certified"): string =>
    `mysql://${user}:pa55word@(${host}:${server.port})/vol?${query}`;

  beforeAll(async () => {
    server = await startMysql({ tls: true, args: ["--bind-address=0.0.0.0"] });
    await server.query(`CREATE DATABASE vol; CREATE USER certified@'%' IDENTIFIED BY 'pa55word' REQUIRE X509;
      CREATE USER encrypted@'%' IDENTIFIED BY 'pa55word' REQUIRE SSL; GRANT ALL ON vol.* TO certified@'%', encrypted@'%'`);
    const store = await openStore(server.url("vol"), { logger: silentLogger, signal: never, env: {} });
    await store.createVolume(NEW_VOLUME, never);
  });
  afterAll(async () => {
    await server.stop();
  });

  test("lets a user in who must show a certificate, by every connection of a command", async () => {
    expect(await readSetting(url(`${CA}&${CERTIFICATE}`))).toBe(setting);
    expect(await readSetting(url(`${CA}&${CERTIFICATE}`, "localhost"))).toBe(setting);
    expect(await readSetting(url(`tls=skip-verify&${CERTIFICATE}`))).toBe(setting);
    expect(await readSetting(url(`tls=preferred&${CERTIFICATE}`))).toBe(setting);
    await server.query("CREATE DATABASE target; GRANT ALL ON target.* TO certified@'%'");
    const target = url(`${CA}&${CERTIFICATE}`).replace("/vol?", "/target?");
    const store = await openStore(target, { logger: silentLogger, signal: never, env: {} });
    const loader = await store.openLoader({ logger: silentLogger, signal: never, sliceRefs: "complete" });
    await loader.finish(SAMPLE_SETTING);
    expect(await readSetting(target)).toBe(setting);
  });

  test("takes certificate and key from one file", async () => {
    const both = join(temporaryDirectory(), "both.pem");
    writeFileSync(both, readFileSync(file("client.crt"), "utf8") + readFileSync(file("client.key"), "utf8"));
    expect(await readSetting(url(`${CA}&ssl-cert=${both}`))).toBe(setting);
    expect(await readSetting(url(`${CA}&ssl-key=${both}`))).toBe(setting);
  });

  test("says what a user needs who shows no certificate", async () => {
    const refused = await failure(url(CA));
    expect(refused).toMatchObject({
      code: "DECANT_E_MYSQL_AUTH",
      hint: expect.stringContaining("ssl-cert and ssl-key"),
    });
    expect(await readSetting(url(CA, "127.0.0.1", "encrypted"))).toBe(setting);
  });

  test("trusts the authorities that are named, and nobody else", async () => {
    const unknown = await failure(url(CERTIFICATE));
    expect(unknown).toMatchObject({ code: "DECANT_E_MYSQL_TLS", message: expect.stringContaining("certificate") });
    const other = await failure(url(`ssl-ca=${file("client.crt")}`, "127.0.0.1", "encrypted"));
    expect(other).toMatchObject({ code: "DECANT_E_MYSQL_TLS" });
  });

  test("refuses a certificate that is for another host, also where that is given as a number", async () => {
    expect(await failure(url(CA, "127.0.0.2", "encrypted"))).toMatchObject({
      code: "DECANT_E_MYSQL_TLS",
      message: expect.stringContaining("IP: 127.0.0.2 is not in the cert's list"),
    });
    expect(await readSetting(url("tls=skip-verify", "127.0.0.2", "encrypted"))).toBe(setting);
  });

  test("says which file cannot be used, and nothing of what is in it", async () => {
    const directory = temporaryDirectory();
    const write = (name: string, text: string): string => {
      writeFileSync(join(directory, name), text);
      return join(directory, name);
    };
    const secret = "c2VjcmV0IG9mIHRoZSBrZXk=";
    const broken = write("broken.pem", `-----BEGIN PRIVATE KEY-----\n${secret}\n-----END PRIVATE KEY-----\n`);
    const locked = write(
      "locked.pem",
      `-----BEGIN ENCRYPTED PRIVATE KEY-----\n${secret}\n-----END ENCRYPTED PRIVATE KEY-----\n`,
    );
    const text = write("text.pem", secret);
    const cert = `ssl-cert=${file("client.crt")}`;
    const cases: readonly (readonly [query: string, message: string])[] = [
      ["ssl-ca=/does/not/exist", "Cannot use the file /does/not/exist of ssl-ca: no such file or directory"],
      [`ssl-ca=${TLS}`, `Cannot use the file ${TLS} of ssl-ca: illegal operation on a directory`],
      [`ssl-ca=${text}`, `Cannot use the file ${text} of ssl-ca: it holds no certificate in PEM form`],
      [`ssl-cert=${text}`, `Cannot use the file ${text} of ssl-cert: it holds no certificate in PEM form`],
      [`${cert}&ssl-key=/missing`, "Cannot use the file /missing of ssl-key: no such file or directory"],
      [cert, `Cannot use the file ${file("client.crt")} of ssl-cert: it holds no private key in PEM form`],
      [`${cert}&ssl-key=${broken}`, `Cannot use the file ${broken} of ssl-key: it holds no private key in PEM form`],
      [`${cert}&ssl-key=${locked}`, `Cannot use the file ${locked} of ssl-key: its key is protected by a pass phrase`],
      [
        `${cert}&ssl-key=${file("server.key")}`,
        `Cannot use the file ${file("server.key")} of ssl-key: its key is not that of the certificate in ${file("client.crt")}`,
      ],
    ];
    for (const [query, message] of cases) {
      const error = await failure(url(query));
      expect(error).toMatchObject({ name: "UsageError", code: "DECANT_E_META_URL" });
      expect(error.message.slice(0, message.length)).toBe(message);
      expect(`${error.message} ${error.hint}`).not.toMatch(/c2VjcmV0|pa55word/);
    }
  });
});
