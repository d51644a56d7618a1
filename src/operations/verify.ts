import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { DataError, type DataLocation } from "../base/errors.ts";
import type { Input } from "../formats/container/input.ts";
import { compressionOfName } from "../formats/container/output.ts";
import type { DumpFormat } from "../formats/dump-format.ts";
import { type Problem, type ProblemKind, ProblemList } from "../tree/check-problems.ts";
import { type CheckedVolume, checkFlatVolume, checkTreeVolume } from "../tree/check-volume.ts";
import { FindingList } from "../volume/findings.ts";
import type { RecordStream } from "../volume/records.ts";
import type { OperationContext } from "./context.ts";
import { type Decryption, type DumpFile, type DumpSource, decodeDump, openDumpFile } from "./dump-file.ts";
import { type Manifest, manifestOf, readManifest } from "./manifest.ts";
import type { RecordCounts } from "./report.ts";

export interface VerifyRequest {
  /** File to read, or a stream (stdin). Format and compression are told by content. */
  readonly source: DumpSource;
  /** For a file that is encrypted; pass phrase in `JFS_RSA_PASSPHRASE`. */
  readonly decryption?: Decryption;
  /** Manifest to compare with; default: the one beside the file, if there is one. */
  readonly manifest?: string;
  /** Take what may come from clients that were writing for damage too. */
  readonly strict?: boolean;
}

export interface VerifyReport {
  readonly operation: "verify";
  /** File name or "STDIN". */
  readonly source: string;
  /** Undefined where the file could not be read far enough to tell. */
  readonly format: DumpFormat | undefined;
  readonly container: Input["description"] | undefined;
  readonly volume: { readonly name: string; readonly uuid: string } | undefined;
  readonly counts: RecordCounts;
  /** No problem is an error. */
  readonly ok: boolean;
  readonly problems: readonly Problem[];
  /**
   * Why the file could not be read to its end. Nothing behind that place was checked, and nothing that needs the whole, except
   * where only the footer of a binary dump is wrong.
   */
  readonly damage: Damage | undefined;
  /** The manifest that the file was compared with. */
  readonly manifest: string | undefined;
  readonly readBytes: number;
  readonly durationMs: number;
}

export interface Damage {
  readonly code: string;
  readonly message: string;
  readonly hint: string | undefined;
  readonly location: DataLocation;
}

/**
 * Reads a whole dump and checks its bytes and its structure, within the memory ceiling. What is wrong is in the report;
 * throws only for what keeps it from looking: `NotFoundError`, `FileError`, `UsageError`, and `DataError` for a manifest that
 * cannot be read.
 */
export async function verify(request: VerifyRequest, context: OperationContext): Promise<VerifyReport> {
  const startedAt = performance.now();
  const { source } = request;
  const manifestPath = manifestPathOf(request);
  const manifest = manifestPath === undefined ? undefined : await readManifest(manifestPath);
  const problems = new ProblemList();
  const hash = manifest === undefined ? undefined : createHash("sha256");
  const run = new VerifyRun(request, context, problems);
  const checked = await run.check(hash === undefined ? undefined : (piece) => void hash.update(piece));
  if (manifest !== undefined && checked !== undefined) {
    compareManifest(manifest, run, checked, hash?.digest("hex") ?? "", problems);
  }
  const found = problems.all(request.strict ?? false);
  const setting = checked?.setting;
  return {
    operation: "verify",
    source: "file" in source ? source.file : "STDIN",
    format: run.format,
    container: run.container,
    volume: setting === undefined ? undefined : { name: setting.name, uuid: setting.uuid },
    counts: checked?.counts ?? {},
    ok: !found.some(({ severity }) => severity === "error"),
    problems: found,
    damage: run.damage,
    manifest: manifestPath,
    readBytes: run.readBytes,
    durationMs: performance.now() - startedAt,
  };
}

function manifestPathOf({ manifest, source }: VerifyRequest): string | undefined {
  if (manifest !== undefined || !("file" in source)) return manifest;
  const beside = manifestOf(source.file);
  return existsSync(beside) ? beside : undefined;
}

/** One reading of a dump, and what became known on the way. */
class VerifyRun {
  format: DumpFormat | undefined;
  container: Input["description"] | undefined;
  damage: Damage | undefined;
  readBytes = 0;
  readonly #request: VerifyRequest;
  readonly #context: OperationContext;
  readonly #problems: ProblemList;

  constructor(request: VerifyRequest, context: OperationContext, problems: ProblemList) {
    this.#request = request;
    this.#context = context;
    this.#problems = problems;
  }

  /** Undefined when the file is damaged. */
  async check(onRead: ((piece: Buffer) => void) | undefined): Promise<CheckedVolume | undefined> {
    try {
      return await this.#check(onRead);
    } catch (error) {
      this.#noteDamage(error);
      return undefined;
    }
  }

