import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { DecantError, isAbortError, NotFoundError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { MetadataStore } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { runDecant } from "../support/decant.ts";
import { freePort } from "../support/guarded-process.ts";
import { type PrivatePostgresServer, requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { TLS_DIRECTORY } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { dumpVolume, loadVolumeFile } from "../support/run-operations.ts";
import { failureOf, NEW_VOLUME, never } from "./engine-harness.ts";

const isAvailable = await requirePostgresServer();

const PASSWORD = "pa/ss@w:o'rd%";
const SECRET = encodeURIComponent(PASSWORD);
const tlsFile = (name: string): string => join(TLS_DIRECTORY, name);

function open(url: string, env: Record<string, string> = {}): Promise<MetadataStore> {
  return openStore(url, { logger: silentLogger, signal: never, env });
}

async function failure(url: string, env: Record<string, string> = {}): Promise<DecantError> {
  const error = await failureOf(() => open(url, env));
  expect(error).toBeInstanceOf(DecantError);
  for (const text of [String(error), (error as DecantError).hint ?? ""]) expect(text).not.toContain("ss@w");
  return error as DecantError;
}

describe.skipIf(!isAvailable)("connecting to PostgreSQL", () => {
  let server: PrivatePostgresServer;
  beforeAll(async () => {
    server = await startPostgres({
      password: PASSWORD,
      tls: true,
      hostBasedAccess: [
        "local all postgres trust",
        "hostssl all postgres 127.0.0.1/32 trust clientcert=verify-ca",
        "hostssl plain tester 127.0.0.1/32 reject",
        "hostnossl tls tester 127.0.0.1/32 reject",
        "host all tester 127.0.0.1/32 scram-sha-256",
      ],
    });
    for (const name of ["plain", "tls"]) await server.psql("postgres", `CREATE DATABASE ${name}`);
  });

  const url = (database: string, query = "", host = "127.0.0.1"): string =>
    `postgres://tester:${SECRET}@${host}:${server.port}/${database}${query}`;

  test("with a password of the address or of META_PASSWORD", async () => {
    await (await open(url("postgres"))).close();
    await (await open(`postgres://tester@127.0.0.1:${server.port}/postgres`, { META_PASSWORD: PASSWORD })).close();
    await (await open(`postgresql://tester:@127.0.0.1:${server.port}/postgres`, { META_PASSWORD: PASSWORD })).close();
    await (await open(`postgres://tester@127.0.0.1:${server.port}/postgres`, { PGPASSWORD: PASSWORD })).close();
  });

  test("through a Unix socket, without TLS whatever is asked for", async () => {
    await (await open(`${server.socketUrl("postgres")}&sslmode=require`)).close();
    await (
      await open(`postgres://postgres@/postgres`, { PGHOST: server.directory, PGPORT: String(server.port) })
    ).close();
  });

  test("with TLS where the server wants it, and without where it wants that", async () => {
    await (await open(url("tls"))).close();
    await (await open(url("tls", "?sslmode=allow"))).close();
    await (await open(url("plain"))).close();
    await (await open(url("plain", "?sslmode=disable"))).close();
    expect(await failure(url("tls", "?sslmode=disable"))).toMatchObject({ code: "DECANT_E_POSTGRES_AUTH" });
    expect(await failure(url("plain", "?sslmode=require"))).toMatchObject({ code: "DECANT_E_POSTGRES_AUTH" });
  });

  test("verifies the certificate and the name as sslmode says", async () => {
    const root = `&sslrootcert=${encodeURIComponent(tlsFile("ca.crt"))}`;
    await (await open(url("tls", `?sslmode=verify-ca${root}`))).close();
    await (await open(url("tls", `?sslmode=verify-full${root}`))).close();
    await (await open(url("tls", `?sslmode=require${root}`))).close();
    const wrong = `&sslrootcert=${encodeURIComponent(tlsFile("client.crt"))}`;
    for (const query of ["?sslmode=verify-ca", `?sslmode=verify-full${wrong}`, `?sslmode=require${wrong}`]) {
      const error = await failure(url("tls", query));
      expect(error).toMatchObject({ code: "DECANT_E_POSTGRES_CONNECT" });
      expect(error.hint).toContain("sslrootcert");
    }
    expect(await failure(url("tls", "?sslmode=verify-ca&sslrootcert=/nowhere"))).toMatchObject({
      code: "DECANT_E_META_URL",
    });
  });

  test("trusts the authorities of the system where no others are named", async () => {
    // OpenSSL reads the system's authorities from here, once in a process.
    const system = { SSL_CERT_FILE: tlsFile("ca.crt"), SSL_CERT_DIR: "/nowhere" };
    for (const query of ["?sslmode=verify-full", "?sslmode=verify-full&sslrootcert=system"]) {
      // There is no volume, which is only seen when the connection was made.
      expect((await runDecant(["status", url("tls", query)], { env: system })).code).toBe(4);
      expect((await runDecant(["status", url("tls", query)])).code).toBe(7);
    }
  });

  test("with a client certificate", async () => {
    const certificate = `?sslmode=require&sslcert=${tlsFile("client.crt")}&sslkey=${tlsFile("client.key")}`;
    const address = `postgres://postgres@127.0.0.1:${server.port}/postgres`;
    await (await open(address + certificate)).close();
    await failure(address);
  });

  test("asks the next of several hosts", async () => {
    const hosts = `127.0.0.1:${await freePort()},127.0.0.1:${server.port}`;
    await (await open(`postgres://tester:${SECRET}@${hosts}/tls`)).close();
  });

  test("says what is wrong", async () => {
    const free = await freePort();
    expect(await failure(`postgres://u:${SECRET}@127.0.0.1:${free}/db`)).toMatchObject({
      code: "DECANT_E_POSTGRES_CONNECT",
      message: `Meta postgres://u:****@127.0.0.1:${free}/db is not available: connect ECONNREFUSED 127.0.0.1:${free}`,
      retryable: true,
    });
    expect(await failure(`postgres://tester:ss@wrong@127.0.0.1:${server.port}/tls`)).toMatchObject({
      code: "DECANT_E_POSTGRES_AUTH",
      message: expect.stringContaining('password authentication failed for user "tester"'),
    });
    const missing = await failure(url("nothing"));
    expect(missing).toBeInstanceOf(NotFoundError);
    expect(missing.code).toBe("DECANT_E_NO_DATABASE");
    for (const parameter of ["no_such_setting=1", "work_mem=much", "max_connections=5"]) {
      const setting = await failure(url("tls", `?${parameter}`));
      expect(setting).toMatchObject({ code: "DECANT_E_META_URL", name: "UsageError" });
      const name = parameter.slice(0, parameter.indexOf("="));
      expect(setting.message).toMatch(new RegExp(`^Cannot set the parameter ${name} of postgres://tester:.*"${name}"`));
    }
    expect(await failure(`postgres://nobody@127.0.0.1:${server.port}/tls`)).toMatchObject({
      code: "DECANT_E_POSTGRES_AUTH",
    });
  });

  test("stops at once when it is told to, also while a server does not answer", async () => {
    const silent = createServer();
    await once(silent.listen(0, "127.0.0.1"), "listening");
    const { port } = silent.address() as AddressInfo;
    const controller = new AbortController();
    silent.once("connection", () => controller.abort());
    const options = { logger: silentLogger, signal: controller.signal, env: {} };
    const error = await failureOf(() => openStore(`postgres://u@127.0.0.1:${port}/db`, options));
    expect(error).toSatisfy(isAbortError);
    const started = performance.now();
    const timeout = await failure(`postgres://u@127.0.0.1:${port}/db?connect_timeout=1`);
    silent.close();
    expect(timeout).toMatchObject({ code: "DECANT_E_POSTGRES_CONNECT", message: expect.stringContaining("timeout") });
    expect(performance.now() - started).toBeLessThan(1900); // once, not once with TLS and once without
  });

  test("keeps several volumes apart by prefix and by schema", async () => {
    const database = await server.createDatabase();
    await server.psql(database, 'CREATE SCHEMA meta; CREATE SCHEMA "Odd name"');
    const queries = ["", "?table_prefix=Abc", "?search_path=meta", "?search_path=Odd%20name&table_prefix=x%60y"];
    for (const [i, query] of queries.entries()) {
      const store = await open(url(database, query));
      await store.createVolume({ ...NEW_VOLUME, setting: Buffer.from(`{"Name":"v${i}"}`) }, never);
    }
    for (const [i, query] of queries.entries()) {
      const store = await open(url(database, query));
      expect((await store.readSetting(never))?.toString()).toBe(`{"Name":"v${i}"}`);
    }
    const list = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE tablename LIKE 'jfs%setting' ORDER BY 1";
    expect((await server.psql(database, list)).trim().split("\n")).toEqual([
      "Odd name.jfs_x`y_setting",
      "meta.jfs_setting",
      "public.jfs_Abc_setting",
      "public.jfs_setting",
    ]);
  });

  test("finds the tables of a volume whose names the server has cut, as the reference does", async () => {
    const database = await server.createDatabase();
    const address = url(database, `?table_prefix=${"p".repeat(50)}ü`);
    await loadVolumeFile(address, fixture("golden/dumps/golden.keep.json"));
    const longest = "SELECT max(octet_length(tablename)) FROM pg_tables WHERE schemaname = 'public'";
    expect((await server.psql(database, longest)).trim()).toBe("63");
    const { bytes } = await dumpVolume(address, { keepSecretKey: true });
    const plain = url(await server.createDatabase());
    await loadVolumeFile(plain, fixture("golden/dumps/golden.keep.json"));
    expect(bytes.equals((await dumpVolume(plain, { keepSecretKey: true })).bytes)).toBe(true);
    expect(bytes.toString("latin1")).toContain('"UserQuotas"');
    const tooLong = await failure(url(database, `?table_prefix=${"p".repeat(53)}`));
    expect(tooLong).toMatchObject({ code: "DECANT_E_META_URL" });
    expect(tooLong.message).toContain("the table_prefix is too long");
  });

  test("says that a schema is missing, or that the user may not create tables in it", async () => {
    const database = await server.createDatabase();
    const file = fixture("malformed/base.json");
    await expect(loadVolumeFile(url(database, "?search_path=gone"), file)).rejects.toMatchObject({
      code: "DECANT_E_POSTGRES_SCHEMA",
    });
    await server.psql(database, "CREATE ROLE reader LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    const asReader = url(database, "?role=reader"); // a setting of the session: the rights are those of that role
    await expect(loadVolumeFile(asReader, file)).rejects.toMatchObject({ code: "DECANT_E_POSTGRES_PERMISSION" });
  });
});
