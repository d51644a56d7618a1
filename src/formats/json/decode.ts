import { DataError } from "../../base/errors.ts";
import { TRASH_INODE } from "../../volume/inode.ts";
import { type RecordBatch, type RecordStream, unpackBatch } from "../../volume/records.ts";
import { assertJson, byteOrderMarkLength } from "./decode-detect.ts";
import { SectionDecoder, type SectionName } from "./decode-sections.ts";
import { TreeDecoder } from "./decode-tree.ts";
import { JsonSkipper } from "./json-skip.ts";
import { JsonTokens } from "./json-tokens.ts";
import { DAMAGE_HINT, NEED_DATA } from "./json-window.ts";

export interface JsonDecodeOptions {
  readonly signal: AbortSignal;
  /**
   * Gets everything that was read although it is not as a dump should be. `kind` is stable: `unknown-member`,
   * `missing-attribute`, `mode-bits`, `symlink-without-target`, `xattr-value`, `null-section`. `example` says where; only the first
   * `MAX_EXAMPLES` calls of a kind have one.
   */
  onWarning(kind: string, text: string, example?: string): void;
  /** Also warn of `odd-text`: text that can be read, but that no dump has. */
  readonly strictText?: boolean;
  /**
   * Go on behind what cannot be understood, as far as that is possible: it is left out, and its error given here. A document
   * may then be without counters. Where nothing can be read any more the stream ends with an error as ever, after all that was
   * read.
   */
  readonly onLeftOut?: (error: DataError, what: LeftOut, line: number) => void;
  /** With `onLeftOut`: keep entries whose directory is lost, in new directories `lost+found-OFFSET`. */
  readonly lostFound?: boolean;
}

/**
 * What was left out: an `entry` with everything below it; a `part` of an entry that is kept: chunks or extended attributes, or one member;
 * members of a `directory`, attributes maybe among them, while its entries are kept; the `name` of an entry that is kept under another one;
 * a `value` before the trees (a counter, a quota, a section that is none); or text that is no JSON: `lines` as far as the next entry with
 * which reading goes on in line `line`, `text` as far as the next section.
 */
export type LeftOut = "entry" | "part" | "directory" | "name" | "value" | "lines" | "text";

/** For tests. */
export interface JsonDecodeTuning {
  /** How much to read before a step is tried again. */
  readonly refillBytes?: number;
  readonly maxTokenBytes?: number;
}

/** Calls of `onWarning` of one kind that carry an example: making one costs more than reading an entry. */
export const MAX_EXAMPLES = 10;

const DEFAULT_REFILL_BYTES = 256 * 1024;
/** Where numbers for directories begin that have lost theirs, in a dump without counters: no volume has come so far. */
const UNUSED_INODE = 1n << 48n;
const UNUSED_TRASH = 1n << 27n;
/** Enough to tell what an input is. */
const HEAD_BYTES = 16;

/**
 * Reads a JSON dump (docs/spec/json-dump.md) into batches, in the order of the document: `setting`, `counter` (SQL sense,
 * docs/spec/sql.md §5), `sustained`, `delFile`, `quota`, `userQuota`, `groupQuota` (used values 0), `changeLog`, `acl` and
 * `tree`. ACL rules are numbered in order of first appearance and come before the first entry that names them. Members may
 * stand in any order, except that `attr` precedes `entries`.
 *
 * Attributes are as the document has them: parent 0, length 0 for directories and symlinks, a root of any inode. What can
 * only be seen by comparing entries (one inode at several places, cycles) is left to the consolidation of the tree.
 *
 * Throws `DataError` with offset, line and path for everything that is damaged; a document is only complete when the
 * stream ends without. Memory is bounded by the largest single value and the depth of the tree, not by the document. The
 * input is read in pieces of any size; the pieces are copied.
 */
export async function* decodeJsonDump(
  input: AsyncIterable<Uint8Array>,
  options: JsonDecodeOptions,
  tuning: JsonDecodeTuning = {},
): RecordStream {
  const iterator = input[Symbol.asyncIterator]();
  const decoder = new DumpDecoder(options, tuning.maxTokenBytes);
  const refillBytes = tuning.refillBytes ?? DEFAULT_REFILL_BYTES;
  let isEnd = false;
  try {
    while (!decoder.isDone) {
      const needsData = decoder.run();
      yield* decoder.takeBatches();
      if (!needsData) continue;
      options.signal.throwIfAborted();
      if (isEnd) decoder.finish();
      // A step that has failed at this length once must not fail at nearly the same length again and again.
      const wanted = decoder.received + Math.max(refillBytes, decoder.pending);
      while (!isEnd && decoder.received < wanted) {
        const next = await iterator.next();
        if (next.done) isEnd = true;
        else decoder.append(next.value);
      }
    }
  } catch (error) {
    if (options.onLeftOut !== undefined) yield* decoder.takeRest();
    throw error;
  } finally {
    await iterator.return?.();
  }
}

