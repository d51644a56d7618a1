import type { DataError } from "../../base/errors.ts";
import {
  BATCH_BYTES,
  BatchBuilder,
  type FlatKind,
  packRecord,
  type QuotaRecord,
  type RecordBatch,
} from "../../volume/records.ts";
import { UNKNOWN_MEMBER_TEXT, type Warn } from "./decode-attribute.ts";
import type { JsonSkipper } from "./json-skip.ts";
import { integerField, type JsonTokens, S64_MAX, S64_MIN, U32_MAX, U64_MAX } from "./json-tokens.ts";
import { DAMAGE_HINT } from "./json-window.ts";

/** Names of counters in a dump and of the records they become (docs/spec/json-dump.md §4). */
const COUNTERS: readonly CounterMember[] = [
  { member: "usedSpace", name: "usedSpace" },
  { member: "usedInodes", name: "totalInodes" },
  { member: "nextInodes", name: "nextInode" },
  { member: "nextChunk", name: "nextChunk" },
  { member: "nextSession", name: "nextSession" },
  { member: "nextTrash", name: "nextTrash" },
  { member: "lastChangelog", name: "lastChangelog" },
];
interface CounterMember {
  readonly member: string;
  readonly name: string;
}
const COUNTERS_BY_MEMBER: ReadonlyMap<string, CounterMember> = new Map(
  COUNTERS.map((counter) => [counter.member.toLowerCase(), counter]),
);
/** Written by old versions, of no use any more. */
const OLD_COUNTER = "nextcleanupslices";

const SID = integerField("sid", 0n, U64_MAX);
const INODES = integerField("inodes", 1n, U64_MAX);
const INODE = integerField("inode", 1n, U64_MAX);
const LENGTH = integerField("length", 0n, S64_MAX);
const EXPIRE = integerField("expire", S64_MIN, S64_MAX);
const MAX_SPACE = integerField("maxSpace", S64_MIN, S64_MAX);
const MAX_INODES = integerField("maxInodes", S64_MIN, S64_MAX);
const VERSION = integerField("version", S64_MIN, S64_MAX);

export type SectionName =
  | "Setting"
  | "Counters"
  | "Sustained"
  | "DelFiles"
  | "Quotas"
  | "UserQuotas"
  | "GroupQuotas"
  | "ChangeLog";

/** A section that is a list or map of records, read one element per step. */
interface ElementSection {
  readonly kind: FlatKind;
  readonly close: number;
  /** Returns how many records it has written. */
  readonly read: (builder: BatchBuilder) => number;
}

/** Reads everything of a document but its trees. */
export class SectionDecoder {
  readonly #tokens: JsonTokens;
  readonly #skipper: JsonSkipper;
  readonly #warn: Warn;
  readonly #sections: Readonly<Record<Exclude<SectionName, "Setting">, ElementSection>>;
  #name: SectionName = "Setting";
  #isOpen = false;
  #isFirst = true;
  /** The next step passes over an element, or the whole section where it is not open. */
  isSkipping = false;
  #builder: BatchBuilder | undefined;
  #keys = new Set<string>();

