import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { generateCorpus } from "../../bench/corpus.ts";
import type { CorpusOptions } from "../../bench/corpus-shape.ts";
import { realClient } from "../support/real-client.ts";
import { mustRun } from "../support/run-command.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const client = await realClient();

describe.skipIf(client === undefined)("a generated corpus", () => {
  const shapes: Partial<CorpusOptions>[] = [
    { files: 5000 },
    {
      files: 3000,
      names: "odd",
      slices: 2.5,
      trash: 2500,
      links: 0.1,
      xattrs: 0.3,
      acls: 0.2,
      symlinks: 0.1,
      large: 0.1,
    },
    { files: 3000, huge: 2500, names: "long" },
    { files: 1000, filesPerDirectory: 0.5 },
  ];

  test.each(shapes)("%o comes back from the reference client as it was, but for counters", async (options) => {
    const directory = temporaryDirectory();
    const [source, result] = [join(directory, "source.json"), join(directory, "result.json")];
    const url = `sqlite3://${join(directory, "volume.db")}`;
    writeFileSync(source, Buffer.concat([...generateCorpus(options)]));
    await mustRun(client!, ["load", url, source]);
    await mustRun(client!, ["dump", "--fast", url, result]);
    expect(withoutCounters(result)).toEqual(withoutCounters(source));
  });
});

function withoutCounters(file: string): string[] {
  const lines = readFileSync(file, "latin1").split("\n");
  return lines.filter((line) => !/^ {4}"(?:used|next)[A-Za-z]+": /.test(line));
}
