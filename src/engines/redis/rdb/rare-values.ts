import type { RecordBatch, RecordKind } from "../../../volume/records.ts";
import { type Notes, printableKey } from "../../notes.ts";
import { parseSigned, parseUnsigned, signedOf, toBigInt, type U64 } from "../decimal.ts";
import { noteStatistics, noteStatisticsField } from "../directory-statistics.ts";
import { LIMIT_BYTES, noteLimits, noteQuotaField, noteUsage, QUOTA_KINDS, type QuotaKind } from "../quota-records.ts";
import { emit } from "../rare-context.ts";
import {
  COUNTERS,
  isAclField,
  isAclRule,
  noteCounter,
  noteDelFile,
  noteSession,
  noteSliceRef,
  noteSustained,
  parseDelFile,
  parseSliceRef,
  sliceReferences,
  wholeSecondsOf,
} from "../rare-records.ts";
import type { RecordMapper } from "../record-mapper.ts";
import { NumberJoin, ScoreOrder } from "./number-join.ts";
import type { ValueHandler } from "./rdb-consumer.ts";
import type { RdbText } from "./rdb-text.ts";
import { HashTaker, ScoreTaker, SetTaker, StringTaker } from "./value-collectors.ts";

export interface RareOptions {
  readonly kinds: ReadonlySet<RecordKind>;
  readonly changeLog: boolean;
  readonly notes: Notes;
  readonly mapper: RecordMapper;
  /** For what is sorted and does not fit into memory. */
  readonly tmpDir: string;
}

/** What is joined by number: statistics of directories, and quotas. */
const STATISTICS_TOPIC = 0;
const STATISTICS_KEYS: readonly string[] = ["dirDataLength", "dirUsedSpace", "dirUsedInodes"];
const USED_INODES = 0;
const USED_SPACE = 1;
const LIMITS = 2;
/** Says, where each loss is told, that a part of the record is lost, and so the record. */
const LOST = 3;
const UNLIMITED = -1n;

/**
 * The kinds outside the inode families, of which a file has the hashes in any order: what belongs together is joined, and what has an
 * order sorted, at the end of the file. The records are those that the server's answers give (rare-records.ts).
 */
export class RareValues {
  /** The setting in the file, once it was met. */
  setting: Buffer | undefined;
  readonly #options: RareOptions;
  readonly #handlers: ReadonlyMap<string, ValueHandler>;
  readonly #join: NumberJoin;
  readonly #delFiles: ScoreOrder;
  readonly #counters: Map<string, bigint> = new Map();
  /** Keys whose values are lost, or a part of them, where each loss is told: what is made of several is not given without them. */
  readonly #lost: Set<string> = new Set();
  readonly #number: U64 = { hi: 0, lo: 0 };
  readonly #second: U64 = { hi: 0, lo: 0 };

  constructor(options: RareOptions) {
    this.#options = options;
    this.#join = new NumberJoin(options.tmpDir);
    this.#delFiles = new ScoreOrder(options.tmpDir);
    this.#handlers = new Map(this.#makeHandlers());
  }

  /** The setting was not met, and keys are lost of which it may be one. */
  get isSettingLost(): boolean {
    return this.setting === undefined && this.#lost.has("setting");
  }

  handlerOf(name: string): ValueHandler | undefined {
    return this.#handlers.get(name);
  }

