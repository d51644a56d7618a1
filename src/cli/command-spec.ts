import type { JsonValue } from "../base/json-text.ts";
import type { OperationContext } from "../operations/context.ts";
import type { CliIo } from "./cli-io.ts";
import type { ExitCode } from "./exit-code.ts";
import type { OptionValues } from "./option-values.ts";

export interface ArgumentSpec {
  readonly name: string;
  readonly required: boolean;
  /** As many as one likes; only the last one. */
  readonly variadic?: boolean;
  readonly description: string;
}

export interface OptionSpec {
  /** `-m, --more` or `--subdir <PATH>`. Values are always required; a flag also takes `=true` and `=false`. */
  readonly flags: string;
  readonly description: string;
  /** Shown in help; the operation applies it. */
  readonly default?: string;
  /** Heading in help, default "Options". */
  readonly group?: string;
  /** Accepted, but not shown. */
  readonly hidden?: boolean;
}

/** Commands that have a word in common, which is the name of the group. */
export interface CommandGroup {
  readonly name: string;
  readonly summary: string;
  readonly description: string;
}

/** One command: what it accepts, what its help says, what it does. Help pages and docs/cli.md are made from it. */
export interface CommandSpec {
  /** One word, or that of the group and another one. */
  readonly name: string;
  readonly group?: CommandGroup;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Paragraphs for its own page. */
  readonly description: string;
  readonly arguments: readonly ArgumentSpec[];
  readonly options: readonly OptionSpec[];
  readonly examples: readonly { readonly comment: string; readonly command: string }[];
  /** Imports its operation when it runs: `decant version` must not wait for database drivers. */
  run(invocation: Invocation): Promise<CommandOutcome>;
  /** One sentence for the user who interrupted it: what is left behind. */
  describeInterruption?(invocation: Invocation): string;
  /** True when stdout carries data: the document of `--json` then goes to stderr. */
  occupiesStdout?(invocation: Invocation): boolean;
  /** With `--json` stdout is lines, one JSON object each: the document is the last of them. */
  readonly jsonLines?: boolean;
  /** Exit code for what would end with 1, where 1 is an answer of the command. Default 1. */
  readonly failureCode?: ExitCode;
}

/** One call of a command. */
export interface Invocation {
  readonly args: readonly string[];
  readonly options: OptionValues;
  readonly io: CliIo;
  readonly context: OperationContext;
  readonly json: boolean;
}

export interface CommandOutcome {
  /** The document of `--json` (docs/json-output.md). */
  readonly json: JsonValue;
  /** What goes to stdout without `--json`, with its final newline. */
  readonly output?: string;
  /** Closing report, for stderr without `--json`; `important` lines are shown with `--quiet` too. */
  readonly summary?: readonly SummaryLine[];
  /** Something is missing or could not be proven: exit code 3. */
  readonly incomplete?: boolean;
  /** An answer of the command, whatever became of the reader of stdout. */
  readonly exitCode?: ExitCode;
}

export interface SummaryLine {
  readonly text: string;
  readonly important: boolean;
}
