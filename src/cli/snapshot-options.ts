import { parseMaxPause, parseSnapshotMethod, type SnapshotChoice } from "../operations/snapshot-choice.ts";
import type { OptionSpec } from "./command-spec.ts";
import type { OptionValues } from "./option-values.ts";

/** For commands that read a volume which others write to. */
export const SNAPSHOT_OPTIONS: readonly OptionSpec[] = [
  {
    flags: "--snapshot <METHOD>",
    description:
      "of Redis, how to come to one instant: tracking (what changes meanwhile is read again), replica (a full resync as " +
      "replicas get it, the server forks), none (key by key, exit status 0 all the same), or auto: tracking, else replica where " +
      "the server permits it and has the memory, else key by key with exit status 3",
    default: "auto",
  },
  {
    flags: "--max-pause <DURATION>",
    description: "with tracking: for how long writers may be held where they leave no other instant; 0: not at all",
    default: "500ms",
  },
];

/** `snapshot` and `max-pause`, where they were given. */
export function snapshotChoice(options: OptionValues): SnapshotChoice {
  const [method, pause] = [options.text("snapshot"), options.text("max-pause")];
  return {
    ...(method === undefined ? {} : { snapshot: parseSnapshotMethod(method) }),
    ...(pause === undefined ? {} : { maxPauseMs: parseMaxPause(pause) }),
  };
}
