import { describe, expect, test } from "vitest";
import { UsageError } from "../../../src/base/errors.ts";
import { COMMANDS } from "../../../src/cli/commands.ts";
import { GLOBAL_OPTIONS } from "../../../src/cli/global-options.ts";
import { normalizeArguments } from "../../../src/cli/normalize-arguments.ts";
import { type ParsedArguments, parseArguments } from "../../../src/cli/program.ts";

const PARTS = {
  commands: COMMANDS,
  globals: GLOBAL_OPTIONS,
  examples: [{ comment: "Back up", command: "decant dump URL" }],
  versionLine: "decant version 1.2.3",
};

function parse(...argv: string[]): ParsedArguments {
  return parseArguments(normalizeArguments(argv, COMMANDS, GLOBAL_OPTIONS), PARTS);
}

function parseCommand(...argv: string[]): Extract<ParsedArguments, { kind: "command" }> {
  const parsed = parse(...argv);
  if (parsed.kind !== "command") throw new Error(`got ${parsed.kind}`);
  return parsed;
}

function usageError(...argv: string[]): UsageError {
  try {
    parse(...argv);
  } catch (error) {
    if (error instanceof UsageError) return error;
    throw error;
  }
  throw new Error("no error");
}

describe("options and arguments", () => {
  test("may stand anywhere, global ones too", () => {
    const { spec, args, options } = parseCommand("--quiet", "dump", "--subdir", "/a", "URL", "--log-id", "x", "FILE");
    expect(spec.name).toBe("dump");
    expect(args).toEqual(["URL", "FILE"]);
    expect([options.flag("quiet"), options.text("subdir"), options.text("log-id")]).toEqual([true, "/a", "x"]);
  });

  test("flags that were not given differ from those that are false", () => {
    const { options } = parseCommand("config", "URL", "--dir-stats=false", "--changelog");
    expect(options.given("dir-stats")).toBe(false);
    expect(options.given("changelog")).toBe(true);
    expect(options.given("enable-acl")).toBeUndefined();
  });

  test("an option that begins with no- is the negation of the rest", () => {
    expect(parseCommand("format", "URL", "name", "--no-update").options.given("update")).toBe(false);
    expect(parseCommand("dump", "URL", "--no-color", "--no-agent").options.given("color")).toBe(false);
  });

  test("the last of several values counts, and values may be empty or begin with a dash", () => {
    const { options } = parseCommand("config", "URL", "--secret-key", "a", "--secret-key", "-b", "--session-token", "");
    expect(options.text("secret-key")).toBe("-b");
    expect(options.text("session-token")).toBe("");
  });
});

describe("wrong calls are usage errors that say what is right", () => {
  test.each([
    [["dump"], "This command requires at least 1 arguments", "Usage: decant dump [options] META-URL [FILE]"],
    [
      ["migrate", "a"],
      "This command requires at least 2 arguments",
      "Usage: decant migrate [options] SOURCE-URL TARGET-URL",
    ],
    [
      ["status", "a", "b"],
      "This command accept at most 1 arguments but got 2",
      "Usage: decant status [options] META-URL",
    ],
    [["dupm", "a"], "Unknown command 'dupm'", "Did you mean dump?"],
    [["dump", "a", "--skip-trsh"], "Unknown option '--skip-trsh'", "Did you mean --skip-trash?"],
    [["dump", "a", "--bogus"], "Unknown option '--bogus'", "Usage: decant dump [options] META-URL [FILE]"],
    [
      ["dump", "a", "--subdir"],
      "Option '--subdir <PATH>' argument missing",
      "Usage: decant dump [options] META-URL [FILE]",
    ],
  ])("%j", (argv, message, hint) => {
    const error = usageError(...argv);
    expect(error.message).toBe(message);
    expect(error.hint).toBe(hint);
  });
});

describe("help", () => {
  test.each([[[]], [["--help"]], [["help"]], [["--json"]]])("%j prints the list of commands", (argv) => {
    const parsed = parse(...argv);
    expect(parsed.kind).toBe("help");
    for (const { name, summary } of COMMANDS.map((spec) => spec.group ?? spec)) {
      expect((parsed as { text: string }).text).toMatch(new RegExp(`^  ${name} .*${summary}$`, "m"));
    }
  });

  const GROUPED = COMMANDS.filter(({ group }) => group !== undefined);

  test.each([[["backups"]], [["backups", "--help"]], [["help", "backups"]]])("%j prints those of the group", (argv) => {
    const { text } = parse(...argv) as { text: string };
    expect(text).toContain("Usage: decant backups COMMAND");
    for (const { name, summary } of GROUPED) {
      expect(text).toMatch(new RegExp(`^  ${name.split(" ")[1]} .*${summary}$`, "m"));
    }
  });

  test("a word that is no command of a group is corrected", () => {
    const error = usageError("backups", "lst", "URL");
    expect([error.message, error.hint]).toEqual(["Unknown command 'lst'", "Did you mean list?"]);
  });

  test("a command of a group takes options of its own and global ones", () => {
    const { spec, args, options } = parseCommand("--json", "backups", "prune", "URL", "--policy", "all=2d", "-dry-run");
    expect([spec.name, args, options.text("policy"), options.flag("dry-run"), options.flag("json")]).toEqual([
      "backups prune",
      ["URL"],
      "all=2d",
      true,
      true,
    ]);
    expect(usageError("backups", "list", "a", "b").message).toBe("This command accept at most 1 arguments but got 2");
  });

  test.each(COMMANDS.map((spec) => [spec.name, spec] as const))(
    "%s has a page with all that it takes",
    (name, spec) => {
      const words = name.split(" ");
      const { text } = parse(...words, "--help") as { text: string };
      expect(text).toBe((parse("help", ...words) as { text: string }).text);
      expect(text).toContain(`Usage: decant ${name} [options]`);
      for (const option of spec.options) if (option.hidden !== true) expect(text).toContain(option.flags);
      for (const example of spec.examples) expect(text).toContain(`$ ${example.command}`);
      expect(text).toContain("Exit status:");
      expect(text).toContain("--json");
    },
  );

  test("the version is printed alone", () => {
    expect(parse("--version")).toEqual({ kind: "help", text: "decant version 1.2.3\n" });
    expect(parse("-V")).toEqual({ kind: "help", text: "decant version 1.2.3\n" });
  });
});
