import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type AgentOptions, type OptionSources, resolveAgentOptions } from "../../../src/agent/agent-options.ts";
import { readConfigFile } from "../../../src/agent/config-file.ts";
import { UsageError } from "../../../src/base/errors.ts";
import { policyText } from "../../../src/operations/backups/retention-policy.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

function configFile(text: string, mode = 0o600): string {
  const path = join(temporaryDirectory(), "agent.yaml");
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

async function resolved(text: string | undefined, more: Partial<OptionSources> = {}): Promise<AgentOptions> {
  const file = text === undefined ? undefined : await readConfigFile(configFile(text));
  return resolveAgentOptions({ metaUrls: [], flags: {}, env: {}, ...more, file });
}

async function messageOf(text: string, more: Partial<OptionSources> = {}): Promise<string> {
  const error: unknown = await resolved(text, more).then(
    () => new Error("accepted"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UsageError);
  const { message, details } = error as UsageError;
  return [message, ...details].join("\n").replaceAll(/\S*\/agent\.yaml/g, "agent.yaml");
}

describe("the options of an agent", () => {
  test("have the reference's defaults", async () => {
    const options = await resolved(undefined, { metaUrls: ["redis://localhost/1"] });
    expect(options).toMatchObject({
      concurrency: 2,
      listen: undefined,
      metricsTextfile: undefined,
      logFormat: "text",
      stopTimeoutMs: 30_000,
      leaseMs: 60_000,
    });
    const [volume] = options.volumes;
    expect(volume).toMatchObject({
      label: undefined,
      metaUrl: "redis://localhost/1",
      schedule: { intervalMs: 3_600_000, skipAbove: 1_000_000n, prune: true },
      style: {
        format: "json",
        compression: "gzip",
        skipTrash: false,
        maxShrink: 50,
        snapshot: "auto",
        maxPauseMs: 500,
      },
      hooks: [],
    });
    expect(policyText(volume!.style.policy)).toBe("all=2d,day=2w,week=2mo,month=forever");
  });

  test("come from the command line, else the environment, else the volume in the file, else its defaults", async () => {
    const text = [
      "defaults: { backupMeta: 2h, skipAbove: auto, format: binary }",
      "volumes:",
      "  - { metaUrl: redis://a/1, backupMeta: 3h }",
      "  - { metaUrl: redis://b/1 }",
    ].join("\n");
    const hours = (options: AgentOptions) => options.volumes.map(({ schedule }) => schedule.intervalMs / 3_600_000);
    expect(hours(await resolved(text))).toEqual([3, 2]);
    expect(hours(await resolved(text, { env: { DECANT_BACKUP_META: "4h" } }))).toEqual([4, 4]);
    const both = { env: { DECANT_BACKUP_META: "4h" }, flags: { backupMeta: "5h" } };
    expect(hours(await resolved(text, both))).toEqual([5, 5]);
    const [first] = (await resolved(text)).volumes;
    expect(first!.schedule.skipAbove).toBe("auto");
    expect(first!.style).toMatchObject({ format: "binary", compression: "zstd" });
  });

  test("volumes of the command line, or else DECANT_META_URL, and of the file are put together", async () => {
    const urls = (options: AgentOptions) => options.volumes.map(({ metaUrl }) => metaUrl);
    const text = "volumes: [{ metaUrl: redis://c/1 }]";
    const env = { DECANT_META_URL: " redis://a/1\nredis://b/1 " };
    expect(urls(await resolved(text, { env }))).toEqual(["redis://a/1", "redis://b/1", "redis://c/1"]);
    expect(urls(await resolved(text, { env, metaUrls: ["redis://d/1"] }))).toEqual(["redis://d/1", "redis://c/1"]);
  });

  test("secrets come from files and variables, for the one volume that they belong to", async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, "password"), "pa ss\n");
    writeFileSync(join(directory, "url"), "redis://:x@b/1\n");
    const text = [
      "volumes:",
      "  - metaUrlEnv: FIRST_URL",
      `    metaPasswordFile: ${directory}/password`,
      `    environment: { SECRET_KEY: { file: ${directory}/password }, AWS_PROFILE: backup, ACCESS_KEY: { env: KEY_1 } }`,
      `  - metaUrlFile: ${directory}/url`,
    ].join("\n");
    const { volumes } = await resolved(text, { env: { FIRST_URL: "redis://a/1", KEY_1: "k1" } });
    expect(volumes.map(({ metaUrl }) => metaUrl)).toEqual(["redis://a/1", "redis://:x@b/1"]);
    expect(volumes[0]!.env).toMatchObject({
      META_PASSWORD: "pa ss",
      SECRET_KEY: "pa ss",
      AWS_PROFILE: "backup",
      ACCESS_KEY: "k1",
    });
    expect(volumes[1]!.env.META_PASSWORD).toBeUndefined();
  });

  test("hooks of the command line stand for those of the file, those of a volume for the defaults", async () => {
    const text = [
      "defaults: { hooks: [{ command: [/bin/notify, it] }] }",
      "volumes:",
      "  - { metaUrl: redis://a/1 }",
      "  - { metaUrl: redis://b/1, hooks: [{ on: [failure], webhook: https://example.com/x, timeout: 5 }] }",
    ].join("\n");
    const hooks = (options: AgentOptions) => options.volumes.map((volume) => volume.hooks.map(({ action }) => action));
    const { volumes } = await resolved(text);
    expect(volumes[0]!.hooks[0]).toMatchObject({ action: { command: ["/bin/notify", "it"] }, timeoutMs: 30_000 });
    expect(volumes[1]!.hooks[0]).toEqual({
      on: new Set(["failure"]),
      action: { webhook: "https://example.com/x" },
      timeoutMs: 5000,
    });
    const shell = { command: ["/bin/sh", "-c", "date"] };
    expect(hooks(await resolved(text, { flags: { onSuccess: "date" } }))).toEqual([[shell], [shell]]);
  });
});

