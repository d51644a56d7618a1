import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BADGER, newBadgerTarget } from "../support/badger-directory.ts";
import { runDecant } from "../support/decant.ts";
import { realClient } from "../support/real-client.ts";
import { runCommand } from "../support/run-command.ts";
import { startDecant } from "../support/running-decant.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const directory = temporaryDirectory();
const dumpFile = join(directory, "dump.json");
const binaryFile = join(directory, "dump.bin");
const otherFile = join(directory, "other.json");
const OPTIONS = ["--checkpoint-every", "100K"];
const RUNS = "decant-load-runs";
const PROGRESS = join(RUNS, "progress");
const client = await realClient();

beforeAll(async () => {
  const text = await wideVolumeText(20_000);
  writeFileSync(dumpFile, text);
  writeFileSync(otherFile, text.toString("latin1").replace('"mode":420', '"mode":421'), "latin1");
  const converted = await runDecant(["convert", dumpFile, binaryFile]);
  expect([converted.code, converted.err]).toEqual([0, expect.anything()]);
});
afterAll(() => rmSync(directory, { recursive: true }));

/** Names and bytes of all files, those of directories in it too: a load writes nothing that is random. */
function contents(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((file) => `${file.slice(path.length + 1)} ${createHash("sha256").update(readFileSync(file)).digest("hex")}`)
    .sort();
}

async function undisturbed(file: string): Promise<string[]> {
  const { directory: path, url } = newBadgerTarget();
  const { code, err } = await runDecant(["load", url, file, "--checkpoint-every", "0"]);
  expect([code, err]).toEqual([0, expect.anything()]);
  return contents(path);
}

/** What the last checkpoint says; undefined before the first. */
function storedBatches(path: string): number {
  if (!existsSync(join(path, PROGRESS))) return 0;
  const [line] = readFileSync(join(path, PROGRESS), "utf8").split("\n");
  return (JSON.parse(line!) as { checkpoint: { batches: number } }).checkpoint.batches;
}

/** Kills a load as soon as `isThere`; true when it was still running. */
async function killWhen(
  url: string,
  file: string,
  isThere: () => boolean,
  signal: "SIGKILL" | "SIGTERM" = "SIGKILL",
): Promise<{ readonly wasRunning: boolean; readonly err: string }> {
  const load = startDecant(["load", url, file, ...OPTIONS, "--resume"]);
  load.input.end();
  let hasEnded = false;
  void load.ended.then(() => {
    hasEnded = true;
  });
  while (!hasEnded && !isThere()) await sleep(1);
  load.kill(signal);
  const { code, signalName, err } = await load.ended;
  return { wasRunning: signalName === signal || code === 143, err };
}

/** A load that was cut off after some checkpoints. */
async function cutOff(batches = 4): Promise<{ path: string; url: string }> {
  const { directory: path, url } = newBadgerTarget();
  const { wasRunning } = await killWhen(url, dumpFile, () => storedBatches(path) >= batches);
  expect(wasRunning).toBe(true);
  return { path, url };
}

async function resume(url: string, file: string = dumpFile): Promise<number> {
  const { code, out, err } = await runDecant(["load", url, file, ...OPTIONS, "--resume", "--json"]);
  expect([code, err]).toEqual([0, expect.anything()]);
  return (JSON.parse(out) as { resumedBatches: number }).resumedBatches;
}

/** Begins again where a load was cut off, and is stopped when it has a checkpoint of its own. */
async function stopCleanLoad(path: string, url: string): Promise<void> {
  const load = startDecant(["load", url, dumpFile, ...OPTIONS, "--clean"]);
  load.input.end();
  let hasEnded = false;
  void load.ended.then(() => {
    hasEnded = true;
  });
  while (!hasEnded && storedBatches(path) > 0) await sleep(1);
  while (!hasEnded && storedBatches(path) === 0) await sleep(1);
  load.kill("SIGTERM");
  expect((await load.ended).code).toBe(143);
}

