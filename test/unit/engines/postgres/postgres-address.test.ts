import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { UsageError } from "../../../../src/base/errors.ts";
import { parsePostgresAddress } from "../../../../src/engines/postgres/postgres-address.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";

const parse = (url: string, env: Record<string, string> = {}) => parsePostgresAddress(url, env);

describe("an address of PostgreSQL", () => {
  test("names user, password, host, port and database", () => {
    expect(parse("postgres://jfs:secret@db.example:5433/meta")).toMatchObject({
      hosts: [{ host: "db.example", port: 5433 }],
      user: "jfs",
      password: "secret",
      database: "meta",
      schema: "public",
      tablePrefix: "",
      url: "postgres://jfs:****@db.example:5433/meta",
      dsn: "postgres://jfs:****@db.example:5433/meta",
      tls: { mode: "prefer" },
    });
  });

  test.each([
    ["postgres://u@h/db", { hosts: [{ host: "h", port: 5432 }], password: undefined }],
    ["postgres://u:@h/db", { password: undefined }],
    ["postgres://u@h", { database: "u" }],
    ["postgres://h/db", { hosts: [{ host: "h", port: 5432 }], database: "db" }],
    ["postgres://u@[::1]:5433/db", { hosts: [{ host: "::1", port: 5433 }] }],
    ["postgres://u@/db?host=/run/pg&port=5499", { hosts: [{ host: "/run/pg", port: 5499 }] }],
    ["postgres://u@%2Frun%2Fpg:5499/db", { hosts: [{ host: "/run/pg", port: 5499 }] }],
    ["postgres://u@/db", { hosts: [{ host: "localhost", port: 5432 }] }],
    [
      "postgres://u@a:1,b:2/db",
      {
        hosts: [
          { host: "a", port: 1 },
          { host: "b", port: 2 },
        ],
      },
    ],
    [
      "postgres://u@/db?host=a,b&port=1,2",
      {
        hosts: [
          { host: "a", port: 1 },
          { host: "b", port: 2 },
        ],
      },
    ],
    ["postgres:///db?user=me&password=p", { user: "me", password: "p", database: "db" }],
    ["postgres://u@h/?dbname=other", { database: "other" }],
    ["postgres://h:1/db?user=me@corp&password=p@s", { user: "me@corp", password: "p@s", database: "db" }],
    ["postgres:///db?host=/run/pg&user=me@corp", { user: "me@corp", hosts: [{ host: "/run/pg", port: 5432 }] }],
    ["postgres://u:p@h/db?application_name=a@b", { user: "u", password: "p", applicationName: "a@b" }],
    ["postgres://u@h/db?table_prefix=%C3%A9%60%25%24", { tablePrefix: "é`%$" }],
  ])("%s", (url, expected) => {
    expect(parse(url)).toMatchObject(expected);
  });

  test.each([
    ["postgres://u%40x:p%40%2F%3A%25@h/d%2Fb", "u@x", "p@/:%", "d/b"],
    ["postgres://u:p@ss:w@h/db", "u", "p@ss:w", "db"],
    ["postgres://u:pa/ss#w@h/db", "u", "pa/ss#w", "db"],
    ["postgres://u:100%@h/db", "u", "100%", "db"],
    ["postgres://u:p+q@h/db", "u", "p+q", "db"],
  ])("takes escaped and raw passwords: %s", (url, user, password, database) => {
    expect(parse(url)).toMatchObject({ user, password, database, hosts: [{ host: "h", port: 5432 }] });
  });

  test("has a table prefix, a schema, and settings for the session", () => {
    const url = "postgres://u@h/db?table_prefix=Abc&search_path=meta&max_open_conns=3&work_mem=64MB&sslmode=disable";
    const parsed = parse(url);
    expect(parsed).toMatchObject({ tablePrefix: "Abc", schema: "meta", tls: { mode: "disable" } });
    expect([...parsed.settings]).toEqual([["work_mem", "64MB"]]);
    expect(parsed.dsn).toBe("postgres://u@h/db?search_path=meta&sslmode=disable&work_mem=64MB");
  });

  test("takes TLS files, time limits and the kind of server", () => {
    const query =
      "sslmode=verify-full&sslrootcert=/ca&sslcert=/c&sslkey=/k&connect_timeout=7&target_session_attrs=primary";
    expect(parse(`postgres://u@h/db?${query}`)).toMatchObject({
      tls: { mode: "verify-full", rootCert: "/ca", cert: "/c", key: "/k" },
      connectTimeoutMs: 7000,
      needsPrimary: true,
    });
  });

  test("is completed from the environment of PostgreSQL's own clients", () => {
    const env = { PGHOST: "pg.example", PGPORT: "6000", PGUSER: "me", PGPASSWORD: "pw", PGSSLMODE: "require" };
    expect(parse("postgres:///db", env)).toMatchObject({
      hosts: [{ host: "pg.example", port: 6000 }],
      user: "me",
      password: "pw",
      tls: { mode: "require" },
    });
    expect(parse("postgres://you:other@h:1/db", env)).toMatchObject({
      hosts: [{ host: "h", port: 1 }],
      user: "you",
      password: "other",
    });
  });
});

