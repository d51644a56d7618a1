import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { differences } from "../support/compare-volumes.ts";
import { convertFile } from "../support/convert-file.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { quietContext } from "../support/volume-files.ts";
import { volumeRecords } from "../support/volume-model.ts";
import { type VolumePlan, volumePlans } from "../support/volume-plan.ts";
import { encodeRecords } from "../support/volume-streams.ts";
import { runsOf } from "./runs.ts";

async function dumpFile(plan: VolumePlan): Promise<string> {
  const file = join(temporaryDirectory(), "volume.json");
  writeFileSync(file, await encodeRecords(volumeRecords(plan), 64 * 1024 * 1024));
  return file;
}

test("a volume of any content is the same JSON dump again after a conversion to binary and back, within little memory", async () => {
  await fc.assert(
    fc.asyncProperty(volumePlans(60), fc.integer({ min: 256, max: 2048 }), async (plan, kib) => {
      const file = await dumpFile(plan);
      const context = quietContext({ memory: { maxBytes: kib * 1024, tmpDir: temporaryDirectory() } });
      const binary = await convertFile(file, "x.bin", { format: "binary" }, context);
      const back = await convertFile(binary.file, "x.json", { format: "json" }, context);
      expect(back.bytes.toString("latin1")).toBe(readFileSync(file, "latin1"));
      expect((await differences(file, binary.file)).lines).toEqual([]);
    }),
    runsOf(60),
  );
});
