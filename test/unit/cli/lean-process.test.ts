import { expect, test } from "vitest";
import { restartLean } from "../../../src/cli/lean-process.ts";

interface Restart {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

function restartOf(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  platform: string = "linux",
): Restart | undefined {
  let restart: Restart | undefined;
  const process = {
    argv: ["node", "main.js", ...args],
    execArgv: ["--cpu-prof"],
    execPath: "node",
    env,
    platform,
    execve: (file: string, argv: readonly string[], environment: NodeJS.ProcessEnv) => {
      restart = { file, args: argv, env: environment };
    },
  };
  restartLean(process as unknown as NodeJS.Process);
  return restart;
}

test("an agent that stays starts over with the same arguments, and an allocator that gives memory back", () => {
  const { file, args, env } = restartOf(["agent", "redis://h/1", "--backup-meta", "1h"], { HOME: "/root" })!;
  expect(file).toBe("node");
  expect(args).toEqual([
    "node",
    "--cpu-prof",
    "--max-semi-space-size=2",
    "main.js",
    "agent",
    "redis://h/1",
    "--backup-meta",
    "1h",
  ]);
  expect(env).toMatchObject({ HOME: "/root", MALLOC_TRIM_THRESHOLD_: "131072" });
});

test("it starts over once, and not where somebody has set the allocator", () => {
  expect(restartOf(["agent", "redis://h/1"], restartOf(["agent", "redis://h/1"])!.env)).toBeUndefined();
  expect(restartOf(["agent", "redis://h/1"], { MALLOC_ARENA_MAX: "4" })).toBeUndefined();
});

test.each([[["agent", "--once"]], [["agent", "--check-config"]], [["agent", "--help"]], [["dump", "redis://h/1"]]])(
  "%j does not stay, and does not start over",
  (args) => {
    expect(restartOf(args)).toBeUndefined();
  },
);

test("on other systems everything stays as it is", () => {
  expect(restartOf(["agent", "redis://h/1"], {}, "darwin")).toBeUndefined();
});