describe("what is wrong is told with its place", () => {
  test.each([
    ["volumes:\n  - metaUrl: redis://a/1\n    backupMetta: 1h\n", "agent.yaml:3: volumes[0].backupMetta: unknown key"],
    ["concurency: 2\n", "agent.yaml:1: concurency: unknown key"],
    [
      "volumes:\n  - metaUrl: redis://a/1\n    skipTrash: sometimes\n",
      'agent.yaml:3: volumes[0].skipTrash: expected boolean, got "sometimes"',
    ],
    [
      "defaults:\n  hooks:\n    - on: [succes]\n",
      'agent.yaml:3: defaults.hooks[0].on[0]: expected ("success" | "failure" | "skipped" | "suspicious"), got "succes"',
    ],
    ["volumes: redis://a/1\n", 'agent.yaml:1: volumes: expected Array, got "redis://a/1"'],
    ["volumes:\n  - redis://a/1\n", 'agent.yaml:2: volumes[0]: expected Object, got "redis://a/1"'],
    [
      "volumes:\n  - metaUrl: redis://a/1\n    backupMeta: 1x\n",
      "agent.yaml:3: volumes[0].backupMeta: Invalid duration value: 1x",
    ],
    [
      "volumes:\n  - metaUrl: redis://a/1\n    backupMeta: 60\n",
      "agent.yaml:3: volumes[0].backupMeta: backup-meta should not be less than 5 minutes: 1m0s",
    ],
    [
      "volumes:\n  - metaUrl: redis://a/1\ndefaults:\n  policy: day\n",
      'agent.yaml:4: defaults.policy: Cannot understand the retention policy "day": "day" is no rule',
    ],
    ["volumes:\n  - name: a\n", "agent.yaml:2: volumes[0]: needs one of metaUrl, metaUrlFile, metaUrlEnv"],
    ["volumes:\n  - metaUrlEnv: NO_SUCH\n", "agent.yaml:2: volumes[0]: the META-URL is empty"],
    [
      "volumes:\n  - metaUrl: redis://a/1\n    hooks: [{ on: [success] }]\n",
      "agent.yaml:3: volumes[0].hooks: a hook needs one of command, webhook, webhookFile",
    ],
    ["a: 1\na: 2\n", "agent.yaml:2:1: Map keys must be unique"],
    [
      "volumes: [\n",
      "agent.yaml:2:1: Flow sequence in block collection must be sufficiently indented and end with a ]",
    ],
    ["volumes: []\n", "There is no volume to back up"],
    [
      "volumes: [{ metaUrl: redis://:p@a/1 }, { metaUrl: redis://:p@a/1 }]\n",
      "Two volumes have the META-URL redis://:****@a/1",
    ],
    ["listen: 9568\nvolumes: [{ metaUrl: redis://a/1 }]\n", "agent.yaml:1: listen: expected string, got 9568"],
    [
      "listen: localhost\nvolumes: [{ metaUrl: redis://a/1 }]\n",
      'agent.yaml:1: listen: Invalid value "localhost": expected HOST:PORT, such as 127.0.0.1:9568 or :9568',
    ],
  ])("%j: %s", async (text, message) => {
    expect(await messageOf(text)).toBe(message);
  });

  test("the problems of all volumes are told at once", async () => {
    const message = "agent.yaml:2: volumes[0].a: unknown key\nagent.yaml:3: volumes[1].b: unknown key";
    expect(await messageOf("volumes:\n  - a: 1\n  - b: 2\n")).toBe(message);
  });

  test("a wrong flag and a wrong variable are named", async () => {
    const text = "volumes: [{ metaUrl: redis://a/1 }]";
    expect(await messageOf(text, { flags: { skipAbove: "many" } })).toMatch(/^--skip-above: Invalid value "many"/);
    expect(await messageOf(text, { env: { DECANT_MAX_SHRINK: "200" } })).toMatch(
      /^DECANT_MAX_SHRINK: Invalid value "200"/,
    );
  });
});

test.each([
  ["volumes: [{ metaUrl: 'redis://:secret@a/1' }]", 0o644, true],
  ["volumes: [{ metaUrl: 'redis://:secret@a/1' }]", 0o640, false],
  ["volumes: [{ metaUrl: 'redis://a/1' }]", 0o644, false],
  ["volumes: [{ metaUrl: 'redis://a/1', environment: { SECRET_KEY: x } }]", 0o604, true],
  ["volumes: [{ metaUrl: 'redis://a/1', environment: { SECRET_KEY: { file: x } } }]", 0o644, false],
  ["defaults: { hooks: [{ webhook: 'https://example.com/secret' }] }", 0o644, true],
])("a file that all can read is warned of when it holds secrets: %s, mode %o", async (text, mode, isWarned) => {
  const { warnings } = await readConfigFile(configFile(text, mode));
  expect(warnings.length).toBe(isWarned ? 1 : 0);
});
