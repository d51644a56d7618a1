import { NotFoundError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { Loader, MetadataStore, NewVolume, SettingChange } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { encodeAttribute, newDirectoryAttribute } from "../../src/volume/attribute.ts";
import type { RecordKind } from "../../src/volume/records.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import {
  comparable,
  type RecordSet,
  SAMPLE_SETTING,
  type SampleLimits,
  sampleRecords,
  toBatches,
} from "./engine-records.ts";

/** What the suite needs to know of an engine. Every address is one that the engine's `open` takes. */
export interface EngineHarness {
  /** An empty database of its own for one test. */
  emptyAddress(): Promise<string>;
  /** Everything in a database, in a form in which equal means equal. */
  fingerprint(address: string): Promise<unknown>;
  /** Puts something into a database that is no part of a volume. */
  occupy(address: string): Promise<void>;
  /** False where a volume never has one, whatever its setting says. */
  readonly hasChangeLog?: boolean;
  /** The entries of a volume's change log, in their order. */
  changeLog(address: string): Promise<string[]>;
  /** An engine that creates a database with the first write has none to be read before. */
  readonly createsDatabase: boolean;
  /** False where there is a server whose clock cannot be asked for. */
  readonly tellsTime?: boolean;
  /** Whether a snapshot is one instant. */
  readonly pointInTime: boolean;
  /** Whether nothing is ever stored beyond a checkpoint: then nothing needs to be announced. */
  readonly exactCheckpoints?: boolean;
  /** Whether a load that still runs refuses those that would go on with it, instead of giving way. */
  readonly holdsItsPlace?: boolean;
  /** Kinds that are stored, but not returned where the rest of what they belong to is missing. */
  readonly omits?: readonly RecordKind[];
  /** What the engine has less room for than others. */
  readonly limits?: SampleLimits;
  /** Names of tests that fail and should not: the list may only shrink. */
  readonly knownFailures?: readonly string[];
}

/** Declares a test, as one that must fail when the harness lists it as a known failure. */
export type It = (title: string, run: () => Promise<void>) => void;

/** A database of its own for a test. */
export type Fresh = () => Promise<Bench>;

/** A signal that never fires. */
export const never: AbortSignal = new AbortController().signal;

/** What `createVolume` is given. */
export const NEW_VOLUME: NewVolume = {
  setting: SAMPLE_SETTING,
  root: encodeAttribute(newDirectoryAttribute(0o777, 1_700_000_000n)),
  trashRoot: encodeAttribute(newDirectoryAttribute(0o555, 1_700_000_000n)),
};

/** One database and the shortest ways to use it. */
export class Bench {
  readonly harness: EngineHarness;
  readonly address: string;

  constructor(harness: EngineHarness, address: string) {
    this.harness = harness;
    this.address = address;
  }

  open(signal: AbortSignal = never): Promise<MetadataStore> {
    return openStore(this.address, { logger: silentLogger, signal, env: {}, create: true });
  }

  /** A volume with as much of everything as the engine has room for. */
  sample(): RecordSet {
    return sampleRecords(this.harness.limits);
  }

  fingerprint(): Promise<unknown> {
    return this.harness.fingerprint(this.address);
  }

  async loader(options: { signal?: AbortSignal; sliceRefs?: "complete" | "exceptions" } = {}): Promise<Loader> {
    const { signal = never, sliceRefs = "complete" } = options;
    return (await this.open(signal)).openLoader({ signal, logger: silentLogger, sliceRefs });
  }

  async load(set: RecordSet, sliceRefs: "complete" | "exceptions" = "complete", perBatch = 7): Promise<void> {
    const loader = await this.loader({ sliceRefs });
    for (const batch of toBatches(set, perBatch)) await loader.write(batch);
    await loader.finish(SAMPLE_SETTING);
  }

  async read(kinds: ReadonlySet<RecordKind> = ENGINE_KINDS, root?: bigint): Promise<Record<string, string[]>> {
    const snapshot = await (await this.open()).openSnapshot({ signal: never, logger: silentLogger });
    try {
      const selection = root === undefined ? { kinds } : { kinds, root };
      return comparable(await collectRecords(snapshot.records(selection)));
    } finally {
      await snapshot.close();
    }
  }

  /** What is read of a set that was loaded. */
  expected(set: RecordSet): Record<string, string[]> {
    const omits: readonly string[] = this.harness.omits ?? [];
    return Object.fromEntries(Object.entries(comparable(set)).filter(([kind]) => !omits.includes(kind)));
  }

  /** The stored setting as another client sees it; also where the database does not exist yet. */
  async storedSetting(): Promise<string | undefined> {
    try {
      return (await (await this.open()).readSetting(never))?.toString();
    } catch (error) {
      if (error instanceof NotFoundError && this.harness.createsDatabase) return undefined;
      throw error;
    }
  }
}

/** A change that drops and adds nothing. */
export function change(setting: Buffer | undefined): SettingChange {
  return { setting, dropDirStats: false, dropUserGroupQuotas: false, trashRoot: undefined };
}

/** What a call throws, also when it throws before it returns a promise. */
export async function failureOf(attempt: () => Promise<unknown>): Promise<unknown> {
  try {
    await attempt();
  } catch (error) {
    return error;
  }
  return undefined;
}
