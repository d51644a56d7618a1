import { spawn } from "node:child_process";
import { errorText } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Clock } from "./clock.ts";

/** What a hook can be called for. `skipped`, `suspicious` and `failure` are told once per change, not at every check. */
export const HOOK_EVENTS = ["success", "failure", "skipped", "suspicious"] as const;

export type HookEvent = (typeof HOOK_EVENTS)[number];

export interface Hook {
  readonly on: ReadonlySet<HookEvent>;
  /** A program with its arguments, or an address that the event is posted to. */
  readonly action: { readonly command: readonly string[] } | { readonly webhook: string };
  readonly timeoutMs: number;
}

/** What a hook is told: JSON on the standard input of a command, the body of a webhook (docs/operations/agent.md). */
export interface HookMessage {
  readonly event: HookEvent;
  readonly volume: string;
  readonly uuid: string | null;
  readonly host: string;
  /** ISO 8601, UTC. */
  readonly time: string;
  /** Key of the backup in the bucket, when there is one. */
  readonly key: string | null;
  readonly bytes: number | null;
  readonly inodes: number | null;
  readonly durationMs: number | null;
  /** Error code of a failure, reason of a skipped or suspicious backup. */
  readonly reason: string | null;
  readonly message: string;
}

export interface HookParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

export const DEFAULT_HOOK_TIMEOUT_MS = 30_000;

const WEBHOOK_TRIES = 3;
/** Lines and characters of a command's output that reach the log. */
const MAX_LINES = 50;
const MAX_OUTPUT = 16 * 1024;

/**
 * Runs the hooks for an event one after another and returns how many of them failed. Never throws: a backup is not the worse for
 * a hook. Failures are warned of, except those by an abort.
 */
export async function runHooks(hooks: readonly Hook[], message: HookMessage, parts: HookParts): Promise<number> {
  let failed = 0;
  for (const hook of hooks) {
    if (!hook.on.has(message.event) || parts.signal.aborted) continue;
    try {
      if ("command" in hook.action) await runCommand(hook.action.command, hook.timeoutMs, message, parts);
      else await postWebhook(hook.action.webhook, hook.timeoutMs, message, parts);
    } catch (error) {
      failed++;
      const name = "command" in hook.action ? hook.action.command[0]! : maskedWebhook(hook.action.webhook);
      parts.logger.warn(`hook ${name} for ${message.event} failed: ${errorText(error)}`);
    }
  }
  return failed;
}

/** Address of a webhook for people: services keep their secrets in path and query. */
export function maskedWebhook(url: string): string {
  return URL.canParse(url) ? `${new URL(url).origin}/****` : "****";
}

async function runCommand(
  command: readonly string[],
  timeoutMs: number,
  message: HookMessage,
  parts: HookParts,
): Promise<void> {
  const [program, ...args] = command;
  // A group of its own, so that a time-out ends what it has started too.
  const child = spawn(program!, args, {
    env: { ...parts.env, ...hookEnvironment(message) },
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  const killGroup = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // it has ended by itself
    }
  };
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      if (output.length < MAX_OUTPUT) output += text;
    });
  }
  child.stdin.on("error", () => undefined); // a hook need not read what it is told
  child.stdin.end(`${JSON.stringify(message)}\n`);
  let stopped: string | undefined;
  const stop = (why: string): void => {
    stopped = why;
    killGroup();
  };
  const timer = setTimeout(() => stop(`it took longer than ${timeoutMs / 1000} s`), timeoutMs);
  const onAbort = (): void => stop("the agent is stopping");
  parts.signal.addEventListener("abort", onAbort, { once: true });
  try {
    const end = await new Promise<string | undefined>((resolve, reject) => {
      child.on("error", reject);
      child.on("exit", () => {
        // What it left running in the background may hold its output open for ever.
        setTimeout(() => {
          child.stdout.destroy();
          child.stderr.destroy();
        }, 1000).unref();
      });
      child.on("close", (code, signal) => resolve(code === 0 ? undefined : `it ended with ${signal ?? code}`));
    });
    for (const line of output.split("\n").filter(Boolean).slice(0, MAX_LINES)) {
      parts.logger.info(`hook ${program}: ${line}`);
    }
    const failure = stopped ?? end;
    if (failure !== undefined) throw new Error(failure);
  } finally {
    clearTimeout(timer);
    parts.signal.removeEventListener("abort", onAbort);
  }
}

/** `DECANT_HOOK_EVENT`, `DECANT_HOOK_VOLUME`, ...; what is not known is empty. */
function hookEnvironment(message: HookMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(message).map(([name, value]) => [
      `DECANT_HOOK_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`,
      String(value ?? ""),
    ]),
  );
}

async function postWebhook(url: string, timeoutMs: number, message: HookMessage, parts: HookParts): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json", "user-agent": "decant" },
        body: JSON.stringify(message),
        signal: AbortSignal.any([parts.signal, AbortSignal.timeout(timeoutMs)]),
      });
      await response.body?.cancel();
      if (response.ok) return;
      throw new Error(`HTTP status ${response.status}`);
    } catch (error) {
      if (parts.signal.aborted || attempt === WEBHOOK_TRIES) throw new Error(fetchReason(error, url));
      await parts.clock.sleep(1000 * 4 ** (attempt - 1), parts.signal);
    }
  }
}

/** `fetch failed` says nothing, its cause does; neither may show the address. */
function fetchReason(error: unknown, url: string): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return errorText(cause).replaceAll(url, maskedWebhook(url));
}
