import { accessSync, constants, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import type { Writable } from "node:stream";
import { DataError, DecantError, errorText, FileError, fileReason, isAbortError } from "../base/errors.ts";
import { formatJson, formatJsonLine, type JsonValue } from "../base/json-text.ts";
import { Progress } from "../base/progress.ts";
import { parseSize } from "../base/units.ts";
import { DEFAULT_MAX_MEMORY_BYTES, type OperationContext } from "../operations/context.ts";
import type { CliIo } from "./cli-io.ts";
import type { CommandOutcome, CommandSpec, Invocation } from "./command-spec.ts";
import { COMMANDS } from "./commands.ts";
import { ConsoleLogger, logLevel } from "./console-logger.ts";
import { ExitCode, exitCodeOf } from "./exit-code.ts";
import { GLOBAL_OPTIONS } from "./global-options.ts";
import { normalizeArguments } from "./normalize-arguments.ts";
import { OptionValues } from "./option-values.ts";
import { type ParsedArguments, parseArguments } from "./program.ts";
import { ProgressDisplay } from "./progress-display.ts";
import { Terminal } from "./terminal.ts";
import { versionLine } from "./version-line.ts";

/** What decant is for, on the page without a command. */
const EXAMPLES: CommandSpec["examples"] = [
  { comment: "Back up a volume", command: "decant dump redis://localhost/1 meta.json.gz" },
  { comment: "Restore it into an empty database", command: "decant load sqlite3://copy.db meta.json.gz" },
  { comment: "Move it to another engine", command: "decant migrate sqlite3://copy.db redis://localhost/2" },
];

/** Runs one command line and returns its exit code. Never throws for anything a user can cause. */
export async function runCli(argv: readonly string[], io: CliIo): Promise<ExitCode> {
  const outputClosed = watchForClosedOutput(io);
  let parsed: ParsedArguments;
  try {
    const normalized = normalizeArguments(argv, COMMANDS, GLOBAL_OPTIONS);
    parsed = parseArguments(normalized, {
      commands: COMMANDS,
      globals: GLOBAL_OPTIONS,
      examples: EXAMPLES,
      versionLine: versionLine(),
    });
  } catch (error) {
    const terminal = openTerminal(io, new OptionValues({}));
    reportError(error, new ConsoleLogger(terminal, "info", undefined), io);
    if (argv.includes("--json")) await write(io.stdout, `${formatJson(errorJson(error))}\n`);
    return exitCodeOf(error, io.signal);
  }
  if (parsed.kind === "help") {
    await write(io.stdout, parsed.text);
    return ExitCode.ok;
  }
  return runCommand(parsed, io, outputClosed);
}

async function runCommand(
  { spec, args, options }: Extract<ParsedArguments, { kind: "command" }>,
  io: CliIo,
  outputClosed: () => boolean,
): Promise<ExitCode> {
  const terminal = openTerminal(io, options);
  const logger = new ConsoleLogger(terminal, logLevel(options), options.text("log-id"));
  const progress = new Progress();
  const display = new ProgressDisplay(progress, terminal);
  const json = options.flag("json");
  const failureCode = spec.failureCode ?? ExitCode.failed;
  io.uncaughtCode = failureCode;
  let invocation: Invocation | undefined;
  try {
    const context = createContext(options, io, logger, progress);
    invocation = { args, options, io, context, json };
    if (logger.shows("info")) display.start();
    const outcome = await spec.run(invocation);
    display.stop();
    await showOutcome(outcome, invocation, spec, logger);
    if (outcome.exitCode !== undefined) return outcome.exitCode;
    return outcome.incomplete === true && !outputClosed() ? ExitCode.incomplete : ExitCode.ok;
  } catch (error) {
    display.stop();
    // A reader that has seen enough (`decant dump | head`) is no failure.
    if (outputClosed() && spec.failureCode === undefined) return ExitCode.ok;
    const known = exitCodeOf(error, io.signal);
    const code = known === ExitCode.failed ? failureCode : known;
    if (code >= ExitCode.interrupted && invocation !== undefined) {
      logger.error(`interrupted; ${spec.describeInterruption?.(invocation) ?? "nothing was written"}`);
    } else {
      reportError(error, logger, io);
    }
    // When this fails too there is nobody left to be told.
    if (json) await write(jsonStream(spec, invocation, io), jsonText(errorJson(error), spec)).catch(() => undefined);
    return code;
  }
}

function createContext(options: OptionValues, io: CliIo, logger: ConsoleLogger, progress: Progress): OperationContext {
  const maxMemory = options.text("max-memory") ?? io.env.DECANT_MAX_MEMORY ?? "";
  const maxBytes = maxMemory === "" ? DEFAULT_MAX_MEMORY_BYTES : Number(parseSize(maxMemory, "max-memory", "M"));
  const tmpDir = temporaryDirectory(options, io) ?? (io.env.TMPDIR || tmpdir());
  return { signal: io.signal, logger, progress, env: io.env, memory: { maxBytes, tmpDir } };
}

/**
 * The directory that was asked for, checked now: the first file would be needed when the memory is full, hours later. SQLite
 * sorts the indexes of a load in files of its own, and looks for their directory in the environment.
 */
function temporaryDirectory(options: OptionValues, io: CliIo): string | undefined {
  const directory = options.text("tmp-dir") || io.env.DECANT_TMP_DIR;
  if (directory === undefined || directory === "") return undefined;
  try {
    if (!statSync(directory).isDirectory()) throw new Error("not a directory");
    accessSync(directory, constants.W_OK);
  } catch (error) {
    const message = `Cannot write a temporary file in ${directory}: ${fileReason(error)}`;
    throw new FileError("DECANT_E_SPILL", message, {
      cause: error,
      hint: "Give --tmp-dir a directory that exists and can be written, with room for the index of the volume",
    });
  }
  io.env.SQLITE_TMPDIR ||= resolve(directory);
  return directory;
}

async function showOutcome(
  outcome: CommandOutcome,
  invocation: Invocation,
  spec: CommandSpec,
  logger: ConsoleLogger,
): Promise<void> {
  if (invocation.json) {
    await write(jsonStream(spec, invocation, invocation.io), jsonText(outcome.json, spec));
    return;
  }
  if (outcome.output !== undefined) await write(invocation.io.stdout, outcome.output);
  for (const line of outcome.summary ?? []) {
    if (line.important) logger.important(line.text);
    else logger.info(line.text);
  }
}

function jsonText(document: JsonValue, spec: CommandSpec): string {
  return `${spec.jsonLines === true ? formatJsonLine(document) : formatJson(document)}\n`;
}

function jsonStream(spec: CommandSpec, invocation: Invocation | undefined, io: CliIo): Writable {
  const occupied = invocation !== undefined && spec.occupiesStdout?.(invocation) === true;
  return occupied ? io.stderr : io.stdout;
}

function reportError(error: unknown, logger: ConsoleLogger, io: CliIo): void {
  const { hint, details } = error instanceof DecantError ? error : { hint: undefined, details: [] };
  logger.error(errorText(error), hint, details);
  if ((io.env.DECANT_DEBUG ?? "") !== "" && error instanceof Error) logger.error(error.stack ?? "");
}

function errorJson(error: unknown): JsonValue {
  const otherCode = isAbortError(error) ? "DECANT_E_INTERRUPTED" : "DECANT_E_FAILED";
  return {
    error: {
      code: error instanceof DecantError ? error.code : otherCode,
      message: errorText(error),
      hint: error instanceof DecantError ? (error.hint ?? null) : null,
      retryable: error instanceof DecantError && error.retryable,
      location: error instanceof DataError ? { ...error.location } : null,
      details: error instanceof DecantError ? [...error.details] : [],
    },
  };
}

/** A terminal that does not know its width says 0. */
function openTerminal(io: CliIo, options: OptionValues): Terminal {
  const isTty = io.stderr.isTTY === true;
  const color = isTty && options.given("color") !== false && (io.env.NO_COLOR ?? "") === "" && io.env.TERM !== "dumb";
  const live = isTty && io.env.TERM !== "dumb" && io.env.DISPLAY_PROGRESSBAR !== "false";
  return new Terminal(io.stderr, { live, color, columns: io.stderr.columns || 80 });
}

/** Resolves when the text was written, or when its reader went away (see `watchForClosedOutput`). */
function write(stream: Writable, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(text, (error) => {
      if (error === undefined || error === null || (error as NodeJS.ErrnoException).code === "EPIPE") resolve();
      else reject(new FileError("DECANT_E_STDOUT", `Cannot write the result: ${errorText(error)}`, { cause: error }));
    });
  });
}

function watchForClosedOutput(io: CliIo): () => boolean {
  let closed = false;
  io.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") closed = true;
  });
  return () => closed;
}
