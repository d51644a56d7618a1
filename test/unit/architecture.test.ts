import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { describe, expect, test } from "vitest";

const SOURCE = join(import.meta.dirname, "..", "..", "src");
const MAX_LINES = 500;

/** Lowest first: a file imports only from its own layer and from those before it. */
const LAYERS: readonly (readonly string[])[] = [
  ["base"],
  ["volume"],
  ["tree"],
  ["engines", "formats", "storage"],
  ["operations"],
  ["agent"],
  ["cli"],
];

/** The library's front door stands beside the layers and shows what operations offer. */
const ENTRY = "index.ts";
const ENTRY_MAY_IMPORT = 4;

interface SourceFile {
  /** Path below src/. */
  readonly name: string;
  readonly text: string;
  /** Files below src/ that it imports, exports from, or loads when needed. */
  readonly imports: readonly string[];
}

const files: SourceFile[] = readdirSync(SOURCE, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .sort()
  .map((name) => {
    const text = readFileSync(join(SOURCE, name), "utf8");
    return { name, text, imports: importsOf(name, text) };
  });

function importsOf(name: string, text: string): string[] {
  const specifiers = text.matchAll(/\b(?:from|import)\s*\(?\s*["'](\.{1,2}\/[^"']+)["']/g);
  return Array.from(specifiers, (match) => {
    return relative(SOURCE, normalize(join(SOURCE, dirname(name), match[1]!)));
  });
}

function folderOf(name: string): string {
  return name.includes("/") ? name.slice(0, name.indexOf("/")) : name;
}

function layerOf(name: string): number {
  if (name === ENTRY) return ENTRY_MAY_IMPORT;
  return LAYERS.findIndex((folders) => folders.includes(folderOf(name)));
}

function isAllowed(importer: string, imported: string): boolean {
  const [from, to] = [layerOf(importer), layerOf(imported)];
  if (from !== to || importer === ENTRY) return to <= from;
  return folderOf(importer) === folderOf(imported); // engines, formats and storage meet only in operations
}

describe("the layers of src", () => {
  test("every file belongs to one", () => {
    expect(files.filter((file) => layerOf(file.name) < 0).map((file) => file.name)).toEqual([]);
  });

  test("imports go downwards, and engines, formats and storage do not know each other", () => {
    const wrong = files.flatMap((file) =>
      file.imports
        .filter((imported) => !isAllowed(file.name, imported))
        .map((imported) => `${file.name} -> ${imported}`),
    );
    expect(wrong).toEqual([]);
  });

  test("an engine, format or storage does not import a sibling, apart from shared folders", () => {
    expect(files.flatMap((file) => siblingImports(file))).toEqual([]);
  });

  test("only the registries load an engine, format or storage for operations", () => {
    const wrong = files
      .filter((file) => layerOf(file.name) > 3)
      .flatMap((file) =>
        file.imports.filter((imported) => /^engines\/[^/]+\//.test(imported)).map((to) => `${file.name} -> ${to}`),
      );
    expect(wrong).toEqual([]);
  });
});

/** Folders with what several engines or formats have in common; README of the layers: ARCHITECTURE.md. */
const SHARED = new Set(["engines/sql", "engines/kv", "formats/container"]);

function siblingImports(file: SourceFile): string[] {
  const own = parts(file.name);
  if (own === undefined || !["engines", "formats", "storage"].includes(folderOf(file.name))) return [];
  return file.imports
    .filter((imported) => {
      const other = parts(imported);
      return folderOf(imported) === folderOf(file.name) && other !== undefined && other !== own && !SHARED.has(other);
    })
    .map((imported) => `${file.name} -> ${imported}`);
}

/** `engines/redis` of `engines/redis/keys.ts`; undefined for a file directly in its layer's folder. */
function parts(name: string): string | undefined {
  const folders = name.split("/");
  return folders.length > 2 ? folders.slice(0, 2).join("/") : undefined;
}

describe("every file of src", () => {
  test.each(files)("$name is of a readable size and has named exports only", (file) => {
    expect(file.text.split("\n").length - 1).toBeLessThanOrEqual(MAX_LINES);
    expect(file.text).not.toMatch(/^export default\b|^export \{[^}]*\bas default\b/m);
    expect(file.text).not.toMatch(/^(?:export )?(?:const )?enum\b/m);
  });
});
