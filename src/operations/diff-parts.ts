import { FACT_NAMES, type FactName } from "../tree/fact-names.ts";

const VOLUME_PARTS = ["settings", "counters", "quotas", "deleted-files"] as const;

/** What need not be compared: a property of files, or a part of the volume. */
export type DiffPart = FactName | (typeof VOLUME_PARTS)[number];

export const DIFF_PARTS: readonly DiffPart[] = [...FACT_NAMES, ...VOLUME_PARTS];
