import { readdirSync } from "node:fs";
import { expect, it } from "vitest";
import { encodeJsonDump } from "../../../../src/formats/json/encode.ts";
import { parseSetting } from "../../../../src/volume/setting.ts";
import { decodeText, FIXTURES, fixture } from "./reading.ts";

const dumps = ["golden/dumps", "golden/changelog", "encrypted"].flatMap((directory) =>
  readdirSync(`${FIXTURES}${directory}`)
    .filter((name) => name.endsWith(".json"))
    .map((name) => `${directory}/${name}`),
);

for (const path of [...dumps, "malformed/base.json"]) {
  it(`a dump that is decoded and encoded again is the same, byte for byte: ${path}`, async () => {
    const bytes = fixture(path);
    const decoded = await decodeText(bytes);
    async function* records(): AsyncGenerator<(typeof decoded.batches)[number]> {
      yield* decoded.batches.filter(({ kind }) => kind !== "setting");
    }
    const findings: string[] = [];
    const pieces: Buffer[] = [];
    const options = {
      setting: parseSetting(decoded.setting!),
      partial: path.includes("subdir"),
      unlimitedDirQuotas: "dump",
      onFinding: (kind: string) => findings.push(kind),
    } as const;
    for await (const piece of encodeJsonDump(records(), options)) pieces.push(piece);
    expect(Buffer.concat(pieces).toString()).toBe(bytes.toString());
    expect(findings).toEqual([]);
  });
}
