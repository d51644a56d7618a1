import { readFile } from "node:fs/promises";
import { UsageError } from "../base/errors.ts";
import { fileError } from "../base/file-error.ts";
import { redactUrl } from "../base/redact-url.ts";
import type { CompressionName } from "../formats/container/output.ts";
import { DEFAULT_POLICY_TEXT, parsePolicy } from "../operations/backups/retention-policy.ts";
import { DEFAULT_MAX_SHRINK, parseMaxShrink } from "../operations/backups/shrink-guard.ts";
import { parseMaxPause, parseSnapshotMethod } from "../operations/snapshot-choice.ts";
import type { ConfigContent, ConfigFile, HookContent, VolumeContent } from "./config-file.ts";
import { DEFAULT_SKIP_ABOVE, type SkipAbove } from "./decide.ts";
import { DEFAULT_HOOK_TIMEOUT_MS, HOOK_EVENTS, type Hook, type HookEvent } from "./hooks.ts";
import { parseBackupInterval, parseInterval } from "./interval.ts";
import type { BackupStyle } from "./open-agent-volume.ts";
import type { VolumeSchedule } from "./volume-agent.ts";

type Env = Readonly<Record<string, string | undefined>>;

/** One volume of an agent. */
export interface VolumeOptions {
  /** A name of the user's own, for logs and metrics. */
  readonly label: string | undefined;
  readonly metaUrl: string;
  /** Environment for passwords and pass phrases of this volume. */
  readonly env: Env;
  /** `intervalMs` 0: no backups are made. */
  readonly schedule: VolumeSchedule;
  readonly style: BackupStyle;
  readonly hooks: readonly Hook[];
}

export interface AgentOptions {
  readonly volumes: readonly VolumeOptions[];
  /** Backups at one time. */
  readonly concurrency: number;
  readonly listen: { readonly host: string; readonly port: number } | undefined;
  readonly metricsTextfile: string | undefined;
  readonly logFormat: "text" | "json";
  /** For how long a running backup may go on after a signal. */
  readonly stopTimeoutMs: number;
  readonly leaseMs: number;
}

/** Settings as texts by the names of the configuration file; flags and variables are named after them. */
export type SettingTexts = { readonly [name: string]: string | undefined };

export interface OptionSources {
  readonly metaUrls: readonly string[];
  /** By the names of the configuration file, from the command line. */
  readonly flags: SettingTexts;
  readonly env: Env;
  readonly file: ConfigFile | undefined;
}

/** Something a setting may be taken from, the first that has it wins. */
interface Source {
  readonly value: string | undefined;
  readonly place: string;
}

export const DEFAULT_INTERVAL = "1h";
const DEFAULT_MAX_PAUSE = "500ms";
const DEFAULT_STOP_TIMEOUT = "30s";
const DEFAULT_LEASE = "1m";
const DEFAULT_CONCURRENCY = "2";

/**
 * The options of an agent: command line before environment before file, in there a volume's own before `defaults`. Throws
 * `UsageError` that names where the wrong value stands, and what reading a file with a secret throws.
 */
export async function resolveAgentOptions(sources: OptionSources): Promise<AgentOptions> {
  const resolver = new Resolver(sources);
  const volumes = await resolver.volumes();
  if (volumes.length === 0) {
    throw new UsageError("DECANT_E_NO_VOLUMES", "There is no volume to back up", {
      hint: "Give a META-URL, set DECANT_META_URL, or list volumes in the configuration file",
    });
  }
  checkDistinct(volumes);
  const duration = (name: string, fallback: string): number =>
    resolver.parse(name, [], fallback, (text) => parseInterval(text));
  return {
    volumes,
    concurrency: resolver.parse("concurrency", [], DEFAULT_CONCURRENCY, (text) => positive(text)),
    listen: resolver.parse("listen", [], "", parseListen),
    metricsTextfile: resolver.parse("metricsTextfile", [], "", (text) => (text === "" ? undefined : text)),
    logFormat: resolver.parse("logFormat", [], "text", (text) => oneOf(text, ["text", "json"] as const)),
    stopTimeoutMs: duration("stopTimeout", DEFAULT_STOP_TIMEOUT),
    leaseMs: resolver.parse("lease", [], DEFAULT_LEASE, parseLease),
  };
}

class Resolver {
  readonly #sources: OptionSources;

  constructor(sources: OptionSources) {
    this.#sources = sources;
  }

  /** `paths`: where the file may have it. */
  parse<T>(
    name: string,
    paths: readonly (readonly (string | number)[])[],
    fallback: string,
    parse: (text: string) => T,
  ): T {
    const found = this.#sourcesOf(name, paths.length === 0 ? [[name]] : paths).find(({ value }) => value !== undefined);
    if (found === undefined) return parse(fallback);
    try {
      return parse(found.value!);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      throw new UsageError("DECANT_E_OPTION_VALUE", `${found.place}: ${error.message}`, {
        ...(error.hint === undefined ? {} : { hint: error.hint }),
      });
    }
  }

