import { UsageError } from "../base/errors.ts";
import type { CommandSpec, OptionSpec } from "./command-spec.ts";

interface KnownOption {
  /** Long name without dashes. */
  readonly long: string;
  readonly takesValue: boolean;
}

/**
 * Brings the reference's freedoms to the one form that the option parser understands: `-binary`, `--binary=true` and
 * `--subdir -x` become `--binary`, `--binary` and `--subdir=-x` (docs/spec/cli.md §1). What is not known is left as it is
 * and reported by the parser.
 */
export function normalizeArguments(
  argv: readonly string[],
  commands: readonly CommandSpec[],
  globals: readonly OptionSpec[],
): string[] {
  const globalTable = optionTable(globals);
  const command = findCommand(argumentsOf(argv, globalTable), commands);
  const table = command === undefined ? globalTable : optionTable([...globals, ...command.options]);
  const normalized: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const token = readToken(argv[i]!, table);
    if (token === undefined) {
      normalized.push(argv[i]!);
    } else if (token.option.takesValue) {
      const value = token.value ?? argv[++i];
      normalized.push(value === undefined ? `--${token.option.long}` : `--${token.option.long}=${value}`);
    } else {
      normalized.push(...flagTokens(token.option.long, token.value));
    }
  }
  return normalized;
}

/** All spellings of the options of a table: long names and letters. */
function optionTable(options: readonly OptionSpec[]): ReadonlyMap<string, KnownOption> {
  const table = new Map<string, KnownOption>();
  for (const option of options) {
    const long = longName(option);
    const known = { long, takesValue: option.flags.includes("<") };
    table.set(long, known);
    const letter = /^-(\w)\b/.exec(option.flags)?.[1];
    if (letter !== undefined) table.set(letter, known);
  }
  return table;
}

/** Long name of an option without dashes. */
export function longName(option: OptionSpec): string {
  return /--([\w-]+)/.exec(option.flags)![1]!;
}

/** The arguments that are neither options nor the values of some, as far as they can be told before the command is known. */
function argumentsOf(argv: readonly string[], table: ReadonlyMap<string, KnownOption>): string[] {
  const found: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const token = readToken(argv[i]!, table);
    if (token?.option.takesValue === true && token.value === undefined) i++;
    else if (token === undefined && !argv[i]!.startsWith("-")) found.push(argv[i]!);
  }
  return found;
}

/** The command that arguments begin with: a word, or two for one of a group. */
export function findCommand(args: readonly string[], commands: readonly CommandSpec[]): CommandSpec | undefined {
  return commands.find(({ name }) => name === args[0] || name === `${args[0]} ${args[1]}`);
}

function readToken(
  argument: string,
  table: ReadonlyMap<string, KnownOption>,
): { option: KnownOption; value: string | undefined } | undefined {
  const match = /^--?([A-Za-z][\w-]*)(?:=(.*))?$/s.exec(argument);
  const option = match === null ? undefined : table.get(match[1]!);
  return option === undefined ? undefined : { option, value: match![2] };
}

function flagTokens(long: string, value: string | undefined): string[] {
  if (value === undefined || /^(1|t|true)$/i.test(value)) return [`--${long}`];
  if (!/^(0|f|false)$/i.test(value)) {
    throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid value "${value}" for "${long}": expected true or false`);
  }
  return long.startsWith("no-") ? [] : [`--no-${long}`];
}
