import type { FlatKind } from "../../volume/records.ts";
import { FORMAT_SEGMENT, type SegmentType } from "./segment-types.ts";
import { WIRE_BYTES, WIRE_VARINT, WireReader } from "./wire-reader.ts";

type FieldForm = "uint64" | "int64" | "uint32" | "bytes" | "string" | "uint64s";
/** Name and form of each field, by number from 1. */
type MessageFields = readonly (readonly [name: string, form: FieldForm])[];

const QUOTA: MessageFields = [
  ["key", "uint64"],
  ["maxSpace", "int64"],
  ["maxInodes", "int64"],
  ["usedSpace", "int64"],
  ["usedInodes", "int64"],
  ["type", "uint32"],
];
const BYTES_OF_INODE = (name: string): MessageFields => [
  ["inode", "uint64"],
  [name, "bytes"],
];

/** The messages (docs/spec/binary-dump.md §2), with the name of the list in Batch. */
const MESSAGES: Readonly<Record<Exclude<FlatKind, "setting">, readonly [list: string, fields: MessageFields]>> = {
  node: ["nodes", BYTES_OF_INODE("data")],
  edge: [
    "edges",
    [
      ["parent", "uint64"],
      ["inode", "uint64"],
      ["name", "bytes"],
      ["type", "uint32"],
    ],
  ],
  chunk: [
    "chunks",
    [
      ["inode", "uint64"],
      ["index", "uint32"],
      ["slices", "bytes"],
    ],
  ],
  sliceRef: [
    "sliceRefs",
    [
      ["id", "uint64"],
      ["size", "uint32"],
      ["refs", "int64"],
    ],
  ],
  xattr: [
    "xattrs",
    [
      ["inode", "uint64"],
      ["name", "string"],
      ["value", "bytes"],
    ],
  ],
  parent: [
    "parents",
    [
      ["inode", "uint64"],
      ["parent", "uint64"],
      ["cnt", "int64"],
    ],
  ],
  symlink: ["symlinks", BYTES_OF_INODE("target")],
  sustained: [
    "sustained",
    [
      ["sid", "uint64"],
      ["inodes", "uint64s"],
    ],
  ],
  delFile: [
    "delfiles",
    [
      ["inode", "uint64"],
      ["length", "uint64"],
      ["expire", "int64"],
    ],
  ],
  dirStat: [
    "dirstats",
    [
      ["inode", "uint64"],
      ["dataLength", "int64"],
      ["usedSpace", "int64"],
      ["usedInodes", "int64"],
    ],
  ],
  quota: ["quotas", QUOTA],
  userQuota: ["userQuotas", QUOTA],
  groupQuota: ["groupQuotas", QUOTA],
  acl: [
    "acls",
    [
      ["id", "uint32"],
      ["data", "bytes"],
    ],
  ],
  counter: [
    "counters",
    [
      ["key", "string"],
      ["value", "int64"],
    ],
  ],
  changeLog: [
    "changelogs",
    [
      ["version", "int64"],
      ["entry", "bytes"],
    ],
  ],
};

/**
 * The content of a segment as text, as `load --binary --stat --offset` of the reference shows it: the setting as it is, else
 * the JSON form of the Batch message (64-bit numbers as strings, bytes as base64, zeros left out). No final newline.
 */
export function segmentText(type: SegmentType, body: Buffer): string {
  const reader = new WireReader();
  reader.open(body, 0);
  reader.segment = type.name;
  reader.end = body.length;
  return type.type === FORMAT_SEGMENT ? settingText(reader) : batchText(reader, type);
}

function settingText(reader: WireReader): string {
  let text = "";
  while (reader.next()) {
    if (reader.field !== 1 || reader.wireType !== WIRE_BYTES) reader.failField();
    text = reader.bytes.toString("utf8", reader.start, reader.at);
  }
  return text;
}

function batchText(reader: WireReader, type: SegmentType): string {
  const end = reader.end;
  const items = new Map<number, string[]>();
  while (reader.at < end) {
    reader.readVarint();
    const list = reader.lo >>> 3;
    const kind = type.lists.find(({ field }) => field === list)?.kind as keyof typeof MESSAGES | undefined;
    if (kind === undefined || (reader.lo & 7) !== WIRE_BYTES) {
      reader.field = list;
      reader.wireType = reader.lo & 7;
      reader.failField();
    }
    reader.readVarint();
    if (reader.hi !== 0 || reader.at + reader.lo > end) reader.fail("a record ends behind the end of its segment");
    reader.end = reader.at + reader.lo;
    const texts = items.get(list) ?? [];
    texts.push(messageText(reader, MESSAGES[kind][1]));
    items.set(list, texts);
    reader.at = reader.end;
    reader.end = end;
  }
  const lists = type.lists
    .filter(({ field }) => items.has(field))
    .map(({ field, kind }) => {
      const name = MESSAGES[kind as keyof typeof MESSAGES][0];
      return `  "${name}": [\n${items.get(field)!.join(",\n")}\n  ]`;
    });
  return lists.length === 0 ? "{}" : `{\n${lists.join(",\n")}\n}`;
}

/** One message, indented as an item of a list of the outermost one. */
function messageText(reader: WireReader, fields: MessageFields): string {
  const values = new Map<number, string>();
  while (reader.next()) {
    const [, form] = fields[reader.field - 1] ?? reader.failField();
    const isBytes = form === "bytes" || form === "string" || form === "uint64s";
    if (reader.wireType !== (isBytes ? WIRE_BYTES : WIRE_VARINT)) reader.failField();
    values.set(reader.field, valueText(reader, form));
  }
  const members = [...values]
    .sort(([a], [b]) => a - b)
    .map(([field, text]) => `      "${fields[field - 1]![0]}": ${text}`);
  return members.length === 0 ? "    {}" : `    {\n${members.join(",\n")}\n    }`;
}

function valueText(reader: WireReader, form: FieldForm): string {
  const number = (BigInt(reader.hi) << 32n) | BigInt(reader.lo);
  switch (form) {
    case "uint64":
      return `"${number}"`;
    case "int64":
      return `"${BigInt.asIntN(64, number)}"`;
    case "uint32":
      return String(reader.uint32());
    case "bytes":
      return `"${reader.bytes.toString("base64", reader.start, reader.at)}"`;
    case "string":
      return JSON.stringify(reader.bytes.toString("utf8", reader.start, reader.at));
    case "uint64s":
      return packedText(reader);
  }
}

function packedText(reader: WireReader): string {
  const end = reader.at;
  const numbers: string[] = [];
  reader.at = reader.start;
  while (reader.at < end) {
    reader.readVarint();
    numbers.push(`        "${(BigInt(reader.hi) << 32n) | BigInt(reader.lo)}"`);
  }
  return `[\n${numbers.join(",\n")}\n      ]`;
}