  #sourcesOf(name: string, paths: readonly (readonly (string | number)[])[]): Source[] {
    const { flags, env, file } = this.#sources;
    const variable = variableOf(name);
    const fromFile = paths.map((path) => ({
      value: file === undefined ? undefined : textAt(file.content, path),
      place: file?.place(path) ?? "",
    }));
    return [
      { value: flags[name], place: flagOf(name) },
      { value: env[variable] || undefined, place: variable },
      ...fromFile,
    ];
  }

  async volumes(): Promise<VolumeOptions[]> {
    const { metaUrls, env, file } = this.#sources;
    const given = metaUrls.length > 0 ? metaUrls : (env.DECANT_META_URL ?? "").split(/\s+/).filter((url) => url !== "");
    const volumes: VolumeOptions[] = [];
    for (const metaUrl of given) volumes.push(await this.#volume({ metaUrl }, undefined));
    for (const [i, content] of (file?.content.volumes ?? []).entries()) volumes.push(await this.#volume(content, i));
    return volumes;
  }

  async #volume(content: VolumeContent, index: number | undefined): Promise<VolumeOptions> {
    const { env, file } = this.#sources;
    const setting = <T>(name: string, fallback: string, parse: (text: string) => T): T => {
      const own = index === undefined ? [] : [["volumes", index, name]];
      return this.parse(name, [...own, ["defaults", name]], fallback, parse);
    };
    const format = setting("format", "json", (text) => oneOf(text, ["json", "binary"] as const));
    const compression = format === "json" ? "gzip" : "zstd";
    const hooks = content.hooks ?? file?.content.defaults?.hooks ?? [];
    return {
      label: content.name,
      metaUrl: await this.#metaUrl(content, index),
      env: { ...env, ...(await this.#environment(content)) },
      schedule: {
        intervalMs: setting("backupMeta", DEFAULT_INTERVAL, (text) => parseBackupInterval(text, env)),
        skipAbove: setting("skipAbove", String(DEFAULT_SKIP_ABOVE), parseSkipAbove),
        prune: setting("prune", "true", parseFlag),
        verify: setting("verify", "true", parseFlag),
      },
      style: {
        format,
        compression: setting("compression", compression, (text) =>
          oneOf(text, ["none", "gzip", "zstd"] as const),
        ) satisfies CompressionName,
        snapshot: setting("snapshot", "auto", parseSnapshotMethod),
        maxPauseMs: setting("maxPause", DEFAULT_MAX_PAUSE, parseMaxPause),
        skipTrash: setting("skipTrash", "false", parseFlag),
        maxShrink: setting("maxShrink", String(DEFAULT_MAX_SHRINK), parseMaxShrink),
        policy: setting("policy", DEFAULT_POLICY_TEXT, parsePolicy),
      },
      hooks: this.#givenHooks() ?? (await Promise.all(hooks.map((hook) => this.#hook(hook, index)))),
    };
  }

  async #metaUrl(content: VolumeContent, index: number | undefined): Promise<string> {
    const { metaUrl, metaUrlFile, metaUrlEnv } = content;
    const place = index === undefined ? "META-URL" : this.#sources.file!.place(["volumes", index]);
    if ([metaUrl, metaUrlFile, metaUrlEnv].filter((each) => each !== undefined).length !== 1) {
      throw new UsageError("DECANT_E_CONFIG_FILE", `${place}: needs one of metaUrl, metaUrlFile, metaUrlEnv`);
    }
    const value = metaUrl ?? (metaUrlFile === undefined ? this.#sources.env[metaUrlEnv!] : await secretIn(metaUrlFile));
    if (value !== undefined && value !== "") return value;
    throw new UsageError("DECANT_E_CONFIG_FILE", `${place}: the META-URL is empty`, {
      hint:
        metaUrlEnv === undefined ? "Give the address of the volume's metadata" : `Set ${metaUrlEnv} in the environment`,
    });
  }

  async #environment({ environment = {}, metaPasswordFile, rsaPassphraseFile }: VolumeContent): Promise<Env> {
    const values: Record<string, string | undefined> = {};
    if (metaPasswordFile !== undefined) values.META_PASSWORD = await secretIn(metaPasswordFile);
    if (rsaPassphraseFile !== undefined) values.JFS_RSA_PASSPHRASE = await secretIn(rsaPassphraseFile);
    for (const [name, value] of Object.entries(environment)) {
      if (typeof value === "string") values[name] = value;
      else values[name] = "file" in value ? await secretIn(value.file) : this.#sources.env[value.env];
    }
    return values;
  }

  /** Those of the command line or the environment; they stand for those of the file. */
  #givenHooks(): Hook[] | undefined {
    const { flags, env } = this.#sources;
    const given = (name: string) => flags[name] ?? (env[variableOf(name)] || undefined);
    const [onSuccess, onFailure, webhook] = [given("onSuccess"), given("onFailure"), given("webhook")];
    if (onSuccess === undefined && onFailure === undefined && webhook === undefined) return undefined;
    const hook = (on: readonly HookEvent[], action: Hook["action"]): Hook => ({
      on: new Set(on),
      action,
      timeoutMs: DEFAULT_HOOK_TIMEOUT_MS,
    });
    const hooks: Hook[] = [];
    if (onSuccess !== undefined) hooks.push(hook(["success"], { command: shell(onSuccess) }));
    if (onFailure !== undefined) hooks.push(hook(HOOK_EVENTS.slice(1), { command: shell(onFailure) }));
    if (webhook !== undefined) hooks.push(hook(HOOK_EVENTS, { webhook: checkedUrl(webhook, flagOf("webhook")) }));
    return hooks;
  }

  async #hook(content: HookContent, index: number | undefined): Promise<Hook> {
    const { on, command, webhook, webhookFile, timeout } = content;
    const place = this.#sources.file!.place(index === undefined ? ["defaults", "hooks"] : ["volumes", index, "hooks"]);
    if ([command, webhook, webhookFile].filter((each) => each !== undefined).length !== 1) {
      throw new UsageError("DECANT_E_CONFIG_FILE", `${place}: a hook needs one of command, webhook, webhookFile`);
    }
    const url = webhook ?? (webhookFile === undefined ? undefined : await secretIn(webhookFile));
    return {
      on: new Set(on ?? HOOK_EVENTS),
      action:
        url === undefined
          ? { command: typeof command === "string" ? shell(command) : command! }
          : { webhook: checkedUrl(url, place) },
      timeoutMs: timeout === undefined ? DEFAULT_HOOK_TIMEOUT_MS : parseInterval(timeout),
    };
  }
}

