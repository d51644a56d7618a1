import { describe, expect, test } from "vitest";
import { parseSqliteAddress } from "../../../../src/engines/sqlite/sqlite-address.ts";

describe("a SQLite address", () => {
  test.each([
    ["sqlite3:///abs/m.db", "/abs/m.db"],
    ["sqlite3://rel/m.db", "rel/m.db"],
    ["sqlite3://m%20n.db?table_prefix=x", "m%20n.db"],
    ["sqlite3://file:/abs/m%20n.db", "/abs/m n.db"],
    ["sqlite3://file:///abs/m.db", "/abs/m.db"],
  ])("%s names the file %s", (url, path) => {
    expect(parseSqliteAddress(url).path).toBe(path);
  });

  test("gives the table prefix and drops the pool's parameters", () => {
    const address = parseSqliteAddress("sqlite3:///m.db?max_open_conns=3&table_prefix=Abc&max_idle_time=1");
    expect(address).toMatchObject({
      tablePrefix: "Abc",
      dsn: "sqlite3:///m.db?_journal=WAL&_timeout=5000&cache=shared",
    });
  });

  test.each([
    ["sqlite3:///m.db", "sqlite3:///m.db?_journal=WAL&_timeout=5000&cache=shared"],
    ["sqlite3:///m.db?table_prefix=A&zz=1+2%26", "sqlite3:///m.db?_journal=WAL&_timeout=5000&cache=shared&zz=1+2%26"],
    ["sqlite3://file:/m.db", "sqlite3://file:/m.db?_journal=WAL&_timeout=5000&cache=shared"],
    ["sqlite3://o.db?_timeout=3&_journal_mode=DELETE", "sqlite3://o.db?_journal_mode=DELETE&_timeout=3&cache=shared"],
  ])("%s is normalised as the reference prints it", (url, dsn) => {
    expect(parseSqliteAddress(url).dsn).toBe(dsn);
  });

  test("may ask for a lock timeout and another journal mode", () => {
    expect(parseSqliteAddress("sqlite3://m.db")).toMatchObject({ busyTimeoutMs: 5000, walMode: true });
    expect(parseSqliteAddress("sqlite3://m.db?_busy_timeout=70&_journal=delete")).toMatchObject({
      busyTimeoutMs: 70,
      walMode: false,
    });
  });

  test.each([
    ["sqlite3://", "sqlite3:// names no database file"],
    ["sqlite3://?table_prefix=x", "sqlite3://?table_prefix=x names no database file"],
    ["sqlite3://:memory:", "sqlite3://:memory: names no database file"],
    ["sqlite3://m.db ", "sqlite3://m.db  ends with a blank, which decant cannot open"],
    [
      "sqlite3://m.db?_timeout=soon",
      "Invalid _timeout in sqlite3://m.db?_timeout=soon: expected milliseconds, got soon",
    ],
    ["sqlite3://m.db?a=%zz", "Invalid parameter a=%zz in sqlite3://m.db?a=%zz"],
    ["sqlite3://file:%zz", "Invalid file URI: file:%zz"],
  ])("%s is refused", (url, message) => {
    expect(() => parseSqliteAddress(url)).toThrow(message);
  });
});
