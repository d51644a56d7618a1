import { Progress } from "../../base/progress.ts";
import { Interruption } from "../cli-io.ts";
import type { CommandOutcome, CommandSpec, Invocation, OptionSpec } from "../command-spec.ts";
import { logLevel } from "../console-logger.ts";
import { ExitCode } from "../exit-code.ts";
import { RESOURCE_OPTIONS } from "../global-options.ts";
import type { OptionValues } from "../option-values.ts";
import { SNAPSHOT_OPTIONS } from "../snapshot-options.ts";

const EACH = "Each volume (env DECANT_BACKUP_META, ..., or in the file)";
const PROCESS = "The process (env DECANT_LISTEN, ..., or in the file)";

const VOLUME_OPTIONS: readonly OptionSpec[] = [
  {
    flags: "--backup-meta <PERIOD>",
    description: "period: seconds, or 30m, 8h, 1d; at least 5m; 0 makes no backups",
    default: "1h",
  },
  { flags: "--skip-trash", description: "skip files in trash" },
  { flags: "--backup-skip-trash", description: "the same, as mount calls it", hidden: true },
  { flags: "--format <FORMAT>", description: "json, or binary: exactly what the engine stores", default: "json" },
  { flags: "--compression <NAME>", description: "gzip, zstd or none", default: "gzip; zstd with --format binary" },
  ...SNAPSHOT_OPTIONS,
  { flags: "--policy <RULES>", description: "which backups stay, as in backups prune", default: "see there" },
  { flags: "--no-prune", description: "delete nothing" },
  { flags: "--no-verify", description: "do not read back the newest backup when a juicefs client has made it" },
  {
    flags: "--max-shrink <PERCENT>",
    description: "by how much inodes, used space or size may fall since the last good backup",
    default: "50",
  },
  {
    flags: "--skip-above <N>",
    description:
      "at a period of an hour or less make no backup of more inodes; 0: never skip; auto: skip what takes more than half a period",
    default: "1000000",
  },
  { flags: "--on-success <COMMAND>", description: "run by /bin/sh after a backup" },
  { flags: "--on-failure <COMMAND>", description: "the same for what failed, is skipped or suspicious" },
  { flags: "--webhook <URL>", description: "post all of that there as JSON" },
].map((option) => ({ ...option, group: EACH }));

const PROCESS_OPTIONS: readonly OptionSpec[] = [
  { flags: "--concurrency <N>", description: "backups at one time", default: "2" },
  { flags: "--listen <HOST:PORT>", description: "serve /metrics and /healthz there" },
  { flags: "--metrics-textfile <FILE>", description: "write the metrics into a file for node_exporter" },
  { flags: "--log-format <FORMAT>", description: "text or json", default: "text" },
  {
    flags: "--stop-timeout <TIME>",
    description: "how long a running backup may go on after a signal",
    default: "30s",
  },
  { flags: "--lease <TIME>", description: "how long an agent that has died keeps others away", default: "1m" },
].map((option) => ({ ...option, group: PROCESS }));

/** `agent META-URL...` (docs/operations/agent.md). */
export const agentCommand: CommandSpec = {
  name: "agent",
  summary: "Back up volumes again and again, in turn with other agents and clients",
  description:
    "Makes a backup of each volume whenever the last one is older than the period, as mounted clients do, and cleans up. Agents " +
    "and juicefs clients share the work by the time that they leave in the volume: the shortest period wins. Between agents a " +
    "lease makes sure that no backup is made twice, and that the next one takes over when an agent dies.\n\n" +
    "Options may stand on the command line, in the environment, or in a YAML file, in that order.\n\n" +
    "With --once each volume is checked once, for cron and the like: the exit status is 0 when a backup was made or none was due, " +
    "3 when one was skipped or is suspicious.",
  arguments: [
    {
      name: "META-URL",
      required: false,
      variadic: true,
      description: "address of a volume's metadata; also DECANT_META_URL, or in the file",
    },
  ],
  options: [
    { flags: "--config <FILE>", description: "YAML file with volumes and options (env DECANT_CONFIG)" },
    { flags: "--check-config", description: "check options and file, show what they come to, and do nothing" },
    { flags: "--once", description: "check each volume once, make what is due, and end" },
    ...VOLUME_OPTIONS,
    ...PROCESS_OPTIONS,
    ...RESOURCE_OPTIONS,
  ],
  examples: [
    { comment: "A volume, every hour", command: "decant agent redis://localhost/1" },
    {
      comment: "Two, every 8 hours, with metrics",
      command: "decant agent --backup-meta 8h --listen :9568 redis://localhost/1 sqlite3:///srv/other.db",
    },
    { comment: "As a file says", command: "decant agent --config /etc/decant/agent.yaml" },
    { comment: "From cron, every ten minutes", command: "decant agent --once --quiet redis://localhost/1" },
  ],
  run,
  describeInterruption: () => "what was begun was given up: nothing is left of it",
};

