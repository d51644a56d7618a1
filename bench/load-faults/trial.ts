import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { NODE } from "../../test/support/decant.ts";
import { REPOSITORY } from "../../test/support/repository.ts";
import { type CommandResult, mustRun, runCommand } from "../../test/support/run-command.ts";
import { type DecantEnd, type RunningDecant, STACK_TRACE, startDecant } from "../../test/support/running-decant.ts";
import { temporaryDirectory } from "../../test/support/temporary-directory.ts";
import { wideVolumeText } from "../../test/support/wide-volume.ts";

const COMPILED_MAIN = join(REPOSITORY, "dist", "cli", "main.js");
const EVERY = ["--checkpoint-every", "200K"];
/** Longer than anything that decant waits for. */
const HANGING_MS = 300_000;
/** A report, and the lines around it that are no report: what it goes on with, warnings. */
const ERROR_LINE = /^decant: (?:error|fatal): /gm;
const HINT_LINE = /^ {2}hint: /m;

/** What became of the rounds of one fault on one engine. */
export interface Tally {
  rounds: number;
  /** The load had ended before, or outlived the fault. */
  tooLate: number;
  /** Gone on with from a checkpoint, and from the beginning. */
  fromCheckpoint: number;
  fromBeginning: number;
  equal: number;
  readonly violations: string[];
}

/** A line of the table. */
export interface TrialRow {
  readonly fault: string;
  readonly tally: Tally;
}

export const emptyTally = (): Tally => ({
  rounds: 0,
  tooLate: 0,
  fromCheckpoint: 0,
  fromBeginning: 0,
  equal: 0,
  violations: [],
});

/** Loads of one volume, by the compiled command line where nothing else is said, and whether they are what they have to be. */
export class Trial {
  readonly dump: string;
  readonly files: number;
  readonly #main: string;
  readonly #directory: string;

  private constructor(files: number, main: string) {
    this.#main = main;
    this.#directory = temporaryDirectory();
    this.files = files;
    this.dump = join(this.#directory, "volume.json");
  }

  static async of(files: number, main: string = COMPILED_MAIN): Promise<Trial> {
    const trial = new Trial(files, main);
    writeFileSync(trial.dump, await wideVolumeText(files));
    return trial;
  }

  /** One that hangs is killed, and has no exit code then. */
  async decant(...args: string[]): Promise<Pick<CommandResult, "code" | "out" | "err">> {
    return runCommand(NODE, [this.#main, ...args], { timeoutMs: HANGING_MS }).catch((error: Error) => {
      return { code: null, out: "", err: error.message };
    });
  }

  start(url: string, options: readonly string[] = []): RunningDecant {
    const load = startDecant(["load", url, this.dump, "--resume", ...EVERY, ...options], {}, this.#main);
    load.input.end();
    return load;
  }

  /** A load without any fault. */
  async load(url: string, options: readonly string[] = []): Promise<void> {
    await mustRun(NODE, [this.#main, "load", url, this.dump, ...EVERY, ...options]);
  }

  /** SHA-256 of all that is stored, as a binary dump has it. */
  async contents(url: string): Promise<string> {
    const file = join(this.#directory, "contents.bin");
    await mustRun(NODE, [this.#main, "dump", url, file, "--binary", "--keep-secret-key"]);
    return createHash("sha256").update(readFileSync(file)).digest("hex");
  }

  /** How a load ended by itself, and whether it said why as it has to. Undefined when it hangs, which is a violation. */
  async endOf(load: RunningDecant, tally: Tally): Promise<DecantEnd | undefined> {
    const stop = new AbortController();
    const hangs = sleep(HANGING_MS, undefined, { signal: stop.signal }).catch(() => undefined);
    const end = await Promise.race([load.ended, hangs]);
    stop.abort();
    if (end === undefined) {
      load.kill("SIGKILL");
      tally.violations.push(`load hangs for ${HANGING_MS / 1000} s: ${(await load.ended).err}`);
      return undefined;
    }
    if (end.code === null) tally.violations.push(`load ended by ${end.signalName}: ${end.err}`);
    else if (end.code !== 0 && !saysWhy(end.err)) tally.violations.push(`load ended with ${end.code}: ${end.err}`);
    return end;
  }

  /** After the fault: no volume is there, the load is gone on with, and what is there then is what an undisturbed load leaves. */
  async goOn(url: string, expected: string, tally: Tally, options: readonly string[] = []): Promise<void> {
    const status = await this.decant("status", url);
    if (status.code === 0) {
      tally.tooLate++;
    } else {
      if (status.code !== 4 || !saysWhy(status.err))
        tally.violations.push(`status ended with ${status.code}: ${status.err}`);
      const resumed = await this.decant("load", url, this.dump, "--resume", "--json", ...EVERY, ...options);
      if (resumed.code !== 0) {
        tally.violations.push(`load --resume ended with ${resumed.code}: ${resumed.err}`);
        return;
      }
      const { resumedBatches } = JSON.parse(resumed.out) as { resumedBatches: number };
      if (resumedBatches > 0) tally.fromCheckpoint++;
      else tally.fromBeginning++;
    }
    if ((await this.contents(url)) === expected) tally.equal++;
    else tally.violations.push(`${url} is not what an undisturbed load leaves`);
  }
}

/** One error with a hint, and no stack trace. */
function saysWhy(err: string): boolean {
  return (err.match(ERROR_LINE) ?? []).length === 1 && HINT_LINE.test(err) && !STACK_TRACE.test(err);
}