const START = 0;
const FIRST_SECTION = 1;
const NEXT_SECTION = 2;
const IN_SECTION = 3;
const IN_TREE = 4;
const SKIP = 5;
const END = 6;
const FIND_SECTION = 7;

const SECTIONS: ReadonlySet<string> = new Set([
  "Setting",
  "Counters",
  "Sustained",
  "DelFiles",
  "Quotas",
  "UserQuotas",
  "GroupQuotas",
  "ChangeLog",
] satisfies SectionName[]);
const REQUIRED = ["Setting", "Counters", "FSTree"] as const;
const REQUIRED_TO_SAVE = ["Setting", "FSTree"] as const;
/** More than the name of any section, with its quotes and what stands around it. */
const MAX_SECTION_BYTES = 32;

const TRASH_ROOT = `"attr": {"inode":${TRASH_INODE},`;
/** Within so many bytes of a tree its root says its inode. */
const MAX_ROOT_BYTES = 64;

/** The top level of a document, as a machine that runs without waiting until it lacks data or has batches. */
class DumpDecoder {
  isDone = false;
  readonly #tokens: JsonTokens;
  readonly #skipper: JsonSkipper;
  readonly #sections: SectionDecoder;
  readonly #tree: TreeDecoder;
  readonly #options: JsonDecodeOptions;
  readonly #seen = new Set<string>();
  readonly #examples = new Map<string, number>();
  #batches: RecordBatch[] = [];
  #warnings: { kind: string; text: string; example: string | undefined }[] = [];
  #state = START;
  #section = "";
  #nextInode = UNUSED_INODE;
  #nextTrash = UNUSED_TRASH;
  /** A tree was read again behind text that is no JSON: what follows it may lack its comma. */
  #hasFoundEntry = false;
  /** What is being passed over, or was passed over last. */
  #leftOut: { readonly error: DataError; readonly what: LeftOut } | undefined;
  /** What was found wrong first, in text that was passed over. */
  #damage: DataError | undefined;
  /** Input that came before it could be judged. */
  #head: Buffer | undefined = Buffer.alloc(0);

  constructor(options: JsonDecodeOptions, maxTokenBytes?: number) {
    this.#options = options;
    this.#tokens = new JsonTokens(maxTokenBytes);
    this.#tokens.describe = () => this.#describe();
    this.#skipper = new JsonSkipper(this.#tokens);
    const warn = (kind: string, text: string, member?: string): void => this.#warn(kind, text, member);
    this.#sections = new SectionDecoder(this.#tokens, this.#skipper, warn);
    this.#tree = new TreeDecoder(
      this.#tokens,
      this.#skipper,
      warn,
      () => this.#commit(),
      options.onLeftOut === undefined
        ? undefined
        : {
            newInode: (isTrash) => (isTrash ? TRASH_INODE + ++this.#nextTrash : this.#nextInode++),
            lostFound: options.lostFound === true,
          },
    );
  }

  get received(): number {
    return this.#head?.length ?? this.#tokens.received;
  }

  get pending(): number {
    return this.#tokens.pending;
  }

