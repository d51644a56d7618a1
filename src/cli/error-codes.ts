import type { KindOfProblem } from "../tree/check-kinds.ts";

/** Exit codes by error class, for docs/exit-codes.md. */
const EXIT_CODE_BY_CLASS: Readonly<Record<string, number>> = {
  UsageError: 2,
  NotFoundError: 4,
  ConflictError: 5,
  DataError: 6,
  UnsortedTreeError: 6,
  EngineError: 7,
  FileError: 7,
  StorageError: 7,
  MissingDependencyError: 7,
  InternalError: 1,
};

/** A table of all error codes that occur in source texts, by exit code, then by name. */
export function errorCodeTable(sources: Iterable<string>): string {
  const rows = new Map<string, { name: string; kind: string; exit: number }>();
  for (const source of sources) {
    for (const match of source.matchAll(/new (\w+Error)\(\s*"(DECANT_E_\w+)"/g)) {
      const [, kind = "", name = ""] = match;
      rows.set(`${name} ${kind}`, { name, kind, exit: EXIT_CODE_BY_CLASS[kind] ?? 1 });
    }
    // The JSON decoder's tokens add the place to their errors, which are all of one class.
    for (const [, name = ""] of source.matchAll(/\.error\(\s*"(DECANT_E_\w+)"/g)) {
      rows.set(`${name} DataError`, { name, kind: "DataError", exit: 6 });
    }
    // Engines keep what their servers answer in tables.
    for (const [, name = ""] of source.matchAll(/\bcode: "(DECANT_E_\w+)"/g)) {
      rows.set(`${name} EngineError`, { name, kind: "EngineError", exit: 7 });
    }
  }
  const sorted = [...rows.values()].sort((a, b) => a.exit - b.exit || (a.name < b.name ? -1 : 1));
  const lines = sorted.map(({ name, kind, exit }) => `| \`${name}\` | \`${kind}\` | ${exit} |`);
  return ["| code | class | exit |", "|---|---|---|", ...lines].join("\n");
}

/** A table of the kinds of problems, for docs/verify.md. */
export function problemTable(kinds: readonly KindOfProblem[]): string {
  const rows = kinds.map(
    ({ kind, severity, text }) => `| \`${kind}\` | ${severity} | ${text.replaceAll("|", "\\|")} |`,
  );
  return ["| kind | severity | text |", "|---|---|---|", ...rows].join("\n");
}

/** A table of the kinds of findings, from the text of src/volume/findings.ts. */
export function findingTable(source: string): string {
  const rows = new Map<string, string>();
  for (const match of source.matchAll(/"([a-z-]+)": \{\s*text:\s*("(?:[^"\\]|\\.)*"|'[^']*'),\s*loss: (true|false)/g)) {
    const [, kind = "", quoted = "", loss = ""] = match;
    const text = quoted.startsWith("'") ? quoted.slice(1, -1) : (JSON.parse(quoted) as string);
    rows.set(kind, `| \`${kind}\` | ${loss} | ${text.replaceAll("|", "\\|")} |`);
  }
  const sorted = [...rows.keys()].sort().map((kind) => rows.get(kind)!);
  return ["| kind | loss | text |", "|---|---|---|", ...sorted].join("\n");
}
