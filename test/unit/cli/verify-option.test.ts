import { expect, test } from "vitest";
import { describeInterruptedLoad } from "../../../src/cli/verify-option.ts";
import { createContext } from "../../../src/operations/context.ts";
import { VERIFYING } from "../../../src/operations/verifying.ts";

test("a load that is interrupted before all is written leaves no volume, afterwards one that nobody has verified", () => {
  const context = createContext({ env: {} });
  const target = "redis://:secret@host/1";
  context.progress.begin("Writing inodes");
  expect(describeInterruptedLoad(target, context)).toMatch(/^redis:\/\/.*host\/1 holds no volume$/);
  expect(describeInterruptedLoad(target, context)).not.toContain("secret");
  context.progress.begin(VERIFYING);
  expect(describeInterruptedLoad(target, context)).toMatch(/host\/1 holds the volume, .* not verified$/);
});
