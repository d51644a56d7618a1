import { describe, expect, test } from "vitest";
import { redactUrl } from "../../../src/base/redact-url.ts";

describe("an address in a message", () => {
  test.each([
    ["redis://:secret@h:6379/1", "redis://:****@h:6379/1"],
    ["postgres://u:p@ss:w/x@h/db", "postgres://u:****@h/db"],
    ["postgres://u@h:5432/db", "postgres://u@h:5432/db"],
    ["sqlite3://a@b.db", "sqlite3://a@b.db"],
    ["https://key:secret@bucket", "https://key:****@bucket"],
    ["postgres://u@h/db?password=secret&port=1", "postgres://u@h/db?password=****&port=1"],
    ["redis://h/1?sentinel-password=a&x=b", "redis://h/1?sentinel-password=****&x=b"],
    // an @ in a parameter does not end the account
    ["postgres://u@h:5432/db?password=se@cret", "postgres://u@h:5432/db?password=****"],
    ["postgres://u:secret@h:5432/db?sslpassword=se@cret&x=1", "postgres://u:****@h:5432/db?sslpassword=****&x=1"],
    // a ? in a password that was not escaped does not begin the parameters
    ["postgres://u:se?cret@h/db", "postgres://u:****@h/db"],
    ["mysql://u:se?password=cret@(h)/db", "mysql://u:****@(h)/db"],
  ])("has no password: %s", (url, shown) => {
    expect(redactUrl(url)).toBe(shown);
  });
});
