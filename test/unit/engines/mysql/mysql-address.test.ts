import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type MysqlAddress, parseMysqlAddress } from "../../../../src/engines/mysql/mysql-address.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";

const parse = (url: string, env: Record<string, string> = {}): MysqlAddress => parseMysqlAddress(url, env);

describe("a MySQL address", () => {
  test.each([
    ["mysql://u:p@(h:3307)/db", { host: "h", port: 3307 }],
    ["mysql://u:p@tcp(h:3307)/db", { host: "h", port: 3307 }],
    ["mysql://u:p@(h)/db", { host: "h", port: 3306 }],
    ["mysql://u:p@tcp([::1]:3307)/db", { host: "::1", port: 3307 }],
    ["mysql://u:p@/db", { host: "127.0.0.1", port: 3306 }],
    ["mysql://u:p@tcp/db", { host: "127.0.0.1", port: 3306 }],
    ["mysql:///db", { host: "127.0.0.1", port: 3306 }],
    ["mysql://u:p@unix(/run/my sql/s.sock)/db", { socketPath: "/run/my sql/s.sock" }],
    ["mysql://u@unix/db", { socketPath: "/tmp/mysql.sock" }],
  ])("%s names its server", (url, endpoint) => {
    expect(parse(url)).toMatchObject({ endpoint, database: "db" });
  });

  test.each([
    ["mysql://u:p@(h)/db", "u", "p"],
    ["mysql://u@(h)/db", "u", ""],
    ["mysql://(h)/db", "", ""],
    ["mysql://u:a@b:c@(h)/db", "u", "a@b:c"],
    ["mysql://u:p/q@(h)/db", "u", "p/q"],
    ["mysql://u:j%66s@(h)/db", "u", "jfs"],
    ["mysql://u%41:%40%2F%3f@(h)/db", "u%41", "@/?"],
    ["mysql://u:50%@(h)/db", "u", "50%"],
    ["mysql://u:%ff@(h)/db", "u", "%ff"],
    ["mysql://u:a#%41@(h)/db", "u", "a#%41"],
  ])("%s gives the user and the password", (url, user, password) => {
    expect(parse(url)).toMatchObject({ user, password });
  });

  test("takes a password from the environment when it has none", () => {
    const file = join(temporaryDirectory(), "password");
    writeFileSync(file, " from file \n");
    const env = { META_PASSWORD: "p%41@:/", META_PASSWORD_FILE: file };
    expect(parse("mysql://u@(h)/db", env).password).toBe("p%41@:/");
    expect(parse("mysql://u:@(h)/db?a=b@c", env).password).toBe("p%41@:/");
    expect(parse("mysql://u:own@(h)/db", env).password).toBe("own");
    expect(parse("mysql://u@(h)/db", { META_PASSWORD_FILE: file }).password).toBe("from file");
    expect(() => parse("mysql://(h)/db", env)).toThrow("invalid uri: mysql://(h)/db");
    expect(() => parse("mysql://u:a:b@(h)/db", env)).toThrow("invalid uri: mysql://u:****@(h)/db");
    expect(() => parse("mysql://u@(h)/db", { META_PASSWORD_FILE: "/does/not/exist" })).toThrow(
      "Cannot read the password file of META_PASSWORD_FILE: ENOENT",
    );
  });

  test("never shows the password", () => {
    const address = parse("mysql://u:secret@(h)/db?table_prefix=x");
    expect(address.url).toBe("mysql://u:****@(h)/db?table_prefix=x");
    expect(address.dsn("tx_isolation")).not.toContain("secret");
  });

  test.each([
    ["mysql://jfs:x@(127.0.0.1:3399)/h", "mysql://jfs:****@tcp(127.0.0.1:3399)/h?tx_isolation=%27repeatable-read%27"],
    ["mysql://u@unix(/s)/h?b=1&max_open_conns=3", "mysql://u@unix(/s)/h?b=1&tx_isolation=%27repeatable-read%27"],
    ["mysql://tcp([::1])/h", "mysql://tcp([::1]:3306)/h?tx_isolation=%27repeatable-read%27"],
  ])("%s is normalised as the reference prints it", (url, dsn) => {
    expect(parse(url).dsn("tx_isolation")).toBe(dsn);
  });

  test("gives the table prefix, how to encrypt, and the variables of the session", () => {
    const address = parse(
      "mysql://u@(h)/db?table_prefix=Abc&tls=skip-verify&timeout=1.5s&sql_mode=%27ANSI%27&charset=x",
    );
    expect(address).toMatchObject({ tablePrefix: "Abc", tls: "skip-verify", connectTimeoutMs: 1500 });
    expect([...address.variables]).toEqual([["sql_mode", "'ANSI'"]]);
    expect(
      ["", "?tls=false", "?tls=true", "?tls=preferred"].map((query) => parse(`mysql://(h)/db${query}`).tls),
    ).toEqual(["off", "off", "verify", "preferred"]);
  });

  test("names the files for TLS, which verifies then, and which are no variables", () => {
    const address = parse("mysql://(h)/db?ssl-ca=/a%20b/ca.pem&ssl-cert=c.pem&ssl-key=k.pem&sql_mode=%27ANSI%27");
    expect(address).toMatchObject({
      tls: "verify",
      tlsFiles: { ca: "/a b/ca.pem", cert: "c.pem", key: "k.pem" },
    });
    expect([...address.variables.keys()]).toEqual(["sql_mode"]);
    expect(address.dsn("tx_isolation")).toBe(
      "mysql://tcp(h:3306)/db?sql_mode=%27ANSI%27&tx_isolation=%27repeatable-read%27",
    );
    for (const mode of ["true", "skip-verify", "preferred"]) {
      const tls = mode === "true" ? "verify" : mode;
      expect(parse(`mysql://(h)/db?tls=${mode}&ssl-cert=c.pem`)).toMatchObject({ tls, tlsFiles: { cert: "c.pem" } });
    }
  });

  test.each([
    ["mysql://u:p@127.0.0.1:3306/db", "default addr for network '127.0.0.1:3306' unknown"],
    ["mysql://u:p@(h:3306/db", "the parentheses around the host are not closed"],
    ["mysql://u:p@udp(h)/db", "unknown network 'udp'"],
    ["mysql://u:p@(h:99999)/db", '"h:99999" is no host and port'],
    ["mysql://u:p@(h)", "it has no slash before the name of a database"],
    ["mysql://u:p@(h)/", "it names no database"],
    ["mysql://u:p/w@(h)", "it has no slash before the name of a database"],
    ["mysql://u:p?w@(h)/db", "a ? ends it, so in the user or the password it must be escaped"],
    ["mysql://u:p@w/x?w@(h)/db", "a ? ends it"],
    ["mysql://u:p@(h)/db?table_prefix=a%60b", 'juicefs cannot use the table_prefix "a`b"'],
    ["mysql://u:p@(h)/db?table_prefix=a+b", 'juicefs cannot use the table_prefix "a b"'],
    ["mysql://u:p@(h)/db?table_prefix=a.b", 'juicefs cannot use the table_prefix "a.b"'],
    ["mysql://u:p@(h)/%zz", "the name of the database has an invalid percent escape"],
    ["mysql://u:p@(h)/db?tls=custom", 'tls must be true, false, skip-verify or preferred, not "custom"'],
    ["mysql://u:p@(h)/db?ssl-ca=", "ssl-ca names no file"],
    ["mysql://u:p@(h)/db?tls=true&ssl-key=", "ssl-key names no file"],
    ["mysql://u:p@(h)/db?tls=false&ssl-cert=c", "tls=false leaves no use for ssl-ca, ssl-cert and ssl-key"],
    ["mysql://u:p@(h)/db?tls=skip-verify&ssl-ca=c", "with tls=skip-verify nobody would look whether ssl-ca fits"],
    ["mysql://u:p@(h)/db?tls=preferred&ssl-ca=c", "with tls=preferred nobody would look whether ssl-ca fits"],
    ["mysql://u:p@(h)/db?ssl-mode=REQUIRED", '"ssl-mode" is no name of a variable'],
    ["mysql://u:p@(h)/db?timeout=soon", 'timeout must be a duration such as 10s, not "soon"'],
    ["mysql://u:p@(h)/db?a;b=1", '"a;b" is no name of a variable'],
  ])("%s is refused", (url, reason) => {
    const masked = url.replace(/u:p.*@/, "u:****@");
    expect(() => parse(url)).toThrow(`Invalid address ${masked}: ${reason}`);
  });
});
