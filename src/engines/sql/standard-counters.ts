/** Counters that are always given; the table may lack some (docs/spec/sql.md §5). */
export const STANDARD_COUNTERS: readonly string[] = [
  ...["usedSpace", "totalInodes", "nextInode", "nextChunk", "nextSession", "nextTrash"],
];
