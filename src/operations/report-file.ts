import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { FileError, fileReason } from "../base/errors.ts";
import { formatJsonLine, type JsonValue } from "../base/json-text.ts";

const BUFFER_CHARACTERS = 64 * 1024;

/** A report of one JSON document per line, written in portions. Throws `FileError`, which names the option that asked for it. */
export class ReportFile {
  readonly #path: string;
  readonly #option: string;
  readonly #descriptor: number;
  #text = "";
  #size = 0;

  /** A file of that name is replaced. */
  constructor(path: string, option: string) {
    this.#path = path;
    this.#option = option;
    this.#descriptor = this.#try(() => openSync(path, "w"));
  }

  add(document: JsonValue): void {
    this.#text += `${formatJsonLine(document)}\n`;
    if (this.#text.length >= BUFFER_CHARACTERS) this.flush();
  }

  flush(): void {
    const bytes = Buffer.from(this.#text);
    this.#text = "";
    for (let at = 0; at < bytes.length; ) {
      const written = this.#try(() => writeSync(this.#descriptor, bytes, at, bytes.length - at, this.#size));
      at += written;
      this.#size += written;
    }
  }

  clear(): void {
    this.#text = "";
    this.#size = 0;
    this.#try(() => ftruncateSync(this.#descriptor));
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #try<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw new FileError("DECANT_E_REPORT_FILE", `Cannot write the report ${this.#path}: ${fileReason(error)}`, {
        cause: error,
        hint: `Give ${this.#option} a file in a directory that can be written`,
      });
    }
  }
}