describe("a load into BadgerDB that goes on", () => {
  test.each([
    ["a JSON dump", dumpFile],
    ["a binary dump", binaryFile],
  ])(
    "of %s leaves the same files as one that was not disturbed, wherever and how often it was killed",
    async (_, file) => {
      const expected = await undisturbed(file);
      for (const steps of [[1], [4, 4], [9, 2, 2]]) {
        const { directory: path, url } = newBadgerTarget();
        for (const step of steps) {
          const wanted = storedBatches(path) + step;
          await killWhen(url, file, () => storedBatches(path) >= wanted);
        }
        // what was killed too late has ended well
        if (!existsSync(join(path, "MANIFEST"))) expect(await resume(url, file)).toBeGreaterThan(0);
        expect(contents(path)).toEqual(expected);
      }
    },
  );

  test("merges its runs again when it was killed while it wrote tables", async () => {
    const { path, url } = await cutOff();
    await killWhen(url, dumpFile, () => existsSync(join(path, "000001.sst")));
    if (!existsSync(join(path, "MANIFEST"))) expect(await resume(url)).toBeGreaterThan(4);
    expect(contents(path)).toEqual(await undisturbed(dumpFile));
  });

  test("is no volume to the real client, which leaves it all there", async () => {
    const { path, url } = await cutOff();
    const before = contents(join(path, RUNS));
    for (const command of ["status", "dump"]) {
      if (client === undefined) continue;
      const seen = await runCommand(client, [command, url]);
      expect([seen.code, seen.err]).toEqual([1, expect.stringContaining("database is not formatted")]);
    }
    expect(contents(join(path, RUNS))).toEqual(before);
    expect(await resume(url)).toBeGreaterThan(0);
    expect(contents(path).filter((line) => !/^(KEYREGISTRY|LOCK) /.test(line))).toEqual(await undisturbed(dumpFile));
    if (client !== undefined) expect((await runCommand(client, ["status", url])).code).toBe(0);
  });

  test("explains itself, refuses a plain load and another dump, and is removed by --clean", async () => {
    const { path, url } = await cutOff();
    const before = contents(path);
    const batches = storedBatches(path);
    for (const args of [
      ["status", url],
      ["dump", url, join(directory, "none.json")],
    ]) {
      const { code, err } = await runDecant(args);
      expect([code, err]).toEqual([4, expect.stringContaining(`a checkpoint after ${batches} batches`)]);
      expect(err).toContain("the same command with --resume goes on, with --clean removes what it wrote");
    }
    const plain = await runDecant(["load", url, dumpFile]);
    expect([plain.code, plain.err]).toEqual([5, expect.stringContaining("with --resume goes on")]);
    const other = await runDecant(["load", url, otherFile, ...OPTIONS, "--resume"]);
    expect([other.code, other.err]).toEqual([5, expect.stringContaining("and these differ")]);
    expect(contents(path)).toEqual(before);
    writeFileSync(join(path, "notes.txt"), "not decant's");
    writeFileSync(join(path, RUNS, "notes.txt"), "not decant's");
    const clean = await runDecant(["load", url, dumpFile, "--clean"]);
    expect([clean.code, clean.err]).toEqual([0, expect.stringContaining("Removed from")]);
    const notes = contents(path).filter((line) => line.includes("notes.txt"));
    expect(notes.map((line) => line.split(" ")[0])).toEqual([`${RUNS}/notes.txt`, "notes.txt"]);
    expect(contents(path).filter((line) => !line.includes("notes.txt"))).toEqual(await undisturbed(dumpFile));
  });

  test("may have been moved to another place", async () => {
    const { path } = await cutOff();
    const moved = join(temporaryDirectory(), "moved");
    renameSync(path, moved);
    expect(await resume(BADGER + moved)).toBeGreaterThan(0);
    expect(contents(moved)).toEqual(await undisturbed(dumpFile));
  });

  test("refuses runs that are not as they were, and says which", async () => {
    const damages: [what: string, damage: (run: string) => void, message: string][] = [
      ["missing", (run) => rmSync(run), "it is missing"],
      ["shorter", (run) => writeFileSync(run, readFileSync(run).subarray(1)), "bytes instead of"],
      ["changed", (run) => flipBit(run, Math.floor(statSync(run).size / 2)), "its CRC-32 is"],
    ];
    for (const [what, damage, message] of damages) {
      const { path, url } = await cutOff();
      const run = join(path, RUNS, "run-000001");
      damage(run);
      const before = contents(path);
      const { code, err } = await runDecant(["load", url, dumpFile, ...OPTIONS, "--resume"]);
      expect([what, code, err]).toEqual([what, 6, expect.stringContaining(message)]);
      expect(err).toContain(run);
      expect(err).toContain("Load again with --clean");
      expect(contents(path)).toEqual(before);
    }
    const { path, url } = await cutOff();
    writeFileSync(join(path, PROGRESS), "no progress");
    const { code, err } = await runDecant(["status", url]);
    expect([code, err]).toEqual([6, expect.stringContaining("its second line does not tell the runs")]);
    expect((await runDecant(["load", url, dumpFile, "--clean"])).code).toBe(0);
    expect(contents(path)).toEqual(await undisturbed(dumpFile));
  });

  test("keeps what it has when a signal stops it, and without --resume removes it, with the directory that it has made", async () => {
    const { path, url } = await cutOff();
    const stored = storedBatches(path);
    const stopped = await killWhen(url, dumpFile, () => storedBatches(path) > stored + 2, "SIGTERM");
    if (stopped.wasRunning) {
      expect(stopped.err).toContain("was kept, and is no volume: the same command goes on with it");
      expect(readdirSync(path).sort()).toEqual(["decant-load", RUNS]);
    }
    await stopCleanLoad(path, url);
    expect(existsSync(path)).toBe(false);
  });

  test("is left alone by another load while it runs, and so by --clean", async () => {
    const { directory: path, url } = newBadgerTarget();
    const load = startDecant(["load", url, dumpFile, ...OPTIONS]);
    load.input.end();
    while (storedBatches(path) === 0) await sleep(1);
    load.kill("SIGSTOP");
    for (const option of ["--resume", "--clean", "--verbose"]) {
      const { code, err } = await runDecant(["load", url, dumpFile, option]);
      expect([option, code, err]).toEqual([option, 7, expect.stringContaining(`Another process has ${path} open`)]);
    }
    load.kill("SIGCONT");
    expect((await load.ended).code).toBe(0);
    expect(contents(path)).toEqual(await undisturbed(dumpFile));
  });

  test("that was killed when its volume was there leaves runs that no longer count, and go with the next change", async () => {
    const { path, url } = await cutOff();
    const runs = join(dirname(path), "copy");
    renameSync(join(path, RUNS), runs);
    const whole = await runDecant(["load", url, dumpFile]);
    expect([whole.code, whole.err]).toEqual([0, expect.anything()]);
    renameSync(runs, join(path, RUNS));
    expect((await runDecant(["status", url])).code).toBe(0);
    const refused = await runDecant(["load", url, dumpFile, "--resume"]);
    expect([refused.code, refused.err]).toEqual([5, expect.stringContaining("is used by volume")]);
    expect(existsSync(join(path, PROGRESS))).toBe(true);
    const changed = await runDecant(["config", url, "--trash-days", "3", "--yes"]);
    expect([changed.code, changed.err]).toEqual([0, expect.anything()]);
    expect(existsSync(join(path, RUNS))).toBe(false);
    expect((await runDecant(["status", url])).out).toContain('"TrashDays": 3');
  });

  test("leaves a directory there that it has not made", async () => {
    const { directory: path, url } = newBadgerTarget();
    mkdirSync(path);
    const { wasRunning } = await killWhen(url, dumpFile, () => storedBatches(path) > 3, "SIGKILL");
    expect(wasRunning).toBe(true);
    await stopCleanLoad(path, url);
    expect(readdirSync(path)).toEqual([]);
  });
});

function flipBit(file: string, offset: number): void {
  const bytes = readFileSync(file);
  bytes[offset]! ^= 1;
  writeFileSync(file, bytes);
}
