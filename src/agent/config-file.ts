import { readFile, stat } from "node:fs/promises";
import * as v from "valibot";
import { type Document, isMap, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import { UsageError } from "../base/errors.ts";
import { fileError } from "../base/file-error.ts";
import { redactUrl } from "../base/redact-url.ts";
import { HOOK_EVENTS, type HookEvent } from "./hooks.ts";

/** What every volume may have, and `defaults` too. Values are as they were written. */
export interface SettingContent {
  readonly backupMeta?: string | undefined;
  readonly skipTrash?: boolean | undefined;
  readonly format?: string | undefined;
  readonly compression?: string | undefined;
  readonly snapshot?: string | undefined;
  readonly maxPause?: string | undefined;
  readonly policy?: string | undefined;
  readonly prune?: boolean | undefined;
  readonly verify?: boolean | undefined;
  readonly maxShrink?: string | undefined;
  readonly skipAbove?: string | undefined;
  readonly hooks?: readonly HookContent[] | undefined;
}

export interface HookContent {
  readonly on?: readonly HookEvent[] | undefined;
  /** A text is given to `/bin/sh -c`, a list is a program with its arguments. */
  readonly command?: string | readonly string[] | undefined;
  readonly webhook?: string | undefined;
  readonly webhookFile?: string | undefined;
  readonly timeout?: string | undefined;
}

/** A value for the environment of one volume: itself, in a file, or under another name in the environment. */
export type EnvironmentValue = string | { readonly file: string } | { readonly env: string };

export interface VolumeContent extends SettingContent {
  readonly name?: string | undefined;
  readonly metaUrl?: string | undefined;
  readonly metaUrlFile?: string | undefined;
  readonly metaUrlEnv?: string | undefined;
  readonly metaPasswordFile?: string | undefined;
  readonly rsaPassphraseFile?: string | undefined;
  readonly environment?: { readonly [name: string]: EnvironmentValue } | undefined;
}

/** A configuration file whose keys and types are right. */
export interface ConfigContent {
  readonly concurrency?: string | undefined;
  readonly listen?: string | undefined;
  readonly metricsTextfile?: string | undefined;
  readonly logFormat?: string | undefined;
  readonly stopTimeout?: string | undefined;
  readonly lease?: string | undefined;
  readonly defaults?: SettingContent | undefined;
  readonly volumes?: readonly VolumeContent[] | undefined;
}

const text = v.pipe(v.union([v.string(), v.number()]), v.transform(String));
const flag = v.boolean();

const hookSchema = v.strictObject({
  on: v.optional(v.array(v.picklist(HOOK_EVENTS))),
  command: v.optional(v.union([v.string(), v.pipe(v.array(v.string()), v.minLength(1))])),
  webhook: v.optional(v.string()),
  webhookFile: v.optional(v.string()),
  timeout: v.optional(text),
});

const settingEntries = {
  backupMeta: v.optional(text),
  skipTrash: v.optional(flag),
  format: v.optional(v.string()),
  compression: v.optional(v.string()),
  policy: v.optional(v.string()),
  prune: v.optional(flag),
  verify: v.optional(flag),
  maxShrink: v.optional(text),
  snapshot: v.optional(text),
  maxPause: v.optional(text),
  skipAbove: v.optional(text),
  hooks: v.optional(v.array(hookSchema)),
};

const volumeSchema = v.strictObject({
  name: v.optional(v.string()),
  metaUrl: v.optional(v.string()),
  metaUrlFile: v.optional(v.string()),
  metaUrlEnv: v.optional(v.string()),
  metaPasswordFile: v.optional(v.string()),
  rsaPassphraseFile: v.optional(v.string()),
  environment: v.optional(
    v.record(
      v.string(),
      v.union([v.string(), v.strictObject({ file: v.string() }), v.strictObject({ env: v.string() })]),
    ),
  ),
  ...settingEntries,
});

const fileSchema: v.GenericSchema<unknown, ConfigContent> = v.strictObject({
  concurrency: v.optional(text),
  listen: v.optional(v.string()),
  metricsTextfile: v.optional(v.string()),
  logFormat: v.optional(v.string()),
  stopTimeout: v.optional(text),
  lease: v.optional(text),
  defaults: v.optional(v.strictObject(settingEntries)),
  volumes: v.optional(v.array(volumeSchema)),
});

export interface ConfigFile {
  readonly content: ConfigContent;
  /** For messages: `agent.yaml:12: volumes[0].backupMeta`. */
  place(path: readonly (string | number)[]): string;
  readonly warnings: readonly string[];
}

/**
 * Reads a YAML file with the configuration of an agent (docs/operations/agent.md). Throws `UsageError` that names file, line and key
 * for what is no YAML, for unknown keys and wrong types, and what reading the file throws.
 */
export async function readConfigFile(file: string): Promise<ConfigFile> {
  const source = await readFile(file, "utf8").catch((error: unknown) => {
    throw fileError("read", file, error);
  });
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false });
  const broken = document.errors[0];
  if (broken !== undefined) {
    const { line, col } = lines.linePos(broken.pos[0]);
    throw new UsageError("DECANT_E_CONFIG_FILE", `${file}:${line}:${col}: ${broken.message}`, {
      hint: "It must be a YAML file as docs/operations/agent.md describes it",
    });
  }
  const place = (path: readonly (string | number)[]): string => {
    const offset = offsetOf(document, path);
    return `${file}:${lines.linePos(offset).line}: ${pathText(path)}`;
  };
  const result = v.safeParse(fileSchema, document.toJS() ?? {});
  if (!result.success) {
    const problems = result.issues.map((issue) => {
      const path = (issue.path ?? []).map(({ key }) => key as string | number);
      const what =
        issue.type === "strict_object" && issue.expected === "never"
          ? "unknown key"
          : `expected ${issue.expected ?? "something else"}, got ${issue.received}`;
      return `${place(path)}: ${what}`;
    });
    throw new UsageError("DECANT_E_CONFIG_FILE", problems[0]!, {
      hint: "All keys are in docs/operations/agent.md; check the file with decant agent --check-config",
      details: problems.slice(1),
    });
  }
  return { content: result.output, place, warnings: await warningsOf(file, result.output) };
}

