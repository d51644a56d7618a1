import { encodeAttribute } from "../../../../src/volume/attribute.ts";
import { FILE_TYPE_NAMES } from "../../../../src/volume/file-type.ts";
import type { PlainEntry } from "./tree-items.ts";

/**
 * A second reading of dumps, by `JSON.parse` and as plainly as possible, to compare the decoder with. Integers become
 * BigInt from their text, as trash inodes do not fit a number.
 */
export interface DumpEntry {
  attr: { type: string; inode: bigint; atime: bigint; mtime: bigint; ctime: bigint; length: bigint };
  symlink?: string;
  xattrs?: { name: string; value: string }[];
  chunks?: { index: bigint; slices: Record<"id" | "pos" | "size" | "off" | "len", bigint | undefined>[] }[];
  posix_acl_access?: unknown;
  posix_acl_default?: unknown;
  entries?: Record<string, DumpEntry>;
}

type Quotas = Record<string, { maxSpace: bigint; maxInodes: bigint }>;

export interface DumpDocument {
  Setting: unknown;
  Counters: Record<string, bigint>;
  Sustained?: { sid: bigint; inodes: bigint[] }[];
  DelFiles?: { inode: bigint; length: bigint; expire: bigint }[];
  Quotas?: Quotas;
  UserQuotas?: Quotas;
  GroupQuotas?: Quotas;
  ChangeLog?: { version: bigint; entry: string }[];
  FSTree: DumpEntry;
  Trash?: DumpEntry;
}

/** JSON with integers as BigInt. */
export function parse(text: string): unknown {
  const reviver = (_key: string, value: unknown, context: { source?: string }): unknown =>
    typeof value === "number" ? BigInt(context.source!) : value;
  return JSON.parse(text, reviver as (key: string, value: unknown) => unknown) as unknown;
}

/** Undoes the percent escape; the result has one character per byte. */
export function percentUnescaped(text: string): string {
  return Buffer.from(text, "utf8")
    .toString("latin1")
    .replace(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

export interface ReferenceEntry extends Omit<PlainEntry, "attribute" | "flags"> {
  attribute: string;
  access: string;
  default: string;
}

/** The entries of both trees in document order; ACL rules as text, attribute records without their ids in hex. */
export function referenceEntries(document: DumpDocument): ReferenceEntry[] {
  const entries: ReferenceEntry[] = [];
  walk(document.FSTree, "", entries);
  if (document.Trash !== undefined) walk(document.Trash, "", entries);
  return entries;
}

function walk(entry: DumpEntry, path: string, into: ReferenceEntry[]): void {
  const type = FILE_TYPE_NAMES.indexOf(entry.attr.type, 1);
  into.push({
    path,
    type,
    inode: entry.attr.inode,
    attribute: referenceAttribute(entry.attr, type),
    symlink: percentUnescaped(entry.symlink ?? ""),
    xattrs: (entry.xattrs ?? []).map(({ name, value }) => [
      Buffer.from(name).toString("latin1"),
      percentUnescaped(value),
    ]),
    chunks: (entry.chunks ?? []).map(({ index, slices }) => ({
      index: Number(index),
      slices: slices.map((slice) => ({
        pos: Number(slice.pos ?? 0n),
        id: slice.id!,
        size: Number(slice.size),
        off: Number(slice.off ?? 0n),
        len: Number(slice.len),
      })),
    })),
    access: ruleText(entry.posix_acl_access),
    default: ruleText(entry.posix_acl_default),
  });
  for (const [name, child] of Object.entries(entry.entries ?? {}))
    walk(child, `${path}/${percentUnescaped(name)}`, into);
}

function referenceAttribute(attr: DumpEntry["attr"], type: number): string {
  const number = (name: string): number => Number((attr as unknown as Record<string, bigint | undefined>)[name] ?? 0n);
  return encodeAttribute({
    flags: number("flags"),
    type,
    mode: number("mode"),
    uid: number("uid"),
    gid: number("gid"),
    atime: attr.atime,
    atimensec: number("atimensec"),
    mtime: attr.mtime,
    mtimensec: number("mtimensec"),
    ctime: attr.ctime,
    ctimensec: number("ctimensec"),
    nlink: number("nlink"),
    length: attr.length,
    rdev: number("rdev"),
    parent: 0n,
    accessAclId: 0,
    defaultAclId: 0,
    tier: number("tier"),
  }).toString("hex");
}

/** The members of a rule in a fixed order; empty without a rule. */
export function ruleText(rule: unknown): string {
  if (rule === undefined || rule === null) return "";
  const { owner, group, mask, other, users, groups } = rule as Record<string, unknown>;
  const list = (entries: unknown): string =>
    ((entries ?? []) as { id: unknown; perm: unknown }[]).map(({ id, perm }) => `${id}:${perm}`).join(",");
  return `${owner} ${group} ${mask} ${other} [${list(users)}] [${list(groups)}]`;
}
