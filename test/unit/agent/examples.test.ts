import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { resolveAgentOptions } from "../../../src/agent/agent-options.ts";
import { readConfigFile } from "../../../src/agent/config-file.ts";
import { NotFoundError } from "../../../src/base/errors.ts";
import { COMMANDS } from "../../../src/cli/commands.ts";
import { GLOBAL_OPTIONS } from "../../../src/cli/global-options.ts";
import { normalizeArguments } from "../../../src/cli/normalize-arguments.ts";
import { parseArguments } from "../../../src/cli/program.ts";
import { REPOSITORY } from "../../support/repository.ts";

const EXAMPLES = join(REPOSITORY, "examples");

function read(...path: string[]): string {
  return readFileSync(join(EXAMPLES, ...path), "utf8");
}

/** The arguments are understood by `decant agent`. */
function expectAgentArguments(args: readonly string[]): void {
  const normalized = normalizeArguments(args, COMMANDS, GLOBAL_OPTIONS);
  const parsed = parseArguments(normalized, {
    commands: COMMANDS,
    globals: GLOBAL_OPTIONS,
    examples: [],
    versionLine: "",
  });
  expect(parsed).toMatchObject({ kind: "command", spec: { name: "agent" } });
}

test("the configuration has known keys and right values; only its secrets are missing", async () => {
  const file = await readConfigFile(join(EXAMPLES, "agent.yaml"));
  expect(file.warnings).toEqual([]);
  const error: unknown = await resolveAgentOptions({ metaUrls: [], flags: {}, env: {}, file }).catch(
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(NotFoundError);
  const withoutSecrets = {
    ...file,
    content: {
      ...file.content,
      volumes: file.content.volumes!.map(({ metaPasswordFile: _, environment: __, ...volume }) => volume),
    },
  };
  const options = await resolveAgentOptions({ metaUrls: [], flags: {}, env: {}, file: withoutSecrets });
  expect(options.volumes.map(({ label, schedule }) => [label, schedule.intervalMs / 3_600_000])).toEqual([
    ["home", 1],
    ["archive", 8],
  ]);
});

test.each(["decant-agent.service", "decant-backup.service"])("%s calls it with arguments that it knows", (name) => {
  const [, args] = /^ExecStart=\/usr\/bin\/env decant (.+)$/m.exec(read("systemd", name))!;
  expectAgentArguments(args!.split(" "));
});

test("the container calls it with arguments that it knows", () => {
  const [, args] = /^CMD (\[.+\])$/m.exec(read("container", "Dockerfile"))!;
  expectAgentArguments(JSON.parse(args!) as string[]);
});

interface Container {
  readonly args: readonly string[];
  readonly volumeMounts: readonly { readonly name: string }[];
}

interface PodSpec {
  readonly containers: readonly Container[];
  readonly volumes: readonly { readonly name: string }[];
  readonly restartPolicy?: string;
}

describe.each(readdirSync(join(EXAMPLES, "kubernetes")))("kubernetes/%s", (name) => {
  test("is YAML of one object whose container calls it with arguments that it knows", () => {
    const documents = parseAllDocuments(read("kubernetes", name));
    expect(documents.length).toBe(1);
    const [document] = documents as Exclude<typeof documents, { empty: true }>;
    expect(document!.errors).toEqual([]);
    const object = document!.toJS() as {
      apiVersion: string;
      kind: "CronJob" | "Deployment";
      spec: { template?: { spec: PodSpec }; jobTemplate?: { spec: { template: { spec: PodSpec } } } };
    };
    expect([object.apiVersion, object.kind]).toEqual(
      object.kind === "CronJob" ? ["batch/v1", "CronJob"] : ["apps/v1", "Deployment"],
    );
    const pod = (object.spec.template ?? object.spec.jobTemplate!.spec.template).spec;
    expectAgentArguments(pod.containers[0]!.args);
    const mounted = pod.containers[0]!.volumeMounts.map((mount) => mount.name);
    expect(pod.volumes.map((volume) => volume.name)).toEqual(mounted);
    if (object.kind === "CronJob") expect(pod.restartPolicy).toBe("Never");
  });
});
