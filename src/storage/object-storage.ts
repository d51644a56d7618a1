/**
 * The part of an object storage that the volume commands need. Keys are below the volume's prefix. Errors are those of the
 * store; whoever calls puts them into words.
 */
export interface ObjectStorage {
  /** For people, as the reference names it: `file:///data/evol/` (docs/spec/object-storage.md §4). */
  readonly displayName: string;
  put(key: string, data: Buffer): Promise<void>;
  get(key: string): Promise<Buffer>;
  /** No error when there is no such object. */
  delete(key: string): Promise<void>;
  /** The first object outside `testing/` that is not empty, undefined when there is none. */
  findForeignObject(): Promise<string | undefined>;
}
