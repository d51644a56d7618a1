import { type AclEntry, type AclRule, encodeAclRule } from "../../volume/acl.ts";
import { BatchBuilder, packRecord } from "../../volume/records.ts";
import { UNKNOWN_MEMBER_TEXT, type Warn } from "./decode-attribute.ts";
import type { JsonSkipper } from "./json-skip.ts";
import { integerField, type JsonTokens, U32_MAX } from "./json-tokens.ts";
import { DAMAGE_HINT } from "./json-window.ts";

const U16_MAX = 0xffffn;
const OWNER = integerField("owner", 0n, U16_MAX);
const GROUP = integerField("group", 0n, U16_MAX);
const OTHER = integerField("other", 0n, U16_MAX);
const MASK = integerField("mask", 0n, U16_MAX);
const ID = integerField("id", 0n, U32_MAX);
const PERM = integerField("perm", 0n, U16_MAX);

/** Reads ACL objects and numbers the rules in order of first appearance, from 1; equal rules share a number. */
export class AclReader {
  /** Rules met for the first time since it was last taken. */
  readonly records: BatchBuilder = new BatchBuilder("acl", 4096);
  readonly #ids = new Map<string, number>();
  readonly #tokens: JsonTokens;
  readonly #skipper: JsonSkipper;
  readonly #warn: Warn;

  constructor(tokens: JsonTokens, skipper: JsonSkipper, warn: Warn) {
    this.#tokens = tokens;
    this.#skipper = skipper;
    this.#warn = warn;
  }

  /** Reads the object or `null` at the cursor, within one step. Returns the id of the rule, 0 for null. */
  read(member: string): number {
    const tokens = this.#tokens;
    if (tokens.readNull()) return 0;
    const found: Partial<AclRule> = {};
    tokens.readObject(`"${member}"`, (name) => {
      if (Object.hasOwn(found, name))
        throw tokens.error("DECANT_E_JSON_ENTRY", `"${member}" has "${name}" twice`, DAMAGE_HINT);
      switch (name) {
        case "owner":
          found.owner = tokens.readInteger(OWNER);
          return;
        case "group":
          found.group = tokens.readInteger(GROUP);
          return;
        case "other":
          found.other = tokens.readInteger(OTHER);
          return;
        case "mask":
          found.mask = tokens.readInteger(MASK);
          return;
        case "users":
          found.users = this.#readEntries("users");
          return;
        case "groups":
          found.groups = this.#readEntries("groups");
          return;
        default:
          this.#unknown(`${member}.${name}`);
      }
    });
    const { owner, group, other, mask } = found;
    if (owner === undefined || group === undefined || other === undefined || mask === undefined) {
      throw tokens.error("DECANT_E_JSON_ENTRY", `"${member}" needs "owner", "group", "other" and "mask"`, DAMAGE_HINT);
    }
    return this.#idOf({ owner, group, other, mask, users: found.users ?? [], groups: found.groups ?? [] });
  }

  #readEntries(list: string): AclEntry[] {
    const tokens = this.#tokens;
    const entries: AclEntry[] = [];
    tokens.readList(list, () => {
      let id = -1;
      let perm = -1;
      tokens.readObject(`an element of "${list}"`, (name) => {
        if (name === "id") id = tokens.readInteger(ID);
        else if (name === "perm") perm = tokens.readInteger(PERM);
        else this.#unknown(`${list}.${name}`);
      });
      if (id < 0 || perm < 0) {
        throw tokens.error("DECANT_E_JSON_ENTRY", `an element of "${list}" needs "id" and "perm"`, DAMAGE_HINT);
      }
      entries.push({ id, perm });
    });
    return entries;
  }

  #unknown(member: string): void {
    this.#warn("unknown-member", UNKNOWN_MEMBER_TEXT, member);
    this.#skipper.skipValue();
  }

  #idOf(rule: AclRule): number {
    const bytes = encodeAclRule(rule);
    const key = bytes.toString("latin1");
    const known = this.#ids.get(key);
    if (known !== undefined) return known;
    const id = this.#ids.size + 1;
    this.#ids.set(key, id);
    packRecord("acl", this.records.writer, { id, rule: bytes });
    this.records.commit();
    return id;
  }
}
