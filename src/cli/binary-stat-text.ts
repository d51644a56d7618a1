import type { JsonValue } from "../base/json-text.ts";
import type { Footer } from "../formats/binary/footer.ts";
import type { SegmentView } from "../operations/binary-stat.ts";

const COLUMN = 10;

/** The table of `load FILE --binary --stat`, as juicefs prints it (docs/spec/binary-dump.md §6). */
export function statText(footer: Footer, withOffsets: boolean): string {
  const rule = "-".repeat(withOffsets ? 34 : 23);
  const head = `${"Name".padEnd(COLUMN)}| ${"Num".padEnd(COLUMN)}`;
  const rows = sorted(footer).map(([name, { records, offsets }]) => {
    const start = `${name.padEnd(COLUMN)}| ${String(records).padEnd(COLUMN)}|`;
    return withOffsets ? `${start} ${`[${offsets.join(" ")}]`.padEnd(COLUMN)}` : start;
  });
  return [
    `Backup Version: ${footer.version}`,
    rule,
    withOffsets ? `${head}| ${"Offset".padEnd(COLUMN)}` : head,
    rule,
    ...rows,
    "",
  ].join("\n");
}

/** The same for `--json`. */
export function statJson(footer: Footer): JsonValue {
  return {
    version: footer.version,
    segments: sorted(footer).map(([name, { records, offsets }]) => ({ name, records, offsets: [...offsets] })),
  };
}

/** What `load FILE --binary --stat --offset N` shows of one segment. */
export function segmentViewText({ name, text }: SegmentView): string {
  return `Segment: ${name}\nValue: ${text}\n`;
}

function sorted(footer: Footer): [string, Footer["segments"] extends ReadonlyMap<string, infer Info> ? Info : never][] {
  return [...footer.segments].sort(([a], [b]) => (a < b ? -1 : 1));
}
