/**
 * JSON text exactly as the reference writes it (docs/spec/json-dump.md §2), and reading without losing digits: the volume
 * setting, `status` and `config` are compared byte by byte with what other clients print and store.
 */

/** A number with the digits of its source, so that it is written again as it was read. */
export class JsonNumber {
  readonly source: string;

  constructor(source: string) {
    this.source = source;
  }
}

/** `undefined` members of objects are left out. A Map keeps its order, also of keys that look like numbers. */
export type JsonValue =
  | null
  | boolean
  | string
  | number
  | bigint
  | JsonNumber
  | readonly JsonValue[]
  | ReadonlyMap<string, JsonValue>
  | { readonly [member: string]: JsonValue | undefined };

export interface JsonLayout {
  /** Blanks per level; 0 still puts every member on a line of its own. Default 2. */
  readonly indent?: number;
  /** Level at which the value stands: its closing bracket is indented by this many levels. Default 0. */
  readonly level?: number;
}

/** Parses JSON; every number becomes a `JsonNumber`. Throws `SyntaxError`. */
export function parseJson(text: string): JsonValue {
  const withSource = JSON.parse as (
    text: string,
    reviver: (key: string, value: unknown, context: { source?: string }) => unknown,
  ) => unknown;
  return withSource(text, (_key, value, context) =>
    typeof value === "number" ? new JsonNumber(context.source ?? String(value)) : value,
  ) as JsonValue;
}

/** Writes one member or element per line, LF only, without a final newline. */
export function formatJson(value: JsonValue, layout: JsonLayout = {}): string {
  return formatValue(value, " ".repeat(layout.indent ?? 2), layout.level ?? 0);
}

/** Writes all on one line, without blanks: for documents of which each is a line. */
export function formatJsonLine(value: JsonValue): string {
  if (typeof value === "string") return quoteJson(value);
  if (value instanceof JsonNumber) return value.source;
  if (value === null || typeof value !== "object") return String(value);
  if (Array.isArray(value)) return `[${(value as readonly JsonValue[]).map(formatJsonLine).join(",")}]`;
  const members = (value instanceof Map ? [...value] : Object.entries(value)) as [string, JsonValue | undefined][];
  const texts = members.flatMap(([name, member]) =>
    member === undefined ? [] : [`${quoteJson(name)}:${formatJsonLine(member)}`],
  );
  return `{${texts.join(",")}}`;
}

function formatValue(value: JsonValue, unit: string, level: number): string {
  if (typeof value === "string") return quoteJson(value);
  if (value instanceof JsonNumber) return value.source;
  if (value === null || typeof value !== "object") return String(value);
  if (Array.isArray(value)) {
    const elements = (value as readonly JsonValue[]).map((element) => formatValue(element, unit, level + 1));
    return bracket("[", elements, "]", unit, level);
  }
  const members = value instanceof Map ? [...value] : Object.entries(value);
  const lines: string[] = [];
  for (const [name, member] of members as [string, JsonValue | undefined][]) {
    if (member !== undefined) lines.push(`${quoteJson(name)}: ${formatValue(member, unit, level + 1)}`);
  }
  return bracket("{", lines, "}", unit, level);
}

function bracket(open: string, items: readonly string[], close: string, unit: string, level: number): string {
  if (items.length === 0) return open + close;
  const inner = `\n${unit.repeat(level + 1)}`;
  return `${open}${inner}${items.join(`,${inner}`)}\n${unit.repeat(level)}${close}`;
}

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
};

/**
 * A JSON string by the reference's rules: `<`, `>`, `&`, U+2028 and U+2029 are escaped, backspace and form feed have no short
 * form, DEL and everything else stands raw. Unpaired surrogates become U+FFFD.
 */
export function quoteJson(text: string): string {
  const wellFormed = text.replace(/\p{Surrogate}/gu, "\ufffd");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what has to be escaped
  const escaped = wellFormed.replace(/["\\\u0000-\u001f<>&\u2028\u2029]/g, (character) => {
    const short = SHORT_ESCAPES[character];
    return short ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
  return `"${escaped}"`;
}
