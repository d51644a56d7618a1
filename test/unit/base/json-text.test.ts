import { expect, test } from "vitest";
import { formatJsonLine, parseJson } from "../../../src/base/json-text.ts";

test("a document on one line keeps every digit, and leaves out what is undefined", () => {
  const text = '{"a":9223372032828243969,"b":[1.50,null,true,"x\\ny"],"c":{},"d":[]}';
  expect(formatJsonLine(parseJson(text))).toBe(text);
  expect(formatJsonLine({ a: undefined, b: 1n << 63n })).toBe('{"b":9223372036854775808}');
  expect(
    formatJsonLine(
      new Map([
        ["2", 1],
        ["1", 2],
      ]),
    ),
  ).toBe('{"2":1,"1":2}');
});
