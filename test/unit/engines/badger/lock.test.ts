import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { EngineError, MissingDependencyError } from "../../../../src/base/errors.ts";
import { lockDirectory } from "../../../../src/engines/badger/directory-lock.ts";
import { runCommand } from "../../../support/run-command.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";

/** Whether another process gets the lock of a directory right now. */
async function isFree(directory: string, kind: "-s" | "-x"): Promise<boolean> {
  return (await runCommand("flock", ["-n", kind, directory, "true"])).code === 0;
}

/** Another process that has the lock; ends it when called. */
async function heldElsewhere(directory: string, kind: "-s" | "-x"): Promise<() => Promise<void>> {
  const child = spawn("flock", [kind, directory, "sh", "-c", "echo held; cat"], { stdio: ["pipe", "pipe", "inherit"] });
  await once(child.stdout, "data");
  return async () => {
    child.stdin.end();
    await once(child, "exit");
  };
}

describe("the lock of a directory", () => {
  test("of a reader keeps writers of other processes out, that of a writer everybody, until it is released", async () => {
    const directory = temporaryDirectory();
    const reader = lockDirectory(directory, "shared");
    expect([await isFree(directory, "-s"), await isFree(directory, "-x")]).toEqual([true, false]);
    reader.release();
    const writer = lockDirectory(directory, "exclusive");
    expect(await isFree(directory, "-s")).toBe(false);
    writer.release();
    writer.release();
    expect(await isFree(directory, "-x")).toBe(true);
  });

  test("is refused while another process has it", async () => {
    const directory = temporaryDirectory();
    let end = await heldElsewhere(directory, "-x");
    expect(() => lockDirectory(directory, "shared")).toThrow(EngineError);
    expect(() => lockDirectory(directory, "shared")).toThrow(`Another process has ${directory} open`);
    await end();
    end = await heldElsewhere(directory, "-s");
    expect(() => lockDirectory(directory, "exclusive")).toThrow(EngineError);
    lockDirectory(directory, "shared").release();
    await end();
    lockDirectory(directory, "exclusive").release();
  });

  test("is shared by all that this process does there, and kept until the last of it has ended", async () => {
    const directory = temporaryDirectory();
    const reader = lockDirectory(directory, "shared");
    const writer = lockDirectory(directory, "exclusive");
    writer.release();
    expect(await isFree(directory, "-x")).toBe(false);
    lockDirectory(directory, "exclusive").release();
    reader.release();
    expect(await isFree(directory, "-x")).toBe(true);
  });

  test("stays that of a reader when it cannot become that of a writer", async () => {
    const directory = temporaryDirectory();
    const reader = lockDirectory(directory, "shared");
    const end = await heldElsewhere(directory, "-s");
    expect(() => lockDirectory(directory, "exclusive")).toThrow(EngineError);
    await end();
    expect([await isFree(directory, "-s"), await isFree(directory, "-x")]).toEqual([true, false]);
    reader.release();
    expect(await isFree(directory, "-x")).toBe(true);
  });

  test("of a load keeps other writers of this process out too", () => {
    const directory = temporaryDirectory();
    const load = lockDirectory(directory, "load");
    expect(() => lockDirectory(directory, "exclusive")).toThrow(/Another load into .* is running in this process/);
    expect(() => lockDirectory(directory, "load")).toThrow(/Another load into/);
    lockDirectory(directory, "shared").release();
    load.release();
    lockDirectory(directory, "load").release();
  });

  test("cannot be had where there is no flock program, and the error says what to install", () => {
    const directory = temporaryDirectory();
    const { PATH } = process.env;
    process.env.PATH = directory;
    try {
      expect(() => lockDirectory(directory, "shared")).toThrow(MissingDependencyError);
      expect(() => lockDirectory(directory, "shared")).toThrow("The program flock is not installed");
    } finally {
      process.env.PATH = PATH;
    }
  });
});
