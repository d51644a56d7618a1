import { silentLogger } from "../../src/base/logger.ts";
import type { MetadataStore, SnapshotLoss, SnapshotMethod } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { comparable } from "../conformance/engine-records.ts";
import { collectRecords, ENGINE_KINDS } from "./collect-records.ts";

const signal = new AbortController().signal;

/** What a snapshot gave of a volume: records by kind as text, and losses as `kind inode: message`. */
export interface Salvaged {
  readonly setting: string;
  readonly records: Record<string, string[]>;
  readonly losses: string[];
  /** Texts of notes that say that something is lost. */
  readonly noted: string[];
}

export interface SalvageOptions {
  /** False: without `onLoss`. Default true. */
  readonly salvages?: boolean;
  readonly method?: SnapshotMethod;
  readonly root?: bigint;
}

/** Reads all of a volume, by its address. */
export async function readSalvaged(address: string, options: SalvageOptions = {}): Promise<Salvaged> {
  const store = await openStore(address, { logger: silentLogger, signal, env: {} });
  try {
    return await salvageStore(store, options);
  } finally {
    await store.close();
  }
}

export async function salvageStore(store: MetadataStore, options: SalvageOptions = {}): Promise<Salvaged> {
  const losses: string[] = [];
  const { salvages = true, method, root } = options;
  const onLoss = ({ kind, inode, message }: SnapshotLoss): void => {
    losses.push(`${[kind ?? "?", inode].filter((part) => part !== undefined).join(" ")}: ${message}`);
  };
  const snapshot = await store.openSnapshot({
    signal,
    logger: silentLogger,
    ...(method === undefined ? {} : { method }),
    ...(salvages ? { onLoss } : {}),
  });
  try {
    const selection = { kinds: ENGINE_KINDS, ...(root === undefined ? {} : { root }) };
    const records = comparable(await collectRecords(snapshot.records(selection)));
    for (const lines of Object.values(records)) lines.sort();
    const noted = snapshot.notes.filter(({ loss }) => loss).map(({ text }) => text);
    return { setting: snapshot.setting.toString(), records, losses: losses.sort(), noted };
  } finally {
    await snapshot.close();
  }
}

/** Lines of `before` that `after` does not have, by kind: kinds without any are left out. */
export function missingRecords(before: Salvaged, after: Salvaged): Record<string, string[]> {
  const missing: Record<string, string[]> = {};
  for (const [kind, lines] of Object.entries(before.records)) {
    const left = new Map<string, number>();
    for (const line of after.records[kind] ?? []) left.set(line, (left.get(line) ?? 0) + 1);
    const gone = lines.filter((line) => {
      const count = left.get(line) ?? 0;
      left.set(line, count - 1);
      return count <= 0;
    });
    if (gone.length > 0) missing[kind] = gone;
  }
  return missing;
}