describe("META_PASSWORD", () => {
  const env = { META_PASSWORD: "p@ss/w:rd%" };

  test.each(["postgres://u@h/db", "postgres://u:@h/db"])("stands in for a missing password: %s", (url) => {
    expect(parse(url, env).password).toBe("p@ss/w:rd%");
    expect(parse(url, env).url).not.toContain("ss/w");
    expect(parse(url, env).dsn).not.toContain("ss");
  });

  test("does not replace the one of the address, but that of PGPASSWORD", () => {
    expect(parse("postgres://u:own@h/db", env).password).toBe("own");
    expect(parse("postgres://u@h/db", { ...env, PGPASSWORD: "x" }).password).toBe("p@ss/w:rd%");
  });

  test("comes from a file, without the line break", () => {
    const file = join(temporaryDirectory(), "password");
    writeFileSync(file, "from file\n");
    expect(parse("postgres://u@h/db", { META_PASSWORD_FILE: file }).password).toBe("from file");
  });

  test("needs an address with a user", () => {
    expect(() => parse("postgres://h/db", env)).toThrow("invalid uri: postgres://h/db");
  });
});

test.each([
  ["postgres://u@h:99999/db", '"99999" is no port'],
  ["postgres://u@h:x/db", '"h:x" is no host'],
  ["postgres://u@h/db?sslmode=maybe", "sslmode must be one of"],
  ["postgres://u@h/db?connect_timeout=soon", "connect_timeout must be a number"],
  ["postgres://u@h/db?target_session_attrs=standby", "target_session_attrs must be"],
  ["postgres://u@h/db?search_path=a,b", "currently, only one schema is supported in search_path"],
  ["postgres://u:secret@h:x/db", "no host"],
  ["postgres://u:secret?x@h/db", "a ? ends it, so in the user or the password it must be escaped"],
  ["postgres://u:secret@secret#?x@h/db", "a ? ends it"],
  ["postgres://u:secret/?x=1@h/db", "a ? ends it"],
  ["postgres://u:1/secret@h/db", "a / ends the hosts, so in the user or the password it must be written %2F"],
  ["postgres://u@h/db?table_prefix=a%20b", 'juicefs cannot use the table_prefix "a b"'],
  ["postgres://u@h/db?table_prefix=a.b", 'juicefs cannot use the table_prefix "a.b"'],
  ["postgres://u@h/db?table_prefix=x%22y", "juicefs cannot use the table_prefix"],
  ["postgres://u@h/db?table_prefix=it's", "juicefs cannot use the table_prefix"],
])("%s is refused: %s", (url, message) => {
  const attempt = () => parse(url);
  expect(attempt).toThrow(UsageError);
  expect(attempt).toThrow(message);
  try {
    attempt();
  } catch (error) {
    expect(String(error)).not.toContain("secret");
  }
});
