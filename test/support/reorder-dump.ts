/** Another order of the same document: as `jq -S` sorts, or everything from its end, the members of an entry last. */
export type OtherOrder = "sorted" | "reversed";

type Json = { [member: string]: Json } | Json[] | string | ExactNumber | boolean | null;

/** A number as it is written: trash inodes are no JavaScript numbers. */
class ExactNumber {
  readonly source: string;

  constructor(source: string) {
    this.source = source;
  }
}

/** The document of a JSON dump with its sections, entries and members in another order. Numbers stay as they are written. */
export function reorderDump(document: Buffer, order: OtherOrder): Buffer {
  const exactly = (_key: string, value: unknown, context: { source: string }): unknown =>
    typeof value === "number" ? new ExactNumber(context.source) : value;
  const value = JSON.parse(document.toString(), exactly as (key: string, value: unknown) => unknown) as Json;
  return Buffer.from(`${text(value, order, "section")}\n`);
}

function text(value: Json, order: OtherOrder, level: "section" | "entry" | "entries" | "other"): string {
  if (value instanceof ExactNumber) return value.source;
  if (Array.isArray(value)) return `[${value.map((element) => text(element, order, "other")).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = inOrder(Object.keys(value), order, level).map((name) => {
    return `${JSON.stringify(name)}:${text(value[name]!, order, levelBelow(name, level))}`;
  });
  return `{${members.join(",\n")}}`;
}

function levelBelow(name: string, level: "section" | "entry" | "entries" | "other"): typeof level {
  if (level === "section") return name === "FSTree" || name === "Trash" ? "entry" : "other";
  if (level === "entries") return "entry";
  return level === "entry" && name === "entries" ? "entries" : "other";
}

function inOrder(names: string[], order: OtherOrder, level: string): string[] {
  if (order === "sorted") return names.sort();
  if (level !== "entry") return names.reverse();
  const first = ["attr", "entries"].filter((name) => names.includes(name));
  return [...first, ...names.filter((name) => !first.includes(name))];
}
