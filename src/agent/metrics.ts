import { healthOf, TROUBLE_KINDS, type VolumeStatus } from "./volume-status.ts";

interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  /** Left out when undefined. */
  readonly value: number | boolean | undefined;
}

interface Metric {
  readonly name: string;
  readonly type: "gauge" | "counter";
  readonly help: string;
  samples(status: VolumeStatus, now: Date): readonly Sample[];
}

const seconds = (ms: number | undefined): number | undefined => (ms === undefined ? undefined : ms / 1000);

function metric(
  name: string,
  help: string,
  value: (status: VolumeStatus, now: Date) => number | boolean | undefined,
  type: Metric["type"] = "gauge",
): Metric {
  return { name, help, type, samples: (status, now) => [{ labels: {}, value: value(status, now) }] };
}

/**
 * What docs/operations/metrics.md lists. All but the counters, and what concerns this process, comes from bucket and database: each
 * agent of a volume gives the same.
 */
const METRICS: readonly Metric[] = [
  metric(
    "decant_backup_last_success_timestamp_seconds",
    "When the newest good backup in the bucket was begun, Unix time.",
    ({ bucket }) => seconds(bucket?.lastGood?.time.getTime()),
  ),
  metric("decant_backup_last_success_age_seconds", "Age of the newest good backup.", ({ bucket }, now) =>
    bucket?.lastGood === undefined ? undefined : (now.getTime() - bucket.lastGood.time.getTime()) / 1000,
  ),
  metric("decant_backup_last_success_duration_seconds", "How long it took, reading back included.", ({ bucket }) =>
    seconds(bucket?.lastGood?.durationMs),
  ),
  metric("decant_backup_last_success_size_bytes", "Its size as stored.", ({ bucket }) => bucket?.lastGood?.bytes),
  metric(
    "decant_backup_last_success_inodes",
    "Inodes of the volume when it was begun.",
    ({ bucket }) => bucket?.lastGood?.inodes,
  ),
  metric("decant_backup_backups", "Backups in the bucket.", ({ bucket }) => bucket?.count),
  metric("decant_backup_interval_seconds", "The period, --backup-meta.", ({ intervalMs }) => seconds(intervalMs)),
  metric("decant_backup_used_inodes", "Inodes of the volume at the last check.", ({ usedInodes }) => usedInodes),
  metric(
    "decant_backup_healthy",
    "1 when /healthz has nothing to say of the volume.",
    (status, now) => healthOf(status, now).healthy,
  ),
  {
    name: "decant_backup_trouble",
    type: "gauge",
    help: "1 for what is wrong now, by kind.",
    samples: ({ troubles }) =>
      TROUBLE_KINDS.map((kind) => ({ labels: { kind }, value: troubles.some((each) => each.kind === kind) })),
  },
  {
    name: "decant_backup_skipped",
    type: "gauge",
    help: "1 when no backup is made because of the number of inodes, by reason.",
    samples: ({ skipped }) =>
      (["too-many-inodes", "does-not-fit"] as const).map((reason) => ({
        labels: { reason },
        value: skipped?.reason === reason,
      })),
  },
  metric("decant_backup_fitting_interval_seconds", "A period at which a skipped backup would be made.", ({ skipped }) =>
    seconds(skipped?.fittingMs),
  ),
  metric(
    "decant_backup_suspicious",
    "1 when the newest backup looks as if something was lost, and nothing is cleaned up.",
    ({ bucket }) => (bucket === undefined ? undefined : bucket.frozenBy !== undefined),
  ),
  {
    name: "decant_backup_last_run_timestamp_seconds",
    type: "gauge",
    help: "When a run of any agent last ended so, by outcome and cause, Unix time.",
    samples: ({ bucket }) =>
      (bucket?.statuses ?? []).map(({ outcome, cause, at }) => ({
        labels: { outcome, cause: cause ?? "" },
        value: Date.parse(at) / 1000,
      })),
  },
  metric("decant_backup_last_check_timestamp_seconds", "When this agent last looked, Unix time.", ({ checkedAt }) =>
    seconds(checkedAt?.getTime()),
  ),
  metric(
    "decant_backup_running",
    "1 while this agent makes a backup.",
    ({ runningSince }) => runningSince !== undefined,
  ),
  metric("decant_backup_lease_held", "1 while this agent has the lease of the volume.", ({ holdsLease }) => holdsLease),
  metric(
    "decant_backup_clock_skew_seconds",
    "How far the database server's clock is ahead of this host's.",
    ({ clockSkewMs }) => seconds(clockSkewMs),
  ),
  metric("decant_backup_made_total", "Backups made by this agent since its start.", ({ made }) => made, "counter"),
  {
    name: "decant_backup_failures_total",
    type: "counter",
    help: "Checks, backups, clean-ups and looks at the bucket of this agent that failed since its start, by error code.",
    samples: ({ failures }) => [...failures].map(([cause, value]) => ({ labels: { cause }, value })),
  },
  metric(
    "decant_backup_skips_total",
    "Checks at which this agent skipped a backup since its start.",
    ({ skips }) => skips,
    "counter",
  ),
  metric(
    "decant_backup_hook_failures_total",
    "Hooks that failed since the start of this agent.",
    ({ hookFailures }) => hookFailures,
    "counter",
  ),
];

/** The two of the reference's clients, for dashboards that exist. Their label is `vol_name`. */
const REFERENCE_METRICS: readonly Metric[] = [
  metric("juicefs_last_successful_backup", "Last successful backup.", ({ bucket }) =>
    seconds(bucket?.lastGood?.time.getTime()),
  ),
  metric("juicefs_last_backup_duration", "Last backup duration.", ({ bucket }) =>
    seconds(bucket?.lastGood?.durationMs),
  ),
];

/** The text format of Prometheus, version 0.0.4. */
export function metricsText(statuses: readonly VolumeStatus[], now: Date): string {
  const names = distinctLabels(statuses);
  const lines: string[] = [];
  for (const [list, label] of [
    [METRICS, "volume"],
    [REFERENCE_METRICS, "vol_name"],
  ] as const) {
    for (const each of list) {
      const samples = statuses.flatMap((status, i) =>
        each
          .samples(status, now)
          .filter(({ value }) => value !== undefined)
          .map(({ labels, value }) => `${each.name}${labelText({ [label]: names[i]!, ...labels })} ${Number(value)}`),
      );
      if (samples.length === 0) continue;
      lines.push(`# HELP ${each.name} ${each.help}`, `# TYPE ${each.name} ${each.type}`, ...samples);
    }
  }
  return `${lines.join("\n")}\n`;
}

/** Two volumes of one name would be one time series: both get the begin of their UUID. */
export function distinctLabels(statuses: readonly VolumeStatus[]): string[] {
  const counts = new Map<string, number>();
  for (const { label } of statuses) counts.set(label, (counts.get(label) ?? 0) + 1);
  return statuses.map(({ label, uuid }, i) => (counts.get(label) === 1 ? label : `${label} ${uuid?.slice(0, 8) ?? i}`));
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(([name, value]) => {
    const escaped = value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
    return `${name}="${escaped}"`;
  });
  return `{${parts.join(",")}}`;
}