async function run(invocation: Invocation): Promise<CommandOutcome> {
  const { args, options, io, context } = invocation;
  const { readConfigFile } = await import("../../agent/config-file.ts");
  const { resolveAgentOptions } = await import("../../agent/agent-options.ts");
  const { configJson, configSummary, onceExitCode, onceJson, onceSummary } = await import("../agent-report.ts");
  const configPath = options.text("config") ?? (io.env.DECANT_CONFIG || undefined);
  const file = configPath === undefined ? undefined : await readConfigFile(configPath);
  const resolved = await resolveAgentOptions({ metaUrls: args, flags: flagTexts(options), env: io.env, file });
  const isCheck = options.flag("check-config");
  const { AgentLog } = await import("../agent-log.ts");
  const { BackupAgent } = await import("../../agent/backup-agent.ts");
  const { systemClock } = await import("../../agent/clock.ts");
  const log = new AgentLog({ stream: io.stderr, format: resolved.logFormat, level: logLevel(options) });
  for (const warning of file?.warnings ?? []) (isCheck ? context.logger : log.logger()).warn(warning);
  if (isCheck) return { json: configJson(resolved), summary: configSummary(resolved) };
  const agent = new BackupAgent({
    options: resolved,
    context: { ...context, progress: new Progress() },
    clock: systemClock,
    logger: log.logger(),
    volumeLogger: (volume) => log.logger(volume),
  });
  const signals = new AgentSignals(io, (message) => log.write("info", message, undefined));
  if (options.flag("once")) {
    const results = await agent.once(signals);
    if (signals.received !== undefined) return { json: onceJson(results), exitCode: codeOf(signals.received) };
    return {
      json: onceJson(results),
      summary: onceSummary(results),
      exitCode: onceExitCode(results, context.signal),
    };
  }
  await agent.run(signals);
  log.write("info", "stopped", undefined);
  return { json: { operation: "agent", stoppedBy: signals.received ?? null }, exitCode: ExitCode.ok };
}

function codeOf(signalName: "SIGINT" | "SIGTERM"): ExitCode {
  return signalName === "SIGTERM" ? ExitCode.terminated : ExitCode.interrupted;
}

/** The first signal: begin nothing more. The second: give up what is being done. The third ends the process. */
class AgentSignals {
  received: "SIGINT" | "SIGTERM" | undefined;
  readonly #stop = new AbortController();
  readonly #abort = new AbortController();

  constructor(io: Invocation["io"], say: (message: string) => void) {
    io.handleSignal = (signalName) => {
      if (this.#abort.signal.aborted) return false;
      if (!this.#stop.signal.aborted) {
        this.received = signalName;
        say(`${signalName} received: a running backup is finished if there is time; once more to give it up`);
        this.#stop.abort(new Interruption(signalName));
      } else {
        say(`${signalName} received again: giving up; once more to exit at once`);
        this.#abort.abort(new Interruption(signalName));
      }
      return true;
    };
    // Whoever runs this in a program of their own has a signal for all.
    io.signal.addEventListener("abort", () => {
      this.#stop.abort(io.signal.reason);
      this.#abort.abort(io.signal.reason);
    });
  }

  get stop(): AbortSignal {
    return this.#stop.signal;
  }

  get abort(): AbortSignal {
    return this.#abort.signal;
  }
}

const TEXT_FLAGS = [
  "backupMeta",
  "format",
  "compression",
  "snapshot",
  "maxPause",
  "policy",
  "maxShrink",
  "skipAbove",
  "onSuccess",
  "onFailure",
  "webhook",
  "concurrency",
  "listen",
  "metricsTextfile",
  "logFormat",
  "stopTimeout",
  "lease",
];

/** What was given, by the names of the configuration file. */
function flagTexts(options: OptionValues): { readonly [name: string]: string | undefined } {
  const dashed = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const skipTrash = options.given("skip-trash") ?? options.given("backup-skip-trash");
  return {
    ...Object.fromEntries(TEXT_FLAGS.map((name) => [name, options.text(dashed(name))])),
    skipTrash: skipTrash === undefined ? undefined : String(skipTrash),
    // Its default is true, and comes with every call.
    prune: options.given("prune") === false ? "false" : undefined,
    verify: options.given("verify") === false ? "false" : undefined,
  };
}
