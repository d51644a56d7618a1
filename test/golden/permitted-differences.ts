/**
 * The only differences between a dump by decant and one by the reference of the same volume (docs/compatibility.md,
 * docs/spec/json-dump.md §13): text of the reference and what decant writes for it.
 */
export interface PermittedDifference {
  readonly section: string;
  readonly why: string;
  /** Whole lines without the line break, or a part of a line: it must stand exactly `count` times in the reference. */
  readonly reference: string;
  readonly decant: string;
  readonly count: number;
}

/** A real U+FFFD is cut to one byte by the reference: the names `/names/<U+FFFD>` and `/names/<U+FFFD><U+FFFD>x`. */
export const REPLACEMENT_CHARACTERS: readonly PermittedDifference[] = [
  { section: "13.2", why: "a real U+FFFD", reference: '"%EF": {', decant: '"%EF%BF%BD": {', count: 1 },
  { section: "13.2", why: "two of them", reference: '"%EF%EFx": {', decant: '"%EF%BF%BD%EF%BF%BDx": {', count: 1 },
];

/** By the reference dump below test/fixtures; what is not listed must be equal byte for byte. */
export const PERMITTED_DIFFERENCES: Readonly<Record<string, readonly PermittedDifference[]>> = {
  "golden/dumps/golden.json": REPLACEMENT_CHARACTERS,
  "golden/dumps/golden.json.gz": REPLACEMENT_CHARACTERS,
  "golden/dumps/golden.json.zstd": REPLACEMENT_CHARACTERS,
  "golden/dumps/golden.stdout.json": REPLACEMENT_CHARACTERS,
  "golden/dumps/golden.keep.json": REPLACEMENT_CHARACTERS,
  "golden/dumps/golden.fast.json": REPLACEMENT_CHARACTERS,
  "golden/dumps/golden.threads1.json": REPLACEMENT_CHARACTERS,
  "golden/dumps/golden.skip-trash.json": REPLACEMENT_CHARACTERS,
  "golden/dumps/golden.fast-skip-trash.json": REPLACEMENT_CHARACTERS,
  "golden/native/natsqlite.keep.json": REPLACEMENT_CHARACTERS,
  "golden/native/natsqlite.fast.json": REPLACEMENT_CHARACTERS,
  "golden/native/natsqlite.skip-trash.json": REPLACEMENT_CHARACTERS,
  "golden/native/awkward.keep.json": REPLACEMENT_CHARACTERS,
  "golden/native/awkward.fast.json": REPLACEMENT_CHARACTERS,
  "golden/native/awkward.skip-trash.json": REPLACEMENT_CHARACTERS,
  "legacy/legacy-1-3-0.json": REPLACEMENT_CHARACTERS,
  "legacy/legacy-1-3-0.keep.json": REPLACEMENT_CHARACTERS,
  "legacy/legacy-1-3-1.json": REPLACEMENT_CHARACTERS,
  "legacy/legacy-1-3-1.keep.json": REPLACEMENT_CHARACTERS,
};

/** The reference's dump as decant must write it. Throws when a permitted difference is not there as often as it must be. */
export function withPermittedDifferences(bytes: Buffer, differences: readonly PermittedDifference[]): Buffer {
  let text = bytes.toString("latin1"); // every byte stays itself
  for (const { reference, decant, count } of differences) {
    const parts = text.split(Buffer.from(reference).toString("latin1"));
    if (parts.length !== count + 1) throw new Error(`${reference} stands ${parts.length - 1} times, not ${count}`);
    text = parts.join(Buffer.from(decant).toString("latin1"));
  }
  return Buffer.from(text, "latin1");
}