function pathText(path: readonly (string | number)[]): string {
  return path.length === 0
    ? "the file"
    : path.map((key, i) => (typeof key === "number" ? `[${key}]` : i === 0 ? key : `.${key}`)).join("");
}

/** Where the last key of a path that is there stands. */
function offsetOf(document: Document, path: readonly (string | number)[]): number {
  let node: unknown = document.contents;
  let offset = 0;
  for (const key of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && item.key.value === key);
      if (pair === undefined) break;
      offset = rangeStart(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(key)];
      offset = rangeStart(node) ?? offset;
    } else {
      break;
    }
  }
  return offset;
}

function rangeStart(node: unknown): number | undefined {
  return (node as { range?: readonly number[] } | undefined)?.range?.[0];
}

/** Whoever can read the file can read the passwords in it. */
async function warningsOf(file: string, { volumes = [], defaults }: ConfigContent): Promise<string[]> {
  const hooks = [...(defaults?.hooks ?? []), ...volumes.flatMap((volume) => volume.hooks ?? [])];
  const hasSecrets =
    hooks.some(({ webhook }) => webhook !== undefined) ||
    volumes.some(
      ({ metaUrl = "", environment = {} }) =>
        redactUrl(metaUrl) !== metaUrl ||
        Object.entries(environment).some(
          ([name, value]) => typeof value === "string" && /PASS|SECRET|TOKEN|KEY/i.test(name),
        ),
    );
  if (!hasSecrets || process.platform === "win32") return [];
  const { mode } = await stat(file);
  if ((mode & 0o007) === 0) return [];
  return [
    `${file} holds passwords or addresses of webhooks, and every user of this host can read it: chmod 640 ${file}, or keep them in files of their own`,
  ];
}