function textAt(content: ConfigContent, path: readonly (string | number)[]): string | undefined {
  let value: unknown = content;
  for (const key of path) value = (value as Record<string | number, unknown> | undefined)?.[key];
  return value === undefined ? undefined : String(value);
}

/** `backupMeta` -> `DECANT_BACKUP_META` */
function variableOf(name: string): string {
  return `DECANT_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** `backupMeta` -> `--backup-meta` */
export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function shell(command: string): readonly string[] {
  return ["/bin/sh", "-c", command];
}

/** Without what an editor adds at its end. */
async function secretIn(file: string): Promise<string> {
  const content = await readFile(file, "utf8").catch((error: unknown) => {
    throw fileError("read", file, error);
  });
  return content.replace(/\r?\n$/, "");
}

function wrong(text: string, expected: string): UsageError {
  return new UsageError("DECANT_E_OPTION_VALUE", `Invalid value "${text}": expected ${expected}`);
}

function oneOf<T extends string>(text: string, names: readonly T[]): T {
  const found = names.find((name) => name === text);
  if (found === undefined) throw wrong(text, names.join(", "));
  return found;
}

function parseFlag(text: string): boolean {
  if (/^(1|t|true)$/i.test(text)) return true;
  if (/^(0|f|false)$/i.test(text)) return false;
  throw wrong(text, "true or false");
}

function positive(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw wrong(text, "a number from 1 on");
  return Number(text);
}

function parseSkipAbove(text: string): SkipAbove {
  if (text === "auto") return "auto";
  if (!/^\d{1,20}$/.test(text)) throw wrong(text, "a number of inodes, 0 to skip never, or auto");
  return BigInt(text);
}

function parseLease(text: string): number {
  const ms = Math.round(parseInterval(text));
  if (ms < 1000 || ms > 3_600_000) throw wrong(text, "1s to 1h");
  return ms;
}

function parseListen(text: string): AgentOptions["listen"] {
  if (text === "") return undefined;
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  if (match === null || Number(match[3]) > 65_535) throw wrong(text, "HOST:PORT, such as 127.0.0.1:9568 or :9568");
  return { host: match[1] ?? match[2] ?? "", port: Number(match[3]) };
}

function checkedUrl(url: string, place: string): string {
  if (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)) return url;
  throw new UsageError(
    "DECANT_E_OPTION_VALUE",
    `${place}: the address of a webhook must begin with http:// or https://`,
  );
}

/** Two loops of one process for one volume would only wait for each other. */
function checkDistinct(volumes: readonly VolumeOptions[]): void {
  for (const [what, values] of [
    ["META-URL", volumes.map(({ metaUrl }) => metaUrl)],
    ["name", volumes.map(({ label }) => label)],
  ] as const) {
    const twice = values.find((value, i) => value !== undefined && values.indexOf(value) !== i);
    if (twice === undefined) continue;
    throw new UsageError("DECANT_E_NO_VOLUMES", `Two volumes have the ${what} ${redactUrl(twice)}`);
  }
}