  /** Takes the open inodes of a session. */
  sustainedOf(sid: bigint): ValueHandler | undefined {
    if (!this.#options.kinds.has("sustained")) return undefined;
    const { mapper, notes } = this.#options;
    return new SetTaker((member) => {
      const number = this.#number;
      if (parseUnsigned(member.bytes, member.start, member.end, number)) {
        emit(mapper, "sustained", { sid, inode: toBigInt(number.hi, number.lo) });
      } else noteSustained(notes, sid, printable(member));
    });
  }

  /** Keys are lost of which nobody knows the names: all that was not met. */
  loseUnknown(): void {
    for (const name of this.#handlers.keys()) if (!this.#counters.has(name)) this.#lost.add(name);
  }

  /** The value of the key is lost, or a part of it; of which kind the records are that were made of it. */
  lose(name: string): RecordKind | undefined {
    if (this.#options.notes.isSalvage && this.#handlers.has(name)) this.#lost.add(name);
    return kindOfKey(name);
  }

  /** What could not be given before all was there. */
  *rest(): Generator<RecordBatch> {
    const { mapper, kinds, changeLog } = this.#options;
    const inode: U64 = { hi: 0, lo: 0 };
    const length: U64 = { hi: 0, lo: 0 };
    for (const { score, member } of this.#delFiles.members()) {
      parseDelFile(member, inode, length);
      emit(mapper, "delFile", {
        inode: toBigInt(inode.hi, inode.lo),
        length: toBigInt(length.hi, length.lo),
        expire: wholeSecondsOf(score),
      });
      yield* mapper.takeFull();
    }
    yield* this.#joined();
    if (!kinds.has("counter")) return;
    for (const { name, key, offset } of COUNTERS) {
      if (this.#lost.has(key)) continue;
      emit(mapper, "counter", { name, value: (this.#counters.get(key) ?? 0n) + offset });
    }
    const last = changeLog ? (this.#counters.get("txnLastLog") ?? 0n) : 0n;
    if (last !== 0n) emit(mapper, "counter", { name: "lastChangelog", value: last });
  }

  close(): void {
    this.#join.close();
    this.#delFiles.close();
  }

  *#makeHandlers(): Generator<[string, ValueHandler]> {
    const { kinds, changeLog, notes } = this.#options;
    yield [
      "setting",
      new StringTaker((value) => {
        this.setting = value.copy();
      }),
    ];
    if (kinds.has("counter")) {
      for (const { key } of COUNTERS) yield [key, this.#counter(key)];
      if (changeLog) yield ["txnLastLog", this.#counter("txnLastLog")];
    }
    if (kinds.has("delFile")) yield ["delfiles", this.#delFileTaker()];
    if (kinds.has("sliceRef")) yield ["sliceRef", this.#sliceRefTaker()];
    if (kinds.has("acl")) yield ["acl", this.#aclTaker()];
    if (kinds.has("sustained")) yield ["allSessions", this.#sessionTaker()];
    if (kinds.has("dirStat")) {
      for (const [part, key] of STATISTICS_KEYS.entries()) {
        // which directories have statistics is what the first hash says
        const onBad = (field: RdbText): void => {
          if (part === 0) noteStatisticsField(notes, printable(field));
        };
        const onLost = (inode: bigint): void => noteStatistics(notes, key, inode);
        yield [key, this.#numbers(STATISTICS_TOPIC, part, onBad, onLost, true)];
      }
    }
    for (const [i, quota] of QUOTA_KINDS.entries()) if (kinds.has(quota.kind)) yield* this.#quotaTakers(i + 1, quota);
  }

  #counter(key: string): ValueHandler {
    const { notes } = this.#options;
    return new StringTaker((value) => {
      const number = signedOf(value.copy());
      this.#counters.set(key, number ?? 0n);
      if (number !== undefined) this.#lost.delete(key);
      if (number !== undefined || !notes.isSalvage) return;
      noteCounter(notes, key);
      this.#lost.add(key);
    });
  }

  #delFileTaker(): ValueHandler {
    const { notes } = this.#options;
    return new ScoreTaker((member, score) => {
      const text = member.bytes.subarray(member.start, member.end);
      if (parseDelFile(text, this.#number, this.#second)) this.#delFiles.add(score, member);
      else noteDelFile(notes, printable(member));
    });
  }

  #sliceRefTaker(): ValueHandler {
    const { notes, mapper } = this.#options;
    const [id, size] = [this.#number, this.#second];
    return new HashTaker((field, value) => {
      const slice = field.bytes.subarray(field.start, field.end);
      if (!parseSliceRef(slice, id, size)) {
        noteSliceRef(notes, printable(field), "is no slice");
        return;
      }
      const more = sliceReferences(notes, slice, value.bytes.subarray(value.start, value.end));
      if (more < 1n) return;
      emit(mapper, "sliceRef", { id: toBigInt(id.hi, id.lo), size: size.lo, refs: more + 1n });
    });
  }

  #aclTaker(): ValueHandler {
    const { notes, mapper } = this.#options;
    const id = this.#number;
    return new HashTaker((field, value) => {
      if (!isAclField(notes, field.bytes.subarray(field.start, field.end), id)) return;
      const rule = value.copy();
      if (isAclRule(notes, id.lo, rule)) emit(mapper, "acl", { id: id.lo, rule });
    });
  }

  /** Their open inodes are in keys of their own. */
  #sessionTaker(): ValueHandler {
    const { notes } = this.#options;
    return new ScoreTaker((member) => {
      if (parseUnsigned(member.bytes, member.start, member.end, this.#number)) return;
      noteSession(notes, printable(member));
    });
  }

  *#quotaTakers(topic: number, { kind, key }: QuotaKind): Generator<[string, ValueHandler]> {
    const { notes } = this.#options;
    const onBad = (field: RdbText): void => noteQuotaField(notes, kind, key, printable(field));
    const onLost = (what: string) => (number: bigint) => noteUsage(notes, { kind, key: `${key}${what}`, number });
    const onBadSpace = (): void => undefined;
    yield [`${key}UsedInodes`, this.#numbers(topic, USED_INODES, onBad, onLost("UsedInodes"), false)];
    yield [`${key}UsedSpace`, this.#numbers(topic, USED_SPACE, onBadSpace, onLost("UsedSpace"), false)];
    yield [
      key,
      new HashTaker((field, value) => {
        if (!parseUnsigned(field.bytes, field.start, field.end, this.#number)) return onBad(field);
        const isGood = value.length === LIMIT_BYTES;
        const { hi, lo } = this.#number;
        if (!isGood) {
          noteLimits(notes, { kind, key, number: toBigInt(hi, lo) }, value.length);
          if (notes.isSalvage) return void this.#join.add(hi, lo, topic, LOST, 0);
        }
        const at = this.#join.add(hi, lo, topic, LIMITS, LIMIT_BYTES);
        for (let i = 0; i < LIMIT_BYTES; i += 8) {
          this.#join.view.setBigInt64(at + i, isGood ? value.view.getBigInt64(value.start + i) : UNLIMITED);
        }
      }),
    ];
  }

  /**
   * A hash of numbers by number. A value that is none counts as 0: where each loss is told it goes to `onLost`, and with
   * `isWhole` the record is lost.
   */
  #numbers(
    topic: number,
    part: number,
    onBad: (field: RdbText) => void,
    onLost: (number: bigint) => void,
    isWhole: boolean,
  ): ValueHandler {
    const { isSalvage } = this.#options.notes;
    const key = this.#number;
    const number = this.#second;
    return new HashTaker((field, value) => {
      if (!parseUnsigned(field.bytes, field.start, field.end, key)) return onBad(field);
      const isGood = parseSigned(value.bytes, value.start, value.end, number);
      if (!isGood && isSalvage) {
        onLost(toBigInt(key.hi, key.lo));
        if (isWhole) return void this.#join.add(key.hi, key.lo, topic, LOST, 0);
      }
      const at = this.#join.add(key.hi, key.lo, topic, part, 8);
      this.#join.view.setUint32(at, isGood ? number.hi : 0);
      this.#join.view.setUint32(at + 4, isGood ? number.lo : 0);
    });
  }

  *#joined(): Generator<RecordBatch> {
    const { mapper } = this.#options;
    const group = { number: 0n, topic: -1, values: [] as (Buffer | undefined)[] };
    for (const { number, topic, part, payload } of this.#join.parts()) {
      if (number !== group.number || topic !== group.topic) {
        this.#emitGroup(group.number, group.topic, group.values);
        yield* mapper.takeFull();
        group.number = number;
        group.topic = topic;
        group.values = [];
      }
      group.values[part] = Buffer.from(payload);
    }
    this.#emitGroup(group.number, group.topic, group.values);
  }

  #emitGroup(number: bigint, topic: number, values: readonly (Buffer | undefined)[]): void {
    const { mapper } = this.#options;
    const [first, second, third] = values;
    if (topic < 0 || values[LOST] !== undefined) return;
    if (topic === STATISTICS_TOPIC) {
      if (first === undefined || STATISTICS_KEYS.some((key, i) => values[i] === undefined && this.#lost.has(key)))
        return;
      return emit(mapper, "dirStat", {
        inode: number,
        dataLength: first.readBigInt64BE(),
        usedSpace: second?.readBigInt64BE() ?? 0n,
        usedInodes: third?.readBigInt64BE() ?? 0n,
      });
    }
    if (first === undefined && third === undefined) return;
    if (third === undefined && this.#lost.has(QUOTA_KINDS[topic - 1]!.key)) return;
    emit(mapper, QUOTA_KINDS[topic - 1]!.kind, {
      key: number,
      maxSpace: third?.readBigInt64BE() ?? UNLIMITED,
      maxInodes: third?.readBigInt64BE(8) ?? UNLIMITED,
      // of a quota that only has limits, usage is not looked for
      usedSpace: first === undefined ? 0n : (second?.readBigInt64BE() ?? 0n),
      usedInodes: first?.readBigInt64BE() ?? 0n,
    });
  }
}

/** The kind of records that a key outside the inode families is a part of. */
function kindOfKey(name: string): RecordKind | undefined {
  if (STATISTICS_KEYS.includes(name)) return "dirStat";
  if (name === "delfiles") return "delFile";
  if (name === "sliceRef" || name === "acl") return name;
  if (/^(?:allSessions|session[0-9]+)$/.test(name)) return "sustained";
  if (name === "txnLastLog" || COUNTERS.some(({ key }) => key === name)) return "counter";
  return QUOTA_KINDS.find(({ key }) => name.startsWith(key))?.kind;
}

function printable(text: RdbText): string {
  return printableKey(text.bytes, text.start, text.end);
}