  append(chunk: Uint8Array): void {
    if (this.#head === undefined) {
      this.#tokens.append(chunk);
      return;
    }
    const head = Buffer.concat([this.#head, chunk]);
    this.#head = head;
    if (head.length >= HEAD_BYTES) this.#judgeHead(head);
  }

  #judgeHead(head: Buffer): void {
    this.#head = undefined;
    assertJson(head.subarray(0, HEAD_BYTES));
    this.#tokens.append(head);
    this.#tokens.at = byteOrderMarkLength(head);
    this.#tokens.commit();
  }

  takeBatches(): RecordBatch[] {
    const batches = this.#batches;
    this.#batches = [];
    return batches;
  }

  /** Runs steps until there are batches or the document has ended (false), or more input is needed (true). */
  run(): boolean {
    try {
      while (this.#batches.length === 0 && !this.isDone) this.#step();
      this.#noteLeftOut(this.isDone);
      return false;
    } catch (error) {
      if (error !== NEED_DATA && !this.#leaveOut(error)) throw error;
      this.#tokens.rewind();
      this.#tokens.oddText = undefined;
      this.#warnings = [];
      return error === NEED_DATA;
    }
  }

  /** Makes the steps that follow pass over what is at hand, if that is wanted and possible. */
  #leaveOut(error: unknown): boolean {
    if (this.#options.onLeftOut === undefined || !(error instanceof DataError) || this.#head !== undefined)
      return false;
    this.#noteLeftOut();
    if (this.#state === IN_TREE && this.#tree.salvager?.skipEntry() === true) this.#leftOut = { error, what: "entry" };
    else if (this.#state === IN_SECTION && this.#sections.skipElement()) this.#leftOut = { error, what: "value" };
    else if (this.#state === IN_TREE && this.#tree.salvager?.findEntry(this.#leftOut?.error ?? error) === true) {
      this.#leftOut = { error: this.#leftOut?.error ?? error, what: "lines" };
      this.#hasFoundEntry = true;
    } else if (this.#canFindSection()) {
      const first = this.#leftOut?.error ?? error;
      this.#options.onLeftOut(first, "text", 0);
      this.#leftOut = undefined;
      this.#damage ??= first;
      this.#state = FIND_SECTION;
    } else return false;
    return true;
  }

  /** Gives away what was left out, unless it is still being passed: that may fail, and more is lost then. */
  #noteLeftOut(isEnd = false): void {
    if (
      this.#leftOut === undefined ||
      (!isEnd && (this.#tree.salvager?.isSkipping === true || this.#sections.isSkipping))
    )
      return;
    const { error, what } = this.#leftOut;
    this.#leftOut = undefined;
    const kept = what === "entry" ? this.#tree.salvager?.kept : undefined;
    this.#options.onLeftOut?.(error, kept ?? what, this.#tree.salvager?.foundLine ?? 0);
  }

  /** Whether reading may go on with a later section. Without the setting, or a tree that has begun, nothing can be made. */
  #canFindSection(): boolean {
    if (this.#state === END || this.#seen.has("Trash")) return false;
    if (this.#state === IN_SECTION) return this.#section !== "Setting";
    return this.#state !== IN_TREE || this.#tree.salvager?.abandon() === true;
  }

  /** Passes over text until a section begins that was not read yet. Within strings, the quotes would be escaped. */
  #findSection(): void {
    const tokens = this.#tokens;
    const wanted = this.#seen.has("FSTree") ? ["Trash"] : [...SECTIONS, "FSTree", "Trash"];
    const places = wanted
      .filter((name) => !this.#seen.has(name))
      // Below the tree of files, an entry may have this name.
      .map((name) => (name === "Trash" ? '\n  "Trash": {' : `"${name}":`))
      .map((text) => tokens.find(text))
      .filter((at) => at >= 0);
    if (places.length === 0) {
      tokens.skipAllBut(MAX_SECTION_BYTES);
      tokens.commit();
      throw NEED_DATA;
    }
    tokens.skipTo(Math.min(...places));
    this.#state = FIRST_SECTION;
  }

  /** Everything that was read and not given yet. */
  takeRest(): RecordBatch[] {
    this.#noteLeftOut(true);
    const batches = this.takeBatches();
    this.#tree.takeRest(batches);
    return batches;
  }

  /** The input has ended where `run` wants more. */
  finish(): void {
    if (this.#head !== undefined) {
      this.#judgeHead(this.#head);
      return;
    }
    if (this.#state === END) {
      this.#noteLeftOut(true);
      this.isDone = true;
      return;
    }
    if (this.#state === FIND_SECTION) throw this.#damage!;
    const tokens = this.#tokens;
    tokens.skipToEnd();
    throw tokens.error(
      "DECANT_E_JSON_TRUNCATED",
      "the document ends here, before it is complete",
      "The file was cut off, perhaps by a full disk or a broken transfer; take another copy or an earlier backup",
    );
  }

  #step(): void {
    this.#tokens.isSalvaging = this.#state === IN_TREE && this.#options.onLeftOut !== undefined;
    switch (this.#state) {
      case IN_TREE: {
        if (this.#tree.run(this.#batches)) this.#state = NEXT_SECTION;
        return;
      }
      case IN_SECTION:
        if (this.#sections.step(this.#batches)) this.#state = NEXT_SECTION;
        this.#takeCounters();
        break;
      case SKIP:
        this.#skipper.run(true);
        this.#state = NEXT_SECTION;
        break;
      case END:
        this.#tokens.peek();
        throw this.#trailing();
      case FIND_SECTION:
        this.#findSection();
        break;
      case START:
        this.#tokens.expect(0x7b, "'{'");
        this.#state = FIRST_SECTION;
        break;
      default:
        this.#nextSection();
    }
    this.#commit();
  }

  #takeCounters(): void {
    const last = this.#batches.at(-1);
    if (last?.kind !== "counter" || this.#options.onLeftOut === undefined) return;
    for (const { name, value } of unpackBatch("counter", last)) {
      if (value <= 1n || value >= UNUSED_INODE) continue;
      if (name === "nextInode") this.#nextInode = value;
      else if (name === "nextTrash") this.#nextTrash = value;
    }
  }

  #nextSection(): void {
    const tokens = this.#tokens;
    let byte = tokens.peek();
    if (byte === 0x7d) {
      this.#endDocument();
      return;
    }
    if (this.#state === NEXT_SECTION) {
      if (byte === 0x2c) tokens.at++;
      else if (!this.#hasFoundEntry) throw tokens.unexpected("',' or '}'");
      byte = tokens.peek();
    }
    tokens.readKey();
    const name = this.#sectionName(tokens.textValue());
    const isTree = name === "FSTree" || name === "Trash";
    if (!isTree && !SECTIONS.has(name)) {
      this.#warn("unknown-member", "Members that decant does not know were skipped", name);
      this.#skipper.begin();
      this.#state = SKIP;
      return;
    }
    if (this.#seen.has(name))
      throw tokens.error("DECANT_E_JSON_VALUE", `the document has "${name}" twice`, DAMAGE_HINT);
    if (name === "Trash" && tokens.readNull()) {
      this.#warn("null-section", "Sections that are null were taken as empty", name);
      this.#state = NEXT_SECTION;
    } else if (isTree) {
      this.#tree.begin(name);
      this.#state = IN_TREE;
    } else {
      this.#sections.begin(name as SectionName);
      this.#state = IN_SECTION;
    }
    this.#seen.add(name);
    this.#section = name;
  }

  /** The name of a section; where its name is damaged, what it holds tells. */
  #sectionName(name: string): string {
    const isKnown = SECTIONS.has(name) || name === "FSTree" || name === "Trash";
    if (isKnown || this.#options.onLeftOut === undefined) return name;
    const meant = this.#sectionByContent() ?? name;
    if (meant === name || this.#seen.has(meant)) return name;
    this.#warn("section-name", "Names of sections that are damaged were told by what the sections hold", name);
    return meant;
  }

  #sectionByContent(): string | undefined {
    switch (this.#tokens.peekFirstMember()) {
      case "Name":
        return "Setting";
      case "usedSpace":
        return "Counters";
      case "attr":
        if (!this.#seen.has("FSTree")) return "FSTree";
        return this.#isTrashRoot() ? "Trash" : undefined;
      default:
        return undefined;
    }
  }

  /** Directories of a tree that has ended too early by damage may look like sections, but have other inodes. */
  #isTrashRoot(): boolean {
    const tokens = this.#tokens;
    if (tokens.end - tokens.at < MAX_ROOT_BYTES) throw NEED_DATA;
    const at = tokens.find(TRASH_ROOT);
    return at >= 0 && at - tokens.at < MAX_ROOT_BYTES;
  }

  #endDocument(): void {
    const required = this.#options.onLeftOut === undefined ? REQUIRED : REQUIRED_TO_SAVE;
    const missing = required.filter((name) => !this.#seen.has(name));
    if (missing.length > 0 && this.#damage !== undefined) throw this.#damage;
    if (missing.length > 0) {
      throw this.#tokens.error(
        "DECANT_E_JSON_MISSING",
        `it has no ${missing.map((name) => `"${name}"`).join(", ")}`,
        "This is no complete dump of a volume; take another copy or an earlier backup",
      );
    }
    this.#tokens.at++;
    this.#state = END;
  }

  #trailing(): DataError {
    return this.#tokens.error(
      "DECANT_E_JSON_SYNTAX",
      "there is more text behind the end of the document",
      "Remove what does not belong to the dump; two dumps cannot be loaded as one",
    );
  }

  #commit(): void {
    const { oddText } = this.#tokens;
    if (oddText !== undefined) {
      this.#tokens.oddText = undefined;
      if (this.#options.strictText === true)
        this.#warn("odd-text", "Text that no dump has was read as it stands", oddText);
    }
    this.#tokens.commit();
    if (this.#warnings.length === 0) return;
    for (const { kind, text, example } of this.#warnings) this.#options.onWarning(kind, text, example);
    this.#warnings = [];
  }

  /** Warnings of a step count only when the step is not repeated. */
  #warn(kind: string, text: string, member: string | undefined): void {
    const made = this.#examples.get(kind) ?? 0;
    let example: string | undefined;
    if (made < MAX_EXAMPLES) {
      this.#examples.set(kind, made + 1);
      example = this.#place(member);
    }
    this.#warnings.push({ kind, text, example });
  }

  #place(member: string | undefined): string {
    if (this.#state === IN_TREE) return member === undefined ? this.#tree.path() : `${this.#tree.path()}: ${member}`;
    return this.#state === IN_SECTION ? `${this.#section}.${member}` : String(member);
  }

  #describe(): { subject: string; path: string | undefined } {
    if (this.#state === IN_TREE) {
      const path = this.#tree.path();
      return { subject: `"${path}" of the JSON dump`, path };
    }
    if (this.#state === IN_SECTION) return { subject: `"${this.#section}" of the JSON dump`, path: undefined };
    return { subject: "the JSON dump", path: undefined };
  }
}
