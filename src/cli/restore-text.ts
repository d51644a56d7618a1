import { formatBytes, formatCount } from "../base/units.ts";
import type { BlockCheckReport, MissingBlock } from "../operations/backups/block-check.ts";
import type { OldVolume, RestorePlan, RestoreReport } from "../operations/backups/restore.ts";
import type { LostSecret } from "../operations/backups/restore-secrets.ts";
import { ageText, byText, stateText, text } from "./backup-text.ts";
import type { SummaryLine } from "./command-spec.ts";
import { loadSummary } from "./report-text.ts";

const SHOWN_OTHERS = 5;
const SHOWN_BLOCKS = 20;

const SECRETS: Readonly<Record<LostSecret, string>> = { secretKey: "secret key", sessionToken: "session token" };

/** What is going to be restored, and what is lost by it. */
export function planText(plan: RestorePlan): string {
  const { chosen, setting, old, asOf } = plan;
  const { backup, manifest, quality } = chosen;
  const age = ageText(asOf.getTime() - backup.time.getTime());
  const lines = [
    `Backup ${backup.name}, begun ${rfc3339(backup.time)}, ${age} ago`,
    `  volume     ${plan.volume.name} (${plan.volume.uuid}), data in ${setting.storage} ${setting.bucket}`,
    `  object     ${plan.storage}${backup.key}, ${formatBytes(chosen.size)}, by ${byText(chosen)}`,
    `  state      ${stateText(chosen)}: ${chosen.why}${quality === "good" ? "" : "; it is checked while it is loaded"}`,
  ];
  if (manifest !== undefined) {
    const { usage, losses } = manifest.backup;
    lines.push(`  content    ${usageText(usage.inodes, usage.usedSpace)} when it was begun`);
    if (!manifest.whole) lines.push("             without the trash");
    for (const loss of losses) lines.push(`             not in it: ${loss.text}: ${formatCount(loss.count)}`);
  }
  for (const line of oldLines(old)) lines.push(line);
  lines.push(`  lost       everything that was changed since ${rfc3339(backup.time)}: ${age}`);
  for (const { entry, reason } of plan.passedOver) lines.push(`  not taken  ${entry.backup.name}: ${reason}`);
  if (plan.missingSecrets.length > 0) {
    lines.push(
      `  missing    ${plan.missingSecrets.map((secret) => SECRETS[secret]).join(" and ")} of the object storage`,
    );
  }
  if (plan.others.length > 0) {
    const shown = plan.others.slice(0, SHOWN_OTHERS).map(({ backup: other }) => other.name);
    const more = plan.others.length - shown.length;
    lines.push(`  if damaged ${shown.join(", ")}${more > 0 ? ` and ${formatCount(more)} more` : ""}`);
  }
  return text(lines);
}

function oldLines(old: OldVolume | undefined): string[] {
  if (old === undefined) return [];
  const { address, usage, lastBackup, sessions = 0 } = old;
  const now = usage === undefined ? "" : `, ${usageText(usage.totalInodes, usage.usedSpace)} now`;
  const clients = sessions === 0 ? "" : `, ${formatCount(sessions)} ${sessions === 1 ? "client" : "clients"} connected`;
  return [
    `  old        ${address}${now}${clients}`,
    ...(lastBackup === undefined ? [] : [`             its last backup was begun ${lastBackup}`]),
  ];
}

function usageText(inodes: bigint, space: bigint): string {
  return `${formatCount(inodes)} inodes, ${formatBytes(space)}`;
}

function rfc3339(time: Date): string {
  return time.toISOString().replace(".000Z", "Z");
}

/** Closing lines: what was loaded, what was found in the bucket, and how to go on. */
export function restoreSummary(report: RestoreReport): SummaryLine[] {
  const { plan, loaded, blocks, mount, nextSteps, dryRun } = report;
  if (dryRun) {
    return [...nextSteps.map((step) => important(`  next: ${step}`)), plain("Nothing was written (dry run)")];
  }
  return [
    ...(loaded === undefined ? [] : loadSummary({ ...loaded, nextSteps: [] })),
    ...(plan.chosen.manifest === undefined ? [] : [plain("  its checksum is that of its manifest")]),
    ...plan.passedOver.map(({ entry, reason }) => important(`  not taken: ${entry.backup.name}: ${reason}`)),
    ...(loaded === undefined
      ? []
      : [
          plain(
            `  new data gets slice numbers from ${loaded.counters.loaded.nextChunk} on: those given since are not used again`,
          ),
        ]),
    ...(blocks === undefined ? [] : blockLines(blocks)),
    ...warnings(plan.old).map(important),
    ...nextSteps.map((step) => important(`  next: ${step}`)),
    important(`  mount: ${mount}`),
  ].map((line) => ({ ...line, text: text([line.text]).trimEnd() }));
}

function warnings(old: OldVolume | undefined): string[] {
  const danger = "two databases over one bucket destroy each other's data";
  if (old === undefined) {
    return [`  before: make sure that no client uses the old database any more (juicefs umount everywhere): ${danger}`];
  }
  const clients = old.sessions ?? 0;
  const who = clients === 0 ? "" : `, where ${formatCount(clients)} ${clients === 1 ? "is" : "are"} connected now`;
  return [
    `  WARNING: the old database ${old.address} is still there: unmount all of its clients (juicefs umount)${who}, and never use it again: ${danger}`,
  ];
}

function blockLines(blocks: BlockCheckReport): SummaryLine[] {
  const { slices, sampledSlices, checkedBlocks, missingBlocks, missing, stopped } = blocks;
  const drawn = `${formatCount(sampledSlices)} of ${formatCount(slices)} slices`;
  const looked = `${formatCount(checkedBlocks)} ${checkedBlocks === 1 ? "block" : "blocks"} of ${drawn} looked for in the bucket`;
  const lines: SummaryLine[] =
    missingBlocks === 0
      ? [plain(`  ${looked}${checkedBlocks > 0 && stopped === undefined ? ": all are there" : ""}`)]
      : [
          important(
            `  ${looked}: ${formatCount(missingBlocks)} MISSING or of another size, files of the trash included`,
          ),
        ];
  lines.push(...missing.slice(0, SHOWN_BLOCKS).map((block) => important(`  missing: ${missingText(block)}`)));
  const more = missingBlocks - Math.min(missing.length, SHOWN_BLOCKS);
  if (more > 0) lines.push(important(`  missing: ${formatCount(more)} more`));
  if (stopped !== undefined) lines.push(important(`  the rest of the blocks was not looked for: ${stopped}`));
  return lines;
}

function missingText({ key, size, found, inode, path }: MissingBlock): string {
  const what = found === undefined ? key : `${key} (${formatCount(found)} bytes instead of ${formatCount(size)})`;
  return `${what} of ${path === undefined ? "" : `${path}, `}inode ${inode}`;
}

function plain(line: string): SummaryLine {
  return { text: line, important: false };
}

function important(line: string): SummaryLine {
  return { text: line, important: true };
}
