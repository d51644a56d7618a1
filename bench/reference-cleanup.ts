const DAY_MS = 86_400_000;

/**
 * What the reference's clean-up keeps of its own backups (docs/spec/auto-backup.md §8, six rules), for comparison only. Times in
 * milliseconds of Unix time, in any order; names that are no backups do not occur here.
 */
export function referenceKeeps(times: readonly number[], now: number): number[] {
  const cutoff = new Date(now);
  cutoff.setUTCFullYear(cutoff.getUTCFullYear() - 2);
  const kept: number[] = [];
  let bucket: number[] = [];
  let days = 2;
  let edge = now - days * DAY_MS;
  // Of each bucket its oldest member, which is the last of a walk from the newest.
  const close = () => {
    if (bucket.length > 0) kept.push(bucket.at(-1)!);
    bucket = [];
  };
  for (const time of [...times].sort((a, b) => b - a)) {
    if (time < cutoff.getTime()) break;
    if (time < edge) {
      close();
      while (time < edge) {
        const step = days < 14 ? 1 : days < 60 ? 7 : 30;
        days += step;
        edge -= step * DAY_MS;
      }
      bucket.push(time);
    } else if (days > 2) {
      bucket.push(time);
    } else {
      kept.push(time);
    }
  }
  close();
  return kept;
}
