import type { OptionSpec } from "./command-spec.ts";
import type { OptionValues } from "./option-values.ts";

/** For commands that write a whole volume into an empty target. */
export const RESUME_OPTIONS: readonly OptionSpec[] = [
  { flags: "--clean", description: "first remove what a load of decant that was cut off has left in the target" },
  {
    flags: "--resume",
    description: "go on with such a load, where there is one, and keep what is stored when this one fails",
  },
  {
    flags: "--checkpoint-every <SIZE>",
    description: "bytes of records after which a load that is cut off can go on; 0: it begins again",
    default: "128M",
  },
];

export function resumeOptions(options: OptionValues): {
  readonly clean: boolean;
  readonly resume: boolean;
  readonly checkpointBytes?: number;
} {
  const checkpointBytes = options.size("checkpoint-every", "M");
  return {
    clean: options.flag("clean"),
    resume: options.flag("resume"),
    ...(checkpointBytes === undefined ? {} : { checkpointBytes: Number(checkpointBytes) }),
  };
}
