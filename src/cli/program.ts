import { Command, CommanderError, Option } from "commander";
import { UsageError } from "../base/errors.ts";
import type { CommandGroup, CommandSpec, OptionSpec } from "./command-spec.ts";
import { EXIT_CODE_MEANINGS } from "./exit-code.ts";
import { findCommand, longName } from "./normalize-arguments.ts";
import { OptionValues } from "./option-values.ts";

/** What the arguments ask for. */
export type ParsedArguments =
  | { readonly kind: "help"; readonly text: string }
  | {
      readonly kind: "command";
      readonly spec: CommandSpec;
      readonly args: readonly string[];
      readonly options: OptionValues;
    };

export interface ProgramParts {
  readonly commands: readonly CommandSpec[];
  readonly globals: readonly OptionSpec[];
  /** Of the page without a command. */
  readonly examples: CommandSpec["examples"];
  readonly versionLine: string;
}

/** Parses normalized arguments. Throws `UsageError` with the nearest spelling as hint. */
export function parseArguments(argv: readonly string[], parts: ProgramParts): ParsedArguments {
  const printed: string[] = [];
  let parsed: ParsedArguments | undefined;
  const program = buildProgram(parts, printed, (result) => {
    parsed = result;
  });
  try {
    program.parse(helpOfGroup(argv, parts.commands) ?? [...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0 || error.code === "commander.help") return { kind: "help", text: printed.join("") };
    throw usageError(error, argv, parts.commands);
  }
  if (parsed !== undefined) return parsed;
  program.outputHelp();
  return { kind: "help", text: printed.join("") };
}

/** `help backups list` as `backups list --help`: the parser's own help command knows one word only. */
function helpOfGroup(argv: readonly string[], commands: readonly CommandSpec[]): string[] | undefined {
  const [first, ...words] = argv.filter((argument) => !argument.startsWith("-"));
  const spec = first === "help" ? findCommand(words, commands) : undefined;
  return spec?.group === undefined ? undefined : [...spec.name.split(" "), "--help"];
}

function buildProgram(parts: ProgramParts, printed: string[], done: (result: ParsedArguments) => void): Command {
  const program = new Command("decant")
    .description("Back up, restore, migrate and inspect the metadata of JuiceFS volumes.")
    .usage("[global options] command [options] [arguments]")
    .version(parts.versionLine, "-V, --version", "print the version only")
    .configureOutput({ writeOut: (text) => printed.push(text), writeErr: (text) => printed.push(text) })
    .configureHelp({ showGlobalOptions: true, helpWidth: 110, subcommandTerm })
    .exitOverride();
  program.helpOption("-h, --help", "print the help page of decant or of a command");
  program.helpCommand("help [command]", "print the same");
  addOptions(program, parts.globals);
  for (const spec of parts.commands) addCommand(program, spec, done);
  const more = "Run decant COMMAND --help for the options of a command and more examples.\n";
  program.addHelpText("after", `${helpTail(parts.examples)}\n${more}`);
  return program;
}

function addCommand(program: Command, spec: CommandSpec, done: (result: ParsedArguments) => void): void {
  const parent = spec.group === undefined ? program : groupOf(program, spec.group);
  const command = parent.command(spec.name.split(" ").at(-1)!).summary(spec.summary).description(spec.description);
  command.usage(usageLine(spec)).allowExcessArguments(false);
  for (const argument of spec.arguments) {
    const name = argument.name + (argument.variadic === true ? "..." : "");
    command.argument(argument.required ? `<${name}>` : `[${name}]`, argument.description);
  }
  addOptions(command, spec.options);
  command.addHelpText("after", helpTail(spec.examples));
  command.action(() => {
    const options = new OptionValues(command.optsWithGlobals());
    done({ kind: "command", spec, args: command.args, options });
  });
}

/** The command of a group, whose commands stand below it; made with the first of them. */
function groupOf(program: Command, { name, summary, description }: CommandGroup): Command {
  const known = program.commands.find((command) => command.name() === name);
  if (known !== undefined) return known;
  const group = program.command(name).summary(summary).description(description).usage("COMMAND [options] [arguments]");
  return group.addHelpText("after", `\nRun decant ${name} COMMAND --help for the options of one and examples.\n`);
}

/** Every flag also gets a hidden negation, for `--flag=false`. */
function addOptions(command: Command, options: readonly OptionSpec[]): void {
  for (const spec of options) {
    const option = new Option(spec.flags, describeOption(spec)).hideHelp(spec.hidden === true);
    if (spec.group !== undefined) option.helpGroup(`${spec.group}:`);
    command.addOption(option);
    const long = longName(spec);
    if (option.isBoolean() && !long.startsWith("no-")) command.addOption(new Option(`--no-${long}`).hideHelp());
  }
}

function subcommandTerm(command: Command): string {
  return [
    command.name(),
    ...(command.commands.length === 0 ? [] : ["COMMAND"]),
    ...command.registeredArguments.map((argument) => (argument.required ? argument.name() : `[${argument.name()}]`)),
  ].join(" ");
}

/** The description with its default, as help and docs show it. */
export function describeOption(spec: OptionSpec): string {
  return spec.default === undefined ? spec.description : `${spec.description} (default: ${spec.default})`;
}

/** `[options] META-URL [FILE]` */
export function usageLine(spec: CommandSpec): string {
  const names = spec.arguments.map(({ name, required, variadic }) => {
    const shown = name + (variadic === true ? "..." : "");
    return required ? shown : `[${shown}]`;
  });
  return ["[options]", ...names].join(" ");
}

function helpTail(given: CommandSpec["examples"]): string {
  const examples = given.flatMap(({ comment, command }) => [`  # ${comment}`, `  $ ${command}`, ""]);
  const codes = EXIT_CODE_MEANINGS.map(([code, meaning]) => `  ${String(code).padEnd(4)} ${meaning}`);
  return ["", "Examples:", ...examples, "Exit status:", ...codes, ""].join("\n");
}

function usageError(error: CommanderError, argv: readonly string[], commands: readonly CommandSpec[]): UsageError {
  const words = argv.filter((argument) => argument === "-" || !argument.startsWith("-"));
  const spec = findCommand(words, commands);
  const [first = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
  const suggestion = rest.join(" ").replace(/^\((.*)\)$/, "$1");
  const usage = spec === undefined ? "Run decant --help" : `Usage: decant ${spec.name} ${usageLine(spec)}`;
  const hint = suggestion === "" ? usage : suggestion;
  return new UsageError("DECANT_E_USAGE", argumentCountMessage(error, spec, words.length) ?? capitalize(first), {
    cause: error,
    hint,
  });
}

/** The reference's sentences for too few and too many arguments. */
function argumentCountMessage(error: CommanderError, spec: CommandSpec | undefined, words: number): string | undefined {
  if (spec === undefined) return undefined;
  if (error.code === "commander.missingArgument") {
    const needed = spec.arguments.filter((argument) => argument.required).length;
    return `This command requires at least ${needed} arguments`;
  }
  if (error.code === "commander.excessArguments") {
    const given = words - spec.name.split(" ").length;
    return `This command accept at most ${spec.arguments.length} arguments but got ${given}`;
  }
  return undefined;
}

function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