  constructor(tokens: JsonTokens, skipper: JsonSkipper, warn: Warn) {
    this.#tokens = tokens;
    this.#skipper = skipper;
    this.#warn = warn;
    const quotas = (kind: "quota" | "userQuota" | "groupQuota", keyMax: bigint): ElementSection => ({
      kind,
      close: 0x7d,
      read: (builder) => {
        packRecord(kind, builder.writer, this.#readQuota(keyMax));
        return 1;
      },
    });
    this.#sections = {
      Counters: { kind: "counter", close: 0x7d, read: (builder) => this.#readCounter(builder) },
      Sustained: { kind: "sustained", close: 0x5d, read: (builder) => this.#readSustained(builder) },
      DelFiles: { kind: "delFile", close: 0x5d, read: (builder) => this.#readDelFile(builder) },
      Quotas: quotas("quota", U64_MAX),
      UserQuotas: quotas("userQuota", U32_MAX),
      GroupQuotas: quotas("groupQuota", U32_MAX),
      ChangeLog: { kind: "changeLog", close: 0x5d, read: (builder) => this.#readChangeLog(builder) },
    };
  }

  /** Begins with the value of the top-level member `name`. */
  begin(name: SectionName): void {
    this.#name = name;
    this.#isOpen = false;
    this.isSkipping = false;
    this.#keys = new Set();
  }

  /**
   * After an error that a step has thrown and the tokens were rewound: makes the next step pass over the element at hand, or
   * over a section that is none. False where nothing can be left out: of the setting, or of what is no JSON.
   */
  skipElement(): boolean {
    if (this.#name === "Setting" || this.isSkipping) return false;
    this.isSkipping = true;
    return true;
  }

  /** Runs one step; true when the section has been read. Full batches and the last one go to `into`. */
  step(into: RecordBatch[]): boolean {
    if (this.#name === "Setting") return this.#setting(into);
    const section = this.#sections[this.#name];
    if (!this.#isOpen) return this.#open(section);
    const builder = this.#builder!;
    if (!this.#element(section.close)) {
      const last = builder.take();
      if (last !== undefined) into.push(last);
      else if (this.#name === "Counters" && !this.isSkipping) throw this.#noCounter();
      this.isSkipping = false;
      return true;
    }
    if (this.isSkipping) this.#skip(section);
    else builder.count += section.read(builder);
    this.#isFirst = false;
    if (builder.writer.length >= BATCH_BYTES) into.push(builder.take()!);
    return false;
  }

  #skip(section: ElementSection): void {
    if (section.close === 0x7d) this.#tokens.readKey();
    this.#skipper.skipValue();
    this.isSkipping = false;
  }

  #open(section: ElementSection): boolean {
    const tokens = this.#tokens;
    if (this.isSkipping) {
      this.#skipper.skipValue();
      this.isSkipping = false;
      return true;
    }
    if (this.#name !== "Counters" && tokens.readNull()) return true;
    const isList = section.close === 0x5d;
    if (tokens.peek() !== (isList ? 0x5b : 0x7b)) {
      const wanted = isList ? "a list" : "an object";
      throw tokens.error("DECANT_E_JSON_VALUE", `it must be ${wanted}, got ${tokens.describeValue()}`, DAMAGE_HINT);
    }
    tokens.at++;
    this.#isOpen = true;
    this.#isFirst = true;
    this.#builder = new BatchBuilder(section.kind, 4096);
    return false;
  }

  #element(close: number): boolean {
    const tokens = this.#tokens;
    const byte = tokens.peek();
    if (byte === close) {
      tokens.at++;
      return false;
    }
    if (this.#isFirst) return true;
    if (byte !== 0x2c) throw tokens.unexpected(`',' or '${String.fromCharCode(close)}'`);
    tokens.at++;
    return true;
  }

  /** The setting is passed on as the text it is; its members are checked by whoever uses them. */
  #setting(into: RecordBatch[]): boolean {
    const tokens = this.#tokens;
    if (tokens.peek() !== 0x7b) {
      throw tokens.error("DECANT_E_JSON_VALUE", `it must be an object, got ${tokens.describeValue()}`, DAMAGE_HINT);
    }
    const start = tokens.at;
    this.#skipper.skipValue();
    const json = Buffer.from(tokens.buffer.subarray(start, tokens.at));
    try {
      JSON.parse(json.toString());
    } catch {
      // The parser's own message quotes the text, and there are keys in it.
      throw tokens.error("DECANT_E_JSON_SYNTAX", "its strings hold unescaped control characters", DAMAGE_HINT, start);
    }
    const builder = new BatchBuilder("setting", json.length + 4);
    packRecord("setting", builder.writer, { json });
    builder.commit();
    into.push(builder.take()!);
    return true;
  }

  #readCounter(builder: BatchBuilder): number {
    const tokens = this.#tokens;
    tokens.readKey();
    const member = tokens.textValue().toLowerCase();
    if (this.#keys.has(member)) throw tokens.error("DECANT_E_JSON_VALUE", `it has "${member}" twice`, DAMAGE_HINT);
    const counter = COUNTERS_BY_MEMBER.get(member);
    if (counter !== undefined) {
      tokens.readInteger(integerField(counter.member, S64_MIN, S64_MAX));
      packRecord("counter", builder.writer, { name: counter.name, value: tokens.signedValue() });
    } else if (member === OLD_COUNTER) tokens.readScalar();
    else this.#unknown(member);
    this.#keys.add(member);
    return counter === undefined ? 0 : 1;
  }

  #noCounter(): DataError {
    return this.#tokens.error(
      "DECANT_E_JSON_MISSING",
      "it holds no counter",
      "Without counters the file is no complete dump; take another copy",
    );
  }

  /** One session with the files it holds; records are only written when the object has been read. */
  #readSustained(builder: BatchBuilder): number {
    const tokens = this.#tokens;
    let sid: bigint | undefined;
    const inodes: bigint[] = [];
    tokens.readObject("an element", (member) => {
      if (member === "sid") {
        tokens.readInteger(SID);
        sid = tokens.unsignedValue();
      } else if (member === "inodes") {
        tokens.readList("inodes", () => {
          tokens.readInteger(INODES);
          inodes.push(tokens.unsignedValue());
        });
      } else this.#unknown(member);
    });
    if (sid === undefined) throw tokens.error("DECANT_E_JSON_VALUE", 'an element has no "sid"', DAMAGE_HINT);
    for (const inode of inodes) packRecord("sustained", builder.writer, { sid, inode });
    return inodes.length;
  }

  #readDelFile(builder: BatchBuilder): number {
    const tokens = this.#tokens;
    let inode: bigint | undefined;
    let length = 0n;
    let expire = 0n;
    tokens.readObject("an element", (member) => {
      if (member === "inode") {
        tokens.readInteger(INODE);
        inode = tokens.unsignedValue();
      } else if (member === "length") {
        tokens.readInteger(LENGTH);
        length = tokens.unsignedValue();
      } else if (member === "expire") {
        tokens.readInteger(EXPIRE);
        expire = tokens.signedValue();
      } else this.#unknown(member);
    });
    if (inode === undefined) throw tokens.error("DECANT_E_JSON_VALUE", 'an element has no "inode"', DAMAGE_HINT);
    packRecord("delFile", builder.writer, { inode, length, expire });
    return 1;
  }

  #readQuota(keyMax: bigint): QuotaRecord {
    const tokens = this.#tokens;
    tokens.readKey();
    const text = tokens.textValue();
    const key = /^(?:0|[1-9][0-9]{0,19})$/.test(text) ? BigInt(text) : -1n;
    if (key < 0n || key > keyMax) {
      throw tokens.error(
        "DECANT_E_JSON_NUMBER",
        `its keys must be whole numbers from 0 to ${keyMax}, got "${text}"`,
        DAMAGE_HINT,
      );
    }
    let maxSpace: bigint | undefined;
    let maxInodes: bigint | undefined;
    tokens.readObject(`the quota of ${key}`, (member) => {
      if (member === "maxspace") {
        tokens.readInteger(MAX_SPACE);
        maxSpace = tokens.signedValue();
      } else if (member === "maxinodes") {
        tokens.readInteger(MAX_INODES);
        maxInodes = tokens.signedValue();
      } else this.#unknown(`${key}.${member}`);
    });
    if (maxSpace === undefined || maxInodes === undefined) {
      throw tokens.error("DECANT_E_JSON_VALUE", `the quota of ${key} needs "maxSpace" and "maxInodes"`, DAMAGE_HINT);
    }
    if (this.#keys.has(text)) throw tokens.error("DECANT_E_JSON_VALUE", `it has ${key} twice`, DAMAGE_HINT);
    this.#keys.add(text);
    return { key, maxSpace, maxInodes, usedSpace: 0n, usedInodes: 0n };
  }

  #readChangeLog(builder: BatchBuilder): number {
    const tokens = this.#tokens;
    let version: bigint | undefined;
    let entry: Buffer | undefined;
    tokens.readObject("an element", (member) => {
      if (member === "version") {
        tokens.readInteger(VERSION);
        version = tokens.signedValue();
      } else if (member === "entry") {
        tokens.readString(false, "the text of an entry in quotes");
        entry = tokens.textBytes();
      } else this.#unknown(member);
    });
    if (version === undefined || entry === undefined) {
      throw tokens.error("DECANT_E_JSON_VALUE", 'an element needs "version" and "entry"', DAMAGE_HINT);
    }
    packRecord("changeLog", builder.writer, { version, entry });
    return 1;
  }

  #unknown(member: string): void {
    this.#warn("unknown-member", UNKNOWN_MEMBER_TEXT, member);
    this.#skipper.skipValue();
  }
}
