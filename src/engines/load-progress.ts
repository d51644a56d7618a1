import type { LoadCheckpoint, LoadProgress, LoadStamp } from "./engine.ts";

/** Key or row beside the marker of a load that runs or was cut off; no volume and no client has it. */
export const PROGRESS_NAME = "decantLoadProgress";

/** One line of JSON: stamp and position. */
export function encodeProgress({ stamp, checkpoint, announced }: LoadProgress): Buffer {
  return Buffer.from(JSON.stringify({ ...stamp, checkpoint, announced }));
}

/** Undefined for what is no such text: a load of another version has left it. */
export function parseProgress(value: Uint8Array | undefined): LoadProgress | undefined {
  if (value === undefined) return undefined;
  try {
    const { checkpoint, announced, ...stamp } = JSON.parse(Buffer.from(value).toString()) as Partial<LoadStamp> & {
      checkpoint?: Partial<LoadCheckpoint>;
      announced?: Partial<LoadCheckpoint>[];
    };
    if (!isStamp(stamp) || !Array.isArray(announced) || !announced.every(isCheckpoint)) return undefined;
    if (checkpoint === undefined) return { stamp, checkpoint: undefined, announced };
    return isCheckpoint(checkpoint) ? { stamp, checkpoint, announced } : undefined;
  } catch {
    return undefined;
  }
}

function isStamp(stamp: Partial<LoadStamp>): stamp is LoadStamp {
  const { host, process, began, version, source, maxBytes } = stamp;
  const texts = [host, began, version, source].every((value) => typeof value === "string");
  return texts && Number.isSafeInteger(process) && Number.isSafeInteger(maxBytes);
}

function isCheckpoint(checkpoint: Partial<LoadCheckpoint>): checkpoint is LoadCheckpoint {
  const { batches, digest } = checkpoint;
  return Number.isSafeInteger(batches) && batches! > 0 && /^[0-9a-f]{64}$/.test(digest ?? "");
}
