import { ByteWriter, copyBytes, viewOf } from "../../base/bytes.ts";
import { writeHeader } from "./decimal.ts";

/** Appends the beginning of a command with `args` arguments (its name not counted). `name` is `$<size>\r\n<NAME>\r\n`. */
export function writeCommandHead(writer: ByteWriter, name: Buffer, args: number): void {
  let at = writer.reserve(name.length + 16);
  at = writeHeader(writer.view, at, 0x2a, args + 1);
  name.copy(writer.buffer, at);
  writer.length = at + name.length;
}

/** Name of a command as a bulk string, for `writeCommandHead`. */
export function commandName(name: string): Buffer {
  return bulk(Buffer.from(name, "latin1"));
}

/** A bulk string, for constants. */
export function bulk(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`$${bytes.length}\r\n`, "latin1"), bytes, Buffer.from("\r\n")]);
}

/** Appends a bulk string with the bytes `source[start..end)`. */
export function writeBulk(writer: ByteWriter, source: DataView, start: number, end: number): void {
  const size = end - start;
  let at = writer.reserve(size + 24);
  const view = writer.view;
  at = writeHeader(view, at, 0x24, size);
  copyBytes(source, start, end, view, at);
  at += size;
  view.setUint16(at, 0x0d0a);
  writer.length = at + 2;
}

/** A whole command. Text is UTF-8. For rare commands. */
export function encodeCommand(args: readonly (string | Buffer)[]): Buffer {
  const writer = new ByteWriter(256);
  writeCommand(writer, args);
  return writer.take();
}

/** Appends a whole command. For rare commands. */
export function writeCommand(writer: ByteWriter, args: readonly (string | Buffer)[]): void {
  writer.writeBytes(Buffer.from(`*${args.length}\r\n`, "latin1"));
  for (const arg of args) {
    const bytes = typeof arg === "string" ? Buffer.from(arg) : arg;
    writeBulk(writer, viewOf(bytes), 0, bytes.length);
  }
}
