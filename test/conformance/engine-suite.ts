import { describe, test } from "vitest";
import { Bench, type EngineHarness } from "./engine-harness.ts";
import { abortCases, roundTripCases, selectionCases } from "./engine-read-cases.ts";
import { resumeCases } from "./engine-resume-cases.ts";
import { verifyCases } from "./engine-verify-cases.ts";
import { loaderCases, targetCases, volumeCases } from "./engine-write-cases.ts";
import { xattrCases } from "./engine-xattr-cases.ts";

/**
 * The contract of src/engines/engine.ts as tests, the same for every engine. `harness` is undefined where the engine's
 * server had to be skipped.
 */
export function describeEngine(name: string, harness: EngineHarness | undefined): void {
  describe.skipIf(harness === undefined)(`${name}: an engine`, () => {
    const fresh = async (): Promise<Bench> => new Bench(harness!, await harness!.emptyAddress());
    const it = (title: string, run: () => Promise<void>): void => {
      if (harness?.knownFailures?.includes(title)) test.fails(title, run);
      else test(title, run);
    };
    describe("finds what a target holds", () => targetCases(it, fresh));
    describe("creates and changes volumes", () => volumeCases(it, fresh));
    describe("compares and sets attributes of the root", () => xattrCases(it, fresh));
    describe("loads a volume", () => loaderCases(it, fresh));
    describe("goes on with a load", () => resumeCases(it, fresh));
    describe("gives back what was loaded", () => roundTripCases(it, fresh));
    describe("is read again after a load", () => verifyCases(it, fresh));
    describe("reads a part of a volume", () => selectionCases(it, fresh));
    describe("stops when it is told to", () => abortCases(it, fresh));
  });
}
