import { hostname } from "node:os";
import { DecantError, errorText } from "../base/errors.ts";
import { Gate } from "../base/gate.ts";
import type { Logger } from "../base/logger.ts";
import { redactUrl } from "../base/redact-url.ts";
import type { OperationContext } from "../operations/context.ts";
import type { AgentOptions, VolumeOptions } from "./agent-options.ts";
import type { CheckOutcome } from "./check-outcome.ts";
import type { Clock } from "./clock.ts";
import { type HookEvent, type HookMessage, runHooks } from "./hooks.ts";
import { ManifestCache } from "./manifest-cache.ts";
import { MetricsTextfile } from "./metrics-textfile.ts";
import { openAgentVolume } from "./open-agent-volume.ts";
import type { StatusBoard } from "./status-board.ts";
import { StatusServer, type StatusSource } from "./status-server.ts";
import { type StopSignals, VolumeAgent } from "./volume-agent.ts";
import type { VolumeStatus } from "./volume-status.ts";

export interface BackupAgentParts {
  readonly options: AgentOptions;
  /** Memory and environment; its logger, signal and progress are not used. */
  readonly context: OperationContext;
  readonly clock: Clock;
  /** For what concerns no volume, and for a volume, whose name is learned when it is opened first. */
  readonly logger: Logger;
  readonly volumeLogger: (volume: () => string) => Logger;
}

export interface OnceResult {
  readonly volume: string;
  readonly outcome: CheckOutcome;
  readonly status: VolumeStatus;
}

interface Member {
  readonly options: VolumeOptions;
  readonly agent: VolumeAgent;
  readonly logger: Logger;
  /** What hooks were told last: the same is not told again. */
  told: string | undefined;
}

/**
 * Backs up any number of volumes, side by side; trouble of one does not reach the others. It prints nothing, ends no process, and
 * keeps nothing outside itself, so that it can run in any program.
 */
export class BackupAgent implements StatusSource {
  readonly #parts: BackupAgentParts;
  readonly #members: readonly Member[];
  readonly #textfile: MetricsTextfile | undefined;
  #hookSignal: AbortSignal = new AbortController().signal;

  constructor(parts: BackupAgentParts) {
    this.#parts = parts;
    const { options, logger } = parts;
    const gate = new Gate(options.concurrency);
    this.#members = options.volumes
      .filter(({ schedule, metaUrl, label }) => {
        if (schedule.intervalMs > 0) return true;
        logger.warn(`Metadata backup is disabled: ${label ?? redactUrl(metaUrl)}`);
        return false;
      })
      .map((volume) => this.#member(volume, gate));
    const { metricsTextfile } = options;
    this.#textfile = metricsTextfile === undefined ? undefined : new MetricsTextfile(metricsTextfile, this, logger);
  }

  now(): Date {
    return this.#parts.clock.now();
  }

  statuses(): readonly VolumeStatus[] {
    return this.#members.map(({ agent }) => agent.status.read());
  }

  /**
   * Runs until `stop` fires and what was being done has ended: a running backup may go on for the stop time-out, then, and at once
   * when `abort` fires, it is given up. Throws `UsageError` where it cannot listen.
   */
  async run({ stop, abort }: StopSignals): Promise<void> {
    const { options, clock, logger } = this.#parts;
    const server = options.listen === undefined ? undefined : new StatusServer(this);
    const ended = new AbortController();
    const hurry = new AbortController();
    const signals = { stop, abort: AbortSignal.any([abort, hurry.signal]) };
    this.#hookSignal = signals.abort;
    try {
      if (server !== undefined) {
        const { host, port } = options.listen!;
        const used = await server.listen(host, port);
        logger.info(`listening on ${host === "" ? "*" : host}:${used}: /metrics, /healthz`);
      }
      const onStop = (): void => {
        clock.sleep(options.stopTimeoutMs, ended.signal).then(
          () => hurry.abort(stop.reason),
          () => undefined,
        );
      };
      if (stop.aborted) onStop();
      else stop.addEventListener("abort", onStop, { once: true });
      await Promise.all([stopped(stop), ...this.#members.map(({ agent }) => agent.run(signals))]);
    } finally {
      ended.abort();
      await server?.close();
    }
  }

  /** One check of each volume, and its backup when it is time for it. */
  async once(signals: StopSignals): Promise<OnceResult[]> {
    this.#hookSignal = signals.abort;
    return Promise.all(
      this.#members.map(async ({ agent }) => {
        const outcome = await this.#checkPatiently(agent, signals);
        const status = agent.status.read();
        return { volume: status.label, outcome, status };
      }),
    );
  }

  /** Long enough to tell whether who has the lease is alive. */
  async #checkPatiently(agent: VolumeAgent, signals: StopSignals): Promise<CheckOutcome> {
    const { clock, options } = this.#parts;
    const endMs = clock.monotonicMs() + 1.5 * options.leaseMs;
    for (;;) {
      const outcome = await agent.check(signals);
      if (outcome.kind !== "busy" || clock.monotonicMs() >= endMs) return outcome;
      try {
        await clock.sleep(options.leaseMs / 3, signals.stop);
      } catch {
        return { kind: "stopped" };
      }
    }
  }

