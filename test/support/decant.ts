import { join } from "node:path";
import { REPOSITORY } from "./repository.ts";
import { type CommandOptions, type CommandResult, runCommand } from "./run-command.ts";

/** The run time that the repository pins, whatever the host has. */
export const NODE: string = join(REPOSITORY, "node_modules", ".bin", "node");

export const DECANT_MAIN: string = join(REPOSITORY, "src", "cli", "main.ts");

/** Runs the command line in a process of its own. */
export function runDecant(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return runCommand(NODE, [DECANT_MAIN, ...args], options);
}
