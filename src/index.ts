/**
 * decant as a library: the same operations as the command line, without output of their own.
 *
 *     import { createContext, dump } from "decant";
 *
 *     const report = await dump({ source: "sqlite3://my.db", target: { file: "meta.json.gz" } }, createContext());
 *     if (!report.consistency.pointInTime) console.warn(report.consistency.method);
 *
 * Every operation takes a request and an `OperationContext` (signal, logger, progress, environment, memory), resolves with
 * a report and throws `DecantError`s; an aborted signal makes it clean up and throw an `AbortError`.
 */
export {
  ConflictError,
  DataError,
  type DataLocation,
  DecantError,
  EngineError,
  FileError,
  InternalError,
  isAbortError,
  MissingDependencyError,
  NotFoundError,
  StorageError,
  UsageError,
} from "./base/errors.ts";
export { type Logger, silentLogger } from "./base/logger.ts";
export { type PhaseProgress, Progress } from "./base/progress.ts";
export { redactUrl } from "./base/redact-url.ts";
export { ENGINE_SCHEMES } from "./engines/registry.ts";
export { type BackupReport, type BackupRequest, backup } from "./operations/backups/backup.ts";
export type { BackupFacts, BackupManifest } from "./operations/backups/backup-manifest.ts";
export type { BackupName } from "./operations/backups/backup-name.ts";
export type { BackupPlaceRequest, BucketAddress } from "./operations/backups/backup-place.ts";
export {
  type BackupFetchReport,
  type BackupFetchRequest,
  type BackupListReport,
  type BackupMarkReport,
  type BackupMarkRequest,
  type BackupPruneReport,
  type BackupPruneRequest,
  type BackupSelection,
  type BackupShowReport,
  type BackupVerifyReport,
  type BackupVerifyRequest,
  fetchVolumeBackup,
  listBackups,
  markBackup,
  pruneVolumeBackups,
  showBackup,
  verifyBackups,
} from "./operations/backups/backups.ts";
export type { Catalogue, CatalogueEntry, Mark } from "./operations/backups/catalogue.ts";
export type { BackupTurn, Fence, StampChange } from "./operations/backups/fence.ts";
export type { PruneReport } from "./operations/backups/prune.ts";
export type { PrunePlan } from "./operations/backups/prune-plan.ts";
export type { Refusal } from "./operations/backups/refusal.ts";
export type { BackupQuality } from "./operations/backups/retention.ts";
export { parsePolicy, policyText, type RetentionPolicy } from "./operations/backups/retention-policy.ts";
export type { RunStatus } from "./operations/backups/run-status.ts";
export { type ConfigReport, type ConfigRequest, config } from "./operations/config.ts";
export type { ConfigFlags } from "./operations/config-plan.ts";
export {
  createContext,
  DEFAULT_MAX_MEMORY_BYTES,
  type MemoryLimits,
  type OperationContext,
} from "./operations/context.ts";
export { type ConvertReport, type ConvertRequest, convert } from "./operations/convert.ts";
export {
  type DiffCounts,
  type Difference,
  type DiffPart,
  type DiffReport,
  type DiffRequest,
  type DiffSide,
  diff,
  type FactChange,
  type FactName,
  type FactTime,
  type FactValue,
  isTreeChange,
  type TreeChange,
  type ValueChange,
} from "./operations/diff.ts";
export { type DumpRequest, dump } from "./operations/dump.ts";
export { type FormatReport, type FormatRequest, format } from "./operations/format.ts";
export type { FormatFlags } from "./operations/format-plan.ts";
export { type LoadRequest, load } from "./operations/load.ts";
export type { Manifest } from "./operations/manifest.ts";
export { type MigrateRequest, migrate } from "./operations/migrate.ts";
export type {
  CounterValues,
  DumpReport,
  Finding,
  LoadReport,
  RecordCounts,
  ReportBase,
} from "./operations/report.ts";
export type { Session } from "./operations/session-info.ts";
export {
  type SessionReport,
  type SessionRequest,
  type StatusReport,
  type StatusRequest,
  sessionStatus,
  status,
  type VolumeSpace,
} from "./operations/status.ts";
export { sessionReportJson, statusJson } from "./operations/status-json.ts";
export type { UnsupportedOptions, UnsupportedReport } from "./operations/unsupported-values.ts";
export { type Damage, type VerifyReport, type VerifyRequest, verify } from "./operations/verify.ts";
export type { Problem } from "./tree/check-problems.ts";
export { formatSetting, parseSetting, type Setting, type SettingLayout, type Tier } from "./volume/setting.ts";
export { decryptAllSecrets, removeSecrets } from "./volume/setting-secrets.ts";
export type { UnsupportedKind, UnsupportedValue } from "./volume/value-limits.ts";
export { CLIENT_VERSION } from "./volume/version.ts";
