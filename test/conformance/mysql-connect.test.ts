import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DecantError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { openStore } from "../../src/engines/registry.ts";
import { freePort } from "../support/guarded-process.ts";
import { type PrivateMysqlServer, requireMysqlProgram, startMysql } from "../support/mysql-server.ts";
import { NEW_VOLUME } from "./engine-harness.ts";
import { SAMPLE_SETTING } from "./engine-records.ts";

const signal = new AbortController().signal;
const isAvailable = await requireMysqlProgram();
const PASSWORD = "s3:cr@t/%41'";
const QUOTED = PASSWORD.replaceAll("'", "''");
const CA = join(import.meta.dirname, "..", "support", "tls", "ca.crt");

/** A reasonable time for an answer, also a bad one. */
const PATIENCE_MS = 10_000;

async function readSetting(url: string, env: Record<string, string> = {}): Promise<string | undefined> {
  const store = await openStore(url, { logger: silentLogger, signal, env });
  return (await store.readSetting(signal))?.toString();
}

async function failure(url: string, env: Record<string, string> = {}): Promise<DecantError> {
  const started = Date.now();
  const error = await readSetting(url, env).then(
    () => expect.unreachable(`${url} should not work`),
    (reason: unknown) => reason as DecantError,
  );
  expect(Date.now() - started).toBeLessThan(PATIENCE_MS);
  return error;
}

describe.skipIf(!isAvailable)("connecting to MySQL", () => {
  const setting = SAMPLE_SETTING.toString();
  let plain: PrivateMysqlServer;
  let tls: PrivateMysqlServer;

  async function prepare(server: PrivateMysqlServer): Promise<void> {
    await server.query(`CREATE DATABASE vol; CREATE USER u@'%' IDENTIFIED BY '${QUOTED}'; GRANT ALL ON vol.* TO u@'%';
      CREATE USER reader@'%'; GRANT SELECT ON vol.* TO reader@'%'`);
    const store = await openStore(server.url("vol"), { logger: silentLogger, signal, env: {} });
    await store.createVolume(NEW_VOLUME, signal);
  }

  beforeAll(async () => {
    plain = await startMysql();
    tls = await startMysql({ tls: true });
    await prepare(plain);
    await prepare(tls);
  });
  afterAll(async () => {
    await plain.stop();
    await tls.stop();
  });

  test("works by every form of address", async () => {
    const at = `127.0.0.1:${plain.port}`;
    expect(await readSetting(plain.url("vol"))).toBe(setting);
    expect(await readSetting(plain.socketUrl("vol"))).toBe(setting);
    expect(await readSetting(`mysql://root@tcp(localhost:${plain.port})/vol`)).toBe(setting);
    expect(await readSetting(`mysql://u:${PASSWORD}@(${at})/vol`)).toBe(setting);
    expect(await readSetting(`mysql://u:${encodeURIComponent(PASSWORD)}@(${at})/vol?max_open_conns=3`)).toBe(setting);
    expect(await readSetting(`mysql://u@(${at})/vol`, { META_PASSWORD: PASSWORD })).toBe(setting);
    expect(await readSetting(`mysql://root@(${at})/vol?wait_timeout=100&sql_mode=%27ANSI%27`)).toBe(setting);
    expect(await readSetting(`mysql://root@(${at})/vol?table_prefix=other`)).toBeUndefined();
  });

  test("encrypts when it is told to, with and without looking at the certificate", async () => {
    await tls.query("ALTER USER u@'%' REQUIRE SSL");
    const user = `mysql://u:${PASSWORD}@(127.0.0.1:${tls.port})/vol`;
    for (const mode of ["skip-verify", "preferred"]) expect(await readSetting(`${user}?tls=${mode}`)).toBe(setting);
    expect(await readSetting(`${user}?tls=true`, { SSL_CERT_FILE: CA })).toBe(setting);
    expect(await readSetting(`${tls.url("vol")}?tls=false`)).toBe(setting);
    expect(await failure(user)).toMatchObject({ code: "DECANT_E_MYSQL_AUTH" });
    expect(await failure(`${user}?tls=true`)).toMatchObject({
      code: "DECANT_E_MYSQL_TLS",
      message: expect.stringContaining("self-signed"),
    });
    expect(await failure(`${user}?tls=true`, { SSL_CERT_FILE: "/does/not/exist" })).toMatchObject({
      message: "Cannot use the file /does/not/exist of SSL_CERT_FILE: no such file or directory",
    });
  });

  test("falls back only where the address prefers TLS", async () => {
    expect(await readSetting(`${plain.url("vol")}?tls=preferred`)).toBe(setting);
    expect(await failure(`${plain.url("vol")}?tls=true`)).toMatchObject({
      code: "DECANT_E_MYSQL_TLS",
      message: expect.stringContaining("TLS requested but server does not support TLS"),
    });
  });

  test("says in time what is wrong, without the password", async () => {
    const refused = await failure(`mysql://u:${PASSWORD}@(127.0.0.1:${await freePort()})/vol`);
    expect(refused).toMatchObject({ code: "DECANT_E_MYSQL_CONNECT", message: expect.stringContaining("ECONNREFUSED") });
    expect(await failure("mysql://u@(no-such-host.invalid)/vol")).toMatchObject({ code: "DECANT_E_MYSQL_CONNECT" });
    expect(await failure("mysql://u@unix(/does/not/exist)/vol")).toMatchObject({ code: "DECANT_E_MYSQL_CONNECT" });
    const wrong = await failure(`mysql://u:${PASSWORD}x@(127.0.0.1:${plain.port})/vol`);
    expect(wrong).toMatchObject({ code: "DECANT_E_MYSQL_AUTH", message: expect.stringContaining("Access denied") });
    const foreign = await failure(`mysql://u:${PASSWORD}@(127.0.0.1:${plain.port})/mysql`);
    expect(foreign).toMatchObject({
      code: "DECANT_E_MYSQL_PERMISSION",
      message: expect.stringContaining("the user may not use this database, or there is none of this name"),
    });
    const missing = await failure(plain.url("missing"));
    expect(missing).toMatchObject({ code: "DECANT_E_MYSQL_DATABASE", name: "NotFoundError" });
    for (const parameter of ["no_such_variable=1", "datadir=1", "wait_timeout=%27x%27", "max_connections=5"]) {
      const variable = await failure(`${plain.url("vol")}?${parameter}`);
      expect(variable).toMatchObject({ code: "DECANT_E_META_URL", name: "UsageError" });
      expect(variable.message).toContain("a parameter of the address is none of its session variables");
      expect(variable.message).toContain(parameter.slice(0, parameter.indexOf("=")));
    }
    for (const error of [refused, wrong, foreign]) {
      expect(`${error.message} ${error.hint}`).not.toContain("s3:cr@t");
      expect(error.message).toContain("mysql://u:****@(127.0.0.1:");
    }
  });

  test("reads with no other right than SELECT, and says which right a change needs", async () => {
    const url = `mysql://reader@(127.0.0.1:${plain.port})/vol`;
    expect(await readSetting(url)).toBe(setting);
    const store = await openStore(url, { logger: silentLogger, signal, env: {} });
    const snapshot = await store.openSnapshot({ signal, logger: silentLogger });
    expect(await snapshot.readNode(1n)).toEqual(NEW_VOLUME.root);
    await snapshot.close();
    const change = { setting: SAMPLE_SETTING, dropDirStats: false, dropUserGroupQuotas: false, trashRoot: undefined };
    await expect(store.updateSetting(() => change, signal)).rejects.toMatchObject({
      code: "DECANT_E_MYSQL_PERMISSION",
    });
  });
});
