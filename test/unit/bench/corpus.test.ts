import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { generateCorpus, parseCorpusArguments } from "../../../bench/corpus.ts";
import type { CorpusOptions } from "../../../bench/corpus-shape.ts";

function corpus(options: Partial<CorpusOptions>): string {
  return Buffer.concat([...generateCorpus(options)]).toString();
}

interface Entry {
  attr: { inode: number; type: string; nlink: number };
  entries?: Record<string, Entry>;
}

/** Places of every inode, subdirectories of every directory. */
function survey(root: Entry): { places: Map<number, number>; names: string[][]; wrongLinks: string[] } {
  const places = new Map<number, number>();
  const names: string[][] = [];
  const all: Entry[] = [];
  const visit = (entry: Entry): void => {
    all.push(entry);
    places.set(entry.attr.inode, (places.get(entry.attr.inode) ?? 0) + 1);
    if (entry.entries === undefined) return;
    names.push(Object.keys(entry.entries));
    for (const child of Object.values(entry.entries)) visit(child);
  };
  visit(root);
  const wrong = all.filter((entry) => {
    const subdirectories = Object.values(entry.entries ?? {}).filter((child) => child.entries !== undefined).length;
    return entry.attr.nlink !== (entry.entries ? 2 + subdirectories : places.get(entry.attr.inode));
  });
  return { places, names, wrongLinks: wrong.map((entry) => String(entry.attr.inode)) };
}

describe("the corpus generator", () => {
  const shapes: Partial<CorpusOptions>[] = [
    { files: 3000 },
    { files: 1000, filesPerDirectory: 0.5, names: "short" },
    { files: 2000, huge: 1500, names: "long", links: 0.2 },
    { files: 500, fanout: 1, filesPerDirectory: 5, slices: 3.5 },
    { files: 1000, names: "odd", trash: 1500, symlinks: 0.2, xattrs: 0.5, acls: 0.5 },
  ];

  test.each(shapes)("%o is a sound volume: link counts fit, names are sorted, inodes without gaps", (options) => {
    const dump = JSON.parse(corpus(options)) as { FSTree: Entry; Trash: Entry };
    const { places, names, wrongLinks } = survey(dump.FSTree);
    expect(wrongLinks).toEqual([]);
    for (const list of names) expect(list).toEqual([...list].sort());
    expect([...places.keys()].sort((a, b) => a - b)).toEqual(Array.from(places.keys(), (_, i) => i + 1));
    const trash = Object.values(dump.Trash.entries ?? {}).flatMap((hour) => Object.values(hour.entries ?? {}));
    expect(trash.length).toBe(options.trash ?? 0);
  });

  test("the same options give the same bytes, another seed gives others", () => {
    const digest = (seed: number): string =>
      createHash("sha256")
        .update(corpus({ files: 2000, seed }))
        .digest("hex");
    expect(digest(1)).toBe(digest(1));
    expect(digest(1)).not.toBe(digest(2));
  });

  test("options are given as flags", () => {
    const args = ["--files", "1_000", "--files-per-directory", "0.5", "--names", "odd", "--output", "x.json"];
    expect(parseCorpusArguments(args)).toEqual({
      options: { files: 1000, filesPerDirectory: 0.5, names: "odd" },
      output: "x.json",
    });
  });
});
