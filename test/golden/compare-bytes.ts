import { expect } from "vitest";

/** Expects equal bytes; of others the first differing line and its bytes are shown, not megabytes of text. */
export function expectSameBytes(actual: Buffer, expected: Buffer): void {
  if (actual.equals(expected)) return;
  const [got, wanted] = [actual, expected].map((bytes) => bytes.toString("latin1").split("\n"));
  const at = wanted!.findIndex((line, i) => line !== got![i]);
  const line = at < 0 ? wanted!.length : at;
  const show = (text: string | undefined): object => ({
    line: line + 1,
    text,
    hex: text === undefined ? undefined : Buffer.from(text, "latin1").toString("hex").slice(0, 400),
  });
  expect(show(got![line])).toEqual(show(wanted![line]));
  expect(actual.length).toBe(expected.length);
}
