import { recycle } from "../base/bytes.ts";
import { DataError } from "../base/errors.ts";
import type { JsonValue } from "../base/json-text.ts";
import { formatCount } from "../base/units.ts";
import type { UnnamedValues } from "../tree/unnamed-values.ts";
import type { UnsupportedStage } from "../tree/unsupported-values.ts";
import type { FindingList } from "../volume/findings.ts";
import { printableName } from "../volume/path.ts";
import type { RecordStream } from "../volume/records.ts";
import type { UnsupportedKind, UnsupportedValue, ValueLimits } from "../volume/value-limits.ts";
import { ReportFile } from "./report-file.ts";

/** What to do with values that the target cannot hold. */
export interface UnsupportedOptions {
  /** `stop`: load nothing, and name them all. `skip`: load the rest, and report them as losses. */
  readonly action: "stop" | "skip";
  /** Where each of them is written, one JSON document per line (docs/json-output.md). */
  readonly reportFile?: string;
}

export const STOP_ON_UNSUPPORTED: UnsupportedOptions = { action: "stop" };

/** What finds the values in records of one shape. */
export interface UnsupportedSearch {
  readonly stage: UnsupportedStage;
  /** Where the stage gives no paths: values wait there until the records are read once more, where that is possible. */
  readonly unnamed?: { readonly values: UnnamedValues; readAgain(): RecordStream | undefined };
}

/** Values that the target could not hold. */
export interface UnsupportedReport {
  readonly count: number;
  /** The first `MAX_LISTED` of them; a report file has all. */
  readonly values: readonly UnsupportedValue[];
}

/** More than these are only counted: memory is bounded, and nobody reads on. */
export const MAX_LISTED = 10_000;
/** Values longer than this are only kept in the report file. */
const MAX_KEPT_BYTES = 1024;

/** Names and texts of findings by kind, with the engine's name in front. */
const FINDINGS: Readonly<Record<UnsupportedKind, readonly [kind: string, text: string]>> = {
  uid: ["unsupported-owner", "cannot hold the owner of a file: it belongs to 65534 (nobody) now"],
  gid: ["unsupported-owner", "cannot hold the group of a file: it belongs to 65534 (nogroup) now"],
  rdev: ["unsupported-device", "cannot hold the number of a device: the device was left out"],
  symlink: ["unsupported-symlink", "cannot hold the target of a symbolic link: the link was left out"],
  xattr: ["unsupported-xattr", "cannot hold an extended attribute: it was left out"],
  chunk: ["unsupported-chunk", "cannot hold the slices of a chunk: the file reads as zeros there"],
};

/** Collects what a target cannot hold while records pass, and keeps it from it. */
export class UnsupportedValues {
  readonly #options: UnsupportedOptions;
  readonly #limits: ValueLimits;
  readonly #findings: FindingList;
  readonly #values: UnsupportedValue[] = [];
  #count = 0;
  #file: ReportFile | undefined;

  constructor(limits: ValueLimits, options: UnsupportedOptions, findings: FindingList) {
    this.#limits = limits;
    this.#options = options;
    this.#findings = findings;
  }

  get report(): UnsupportedReport {
    return { count: this.#count, values: this.#values };
  }

  /**
   * The records without what the target cannot hold. To be stopped by the first such value, it calls `beforeStop`, gives nothing more, and
   * when all is read throws a `DataError` that names every one.
   */
  async *filter(
    records: RecordStream,
    beforeStop: () => Promise<void>,
    { stage, unnamed }: UnsupportedSearch,
  ): RecordStream {
    const { action, reportFile } = this.#options;
    let found = 0;
    const onValue = (value: UnsupportedValue): void => {
      found++;
      if (unnamed === undefined) this.#add(value);
      else unnamed.values.add(value);
    };
    if (reportFile !== undefined) this.#file = new ReportFile(reportFile, "--unsupported-report");
    try {
      let isStopping = false;
      for await (const batch of stage(records, this.#limits, onValue)) {
        if (action === "skip" || found === 0) {
          yield batch;
          continue;
        }
        if (!isStopping) await beforeStop();
        isStopping = true;
        recycle(batch.bytes);
      }
      if (unnamed !== undefined && found > 0) {
        for await (const value of unnamed.values.named(unnamed.readAgain())) this.#add(value);
      }
      this.#file?.flush();
    } finally {
      this.#file?.close();
      unnamed?.values.close();
    }
    if (action === "stop" && this.#count > 0) throw this.#error();
  }

  #add(value: UnsupportedValue): void {
    this.#count++;
    this.#file?.add(unsupportedJson(value, true));
    if (this.#values.length < MAX_LISTED) this.#values.push(shortened(value));
    if (this.#options.action === "stop") return;
    const [kind, text] = FINDINGS[value.kind];
    this.#findings.addOther(kind, `${this.#limits.engineName} ${text}`, true, () => value.path);
  }

  #error(): DataError {
    const { engineName } = this.#limits;
    const more = this.#count - this.#values.length;
    const details = this.#values.map(unsupportedText);
    if (more > 0) details.push(`and ${formatCount(more)} more: --unsupported-report FILE writes all of them`);
    const what = this.#count === 1 ? "a value" : `${formatCount(this.#count)} values`;
    return new DataError(
      "DECANT_E_UNSUPPORTED_VALUE",
      `${engineName} cannot hold ${what} of this volume; nothing was loaded`,
      {
        details,
        location: { path: this.#values[0]!.path },
        hint:
          "The reference client cannot store them there either: change them in the source, load into another kind of database, " +
          "or leave them out with --on-unsupported skip",
      },
    );
  }
}

/** `/a/b (inode 12): extended attribute user.a: its name is not UTF-8` */
export function unsupportedText(value: UnsupportedValue): string {
  return `${value.path} (inode ${value.inode}): ${valueName(value)}: ${value.reason}`;
}

function valueName(value: UnsupportedValue): string {
  switch (value.kind) {
    case "uid":
    case "gid":
      return `${value.kind} ${value.value as number}`;
    case "rdev":
      return `device number ${value.value as number}`;
    case "symlink":
      return "target of the link";
    case "xattr":
      return `extended attribute ${printableName(value.name!)}`;
    case "chunk":
      return `slices of chunk ${value.index}`;
  }
}

/** One value for programs; `whole` with its bytes, so that nothing of what was left out is lost. */
export function unsupportedJson(value: UnsupportedValue, whole: boolean): JsonValue {
  const isNumber = typeof value.value === "number";
  return {
    kind: value.kind,
    path: value.path,
    inode: value.inode,
    ...(value.name === undefined ? {} : { name: printableName(value.name), nameBase64: value.name.toString("base64") }),
    ...(value.index === undefined ? {} : { index: value.index }),
    ...(isNumber ? { value: value.value as number } : {}),
    ...(!isNumber && whole ? { valueBase64: (value.value as Buffer).toString("base64") } : {}),
    reason: value.reason,
  };
}

function shortened(value: UnsupportedValue): UnsupportedValue {
  const isLong = typeof value.value !== "number" && value.value.length > MAX_KEPT_BYTES;
  return isLong ? { ...value, value: EMPTY } : value;
}

const EMPTY = Buffer.alloc(0);
