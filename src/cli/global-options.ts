import type { OptionSpec } from "./command-spec.ts";

/** Accepted before and after every command (docs/spec/cli.md §1). */
export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  { flags: "--json", description: "print the result as one JSON document" },
  { flags: "-q, --quiet", description: "show warning and errors only" },
  { flags: "-v, --verbose", description: "enable debug log" },
  { flags: "--debug", description: "same as --verbose", hidden: true },
  { flags: "--trace", description: "enable trace log" },
  {
    flags: "--log-level <LEVEL>",
    description: "trace, debug, info, warn, error, fatal or panic; overrides the flags above",
  },
  { flags: "--log-id <ID>", description: 'put [ID] before each log line; "random" makes one' },
  { flags: "--no-color", description: "disable colors (also NO_COLOR in the environment)" },
  { flags: "--no-agent", description: "accepted for compatibility, without effect", hidden: true },
  { flags: "--pyroscope <URL>", description: "accepted for compatibility, without effect", hidden: true },
];

/** Options of every command that reads or writes a whole volume. */
export const RESOURCE_OPTIONS: readonly OptionSpec[] = [
  {
    flags: "--max-memory <SIZE>",
    description: "memory for the index of the volume; the rest goes to the temporary directory (env DECANT_MAX_MEMORY)",
    default: "256M",
    group: "Resources",
  },
  {
    flags: "--tmp-dir <DIR>",
    description: "directory for temporary files (env DECANT_TMP_DIR, TMPDIR)",
    default: "the system's",
    group: "Resources",
  },
];