  #member(volume: VolumeOptions, gate: Gate): Member {
    const { options, context, clock, volumeLogger } = this.#parts;
    const cache = new ManifestCache();
    const label = volume.label ?? redactUrl(volume.metaUrl);
    const logger = volumeLogger(() => member.agent.status.label);
    const inner = { ...context, logger, env: volume.env };
    const agent = new VolumeAgent({
      label,
      isNamed: volume.label !== undefined,
      schedule: volume.schedule,
      open: (signal) =>
        openAgentVolume({ metaUrl: volume.metaUrl, style: volume.style, cache, context: inner }, signal),
      clock,
      random: Math.random,
      logger,
      holder: `${hostname()}:${process.pid}`,
      leaseMs: options.leaseMs,
      gate,
      onOutcome: (outcome, status) => this.#tell(member, outcome, status),
    });
    const member: Member = { options: volume, agent, logger, told: undefined };
    return member;
  }

  async #tell(member: Member, outcome: CheckOutcome, status: StatusBoard): Promise<void> {
    await this.#textfile?.write();
    const { clock, context } = this.#parts;
    if (outcome.kind === "not-due") member.told = undefined;
    for (const { event, reason, message } of eventsOf(outcome)) {
      const what = `${event} ${reason ?? ""}`;
      if (event !== "success" && member.told === what) continue;
      member.told = what;
      const failed = await runHooks(
        member.options.hooks,
        { ...aboutOutcome(outcome), event, reason, message, ...this.#about(status) },
        { clock, logger: member.logger, env: context.env, signal: this.#hookSignal },
      );
      status.hooksFailed(failed);
      if (failed > 0) await this.#textfile?.write();
    }
  }

  #about(status: StatusBoard): Pick<HookMessage, "volume" | "uuid" | "host" | "time"> {
    const { label, uuid } = status.read();
    return { volume: label, uuid: uuid ?? null, host: hostname(), time: this.now().toISOString() };
  }
}

function stopped(stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (stop.aborted) resolve();
    else stop.addEventListener("abort", () => resolve(), { once: true });
  });
}

interface Event {
  readonly event: HookEvent;
  readonly reason: string | null;
  readonly message: string;
}

function eventsOf(outcome: CheckOutcome): Event[] {
  switch (outcome.kind) {
    case "made": {
      const { key, backup } = outcome;
      const made: Event = {
        event: "success",
        reason: null,
        message: `backup ${backup.path} is made and was read back`,
      };
      if (backup.suspicious.length === 0) return [made];
      return [made, { event: "suspicious", reason: key, message: backup.suspicious.join("; ") }];
    }
    case "skipped":
      return [{ event: "skipped", reason: outcome.reason, message: outcome.message }];
    case "failed": {
      const { error } = outcome;
      const reason = error instanceof DecantError ? error.code : "DECANT_E_FAILED";
      return [{ event: "failure", reason, message: errorText(error) }];
    }
    default:
      return [];
  }
}

function aboutOutcome(outcome: CheckOutcome): Pick<HookMessage, "key" | "bytes" | "inodes" | "durationMs"> {
  if (outcome.kind !== "made") return { key: null, bytes: null, inodes: null, durationMs: null };
  const { bytes, inodes, durationMs } = outcome.backup;
  return { key: outcome.key, bytes, inodes, durationMs };
}