  #noteDamage(error: unknown): void {
    if (!(error instanceof DataError)) throw error;
    const { code, message, hint, location } = error;
    this.damage = { code, message, hint, location };
    this.#problems.add("unreadable", () => ({ detail: message }));
  }

  async #check(onRead: ((piece: Buffer) => void) | undefined): Promise<CheckedVolume> {
    const { source, decryption } = this.#request;
    const dump = await openDumpFile(source, decryption, this.#context, onRead === undefined ? {} : { onRead });
    try {
      this.container = dump.description;
      this.format = dump.format;
      this.#checkName(dump.description);
      return await (dump.format === "json" ? this.#checkJson(dump) : this.#checkBinary(dump));
    } finally {
      this.readBytes = dump.readBytes();
      await dump.close();
    }
  }

  #checkName(container: Input["description"]): void {
    const { source } = this.#request;
    if (!("file" in source) || container.startsWith("encrypted")) return;
    const named = compressionOfName(source.file);
    const content = container === "plain" ? "none" : container;
    if (named !== content) this.#problems.add("compression-name", () => ({ detail: `its content is ${container}` }));
  }

  #checkJson(dump: DumpFile): Promise<CheckedVolume> {
    const { memory, signal } = this.#context;
    const problems = this.#problems;
    const addOther = (kind: string, text: string, _loss: boolean, example?: () => string): void => {
      const known = WARNINGS[kind];
      if (known === "checked") return;
      const shown = example?.();
      const detail = known === undefined ? `${text}: ${shown}` : shown;
      problems.add(known ?? "odd-text", detail === undefined ? undefined : () => ({ detail }));
    };
    return checkTreeVolume(decodeDump("json", dump.bytes, { addOther }, signal, { strictText: true }), {
      ...memory,
      signal,
      problems,
      ...(dump.totalBytes === undefined ? {} : { readAgain: () => this.#readAgain() }),
    });
  }

  /** For the paths of what only shows at the end. */
  async *#readAgain(): RecordStream {
    const { source, decryption } = this.#request;
    const dump = await openDumpFile(source, decryption, this.#context);
    try {
      yield* decodeDump(dump.format, dump.bytes, new FindingList(), this.#context.signal);
    } finally {
      await dump.close();
    }
  }

  async *#withoutFooterDamage(records: RecordStream): RecordStream {
    try {
      yield* records;
    } catch (error) {
      if (!(error instanceof DataError) || !FOOTER_CODES.has(error.code)) throw error;
      this.#noteDamage(error);
    }
  }

  #checkBinary(dump: DumpFile): Promise<CheckedVolume> {
    const { memory, signal, progress } = this.#context;
    const totalBytes = dump.description === "plain" ? dump.totalBytes : undefined;
    // Every record is looked at again, with its path.
    const records = decodeDump("binary", dump.bytes, { addOther: () => undefined }, signal, { totalBytes });
    return checkFlatVolume(this.#withoutFooterDamage(records), {
      ...memory,
      signal,
      problems: this.#problems,
      hasParents: true,
      beginSorting: () => progress.begin("Sorting into tree order"),
    });
  }
}

/** What the footer says comes behind all records: where it is wrong, they can be checked all the same. */
const FOOTER_CODES: ReadonlySet<string> = new Set(["DECANT_E_BINARY_FOOTER", "DECANT_E_BINARY_VERSION"]);

/** What the JSON decoder warns of, as problems; `checked`: found by the checks too. */
const WARNINGS: Readonly<Record<string, ProblemKind | "checked">> = {
  "unknown-member": "unknown-member",
  "missing-attribute": "missing-attribute",
  "odd-text": "odd-text",
  "symlink-without-target": "checked",
};

function compareManifest(
  manifest: Manifest,
  run: VerifyRun,
  checked: CheckedVolume,
  sha256: string,
  problems: ProblemList,
): void {
  if (run.readBytes !== manifest.writtenBytes) {
    const detail = `${run.readBytes} bytes instead of ${manifest.writtenBytes}`;
    problems.add("manifest-size", () => ({ detail }));
  }
  if (sha256 !== manifest.sha256) problems.add("manifest-hash", () => ({ detail: sha256 }));
  if (run.format !== manifest.format) {
    problems.add("manifest-counts", () => ({ detail: `format ${run.format} instead of ${manifest.format}` }));
  }
  for (const [kind, count] of Object.entries(manifest.counts)) {
    const found = checked.counts[kind as keyof RecordCounts] ?? 0;
    if (found === count) continue;
    problems.add("manifest-counts", () => ({ detail: `${kind}: ${found} instead of ${count}` }));
  }
  const uuid = checked.setting?.uuid;
  if (uuid !== undefined && uuid !== manifest.volume.uuid) {
    problems.add("manifest-volume", () => ({ detail: `${manifest.volume.name} (${manifest.volume.uuid})` }));
  }
}
