import { describe, expect, test } from "vitest";
import { UsageError } from "../../../src/base/errors.ts";
import { COMMANDS } from "../../../src/cli/commands.ts";
import { GLOBAL_OPTIONS } from "../../../src/cli/global-options.ts";
import { normalizeArguments } from "../../../src/cli/normalize-arguments.ts";

function normalized(line: string): string {
  return normalizeArguments(line.split(" "), COMMANDS, GLOBAL_OPTIONS).join(" ");
}

describe("arguments are brought to one form", () => {
  test.each([
    ["dump URL -binary FILE", "dump URL --binary FILE"],
    ["dump URL --skip-trash=true FILE", "dump URL --skip-trash FILE"],
    ["dump URL --skip-trash=F FILE", "dump URL --no-skip-trash FILE"],
    ["dump --subdir /a URL", "dump --subdir=/a URL"],
    ["dump -subdir=/a=b URL", "dump --subdir=/a=b URL"],
    ["config URL --upload-limit -1", "config URL --upload-limit=-1"],
    ["config URL --secret-key --quiet", "config URL --secret-key=--quiet"],
    ["config URL --session-token=", "config URL --session-token="],
    ["--log-level debug dump -q URL", "--log-level=debug dump --quiet URL"],
    ["format URL name --no-update=false", "format URL name"],
    ["status URL -s 3 -m", "status URL --session=3 --more"],
    ["dump URL -", "dump URL -"],
    ["dump URL --bogus x", "dump URL --bogus x"],
    ["dump URL --subdir", "dump URL --subdir"],
  ])("%s", (given, wanted) => {
    expect(normalized(given)).toBe(wanted);
  });

  test("options of another command are left alone", () => {
    expect(normalized("status URL --subdir /a")).toBe("status URL --subdir /a");
  });

  test("a flag takes true and false only", () => {
    expect(() => normalized("dump URL --binary=maybe")).toThrow(UsageError);
    expect(() => normalized("dump URL --binary=maybe")).toThrow('Invalid value "maybe" for "binary"');
  });
});
