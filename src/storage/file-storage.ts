import { randomUUID } from "node:crypto";
import { mkdir, opendir, readFile, rename, rm, rmdir, stat, unlink, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { ObjectStorage } from "./object-storage.ts";

/** A directory as object storage; an object is a file (docs/spec/object-storage.md §4). */
export class FileStorage implements ObjectStorage {
  readonly displayName: string;
  readonly #root: string;

  /** `bucket` ends with `/`; objects are below `<bucket><volume>/`. */
  constructor(bucket: string, volume: string) {
    this.#root = `${bucket}${volume}/`;
    this.displayName = `file://${this.#root}`;
  }

  async put(key: string, data: Buffer): Promise<void> {
    const file = this.#root + key;
    const temporary = join(dirname(file), `.jfs.${basename(file).slice(0, 200)}.tmp.${randomUUID()}`);
    await mkdir(dirname(file), { recursive: true });
    try {
      await writeFile(temporary, data);
      await rename(temporary, file);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  get(key: string): Promise<Buffer> {
    return readFile(this.#root + key);
  }

  /** A key that ends with a slash is a directory: it goes only when nobody has an object in it. */
  async delete(key: string): Promise<void> {
    try {
      await (key.endsWith("/") ? rmdir(this.#root + key) : unlink(this.#root + key));
    } catch (error) {
      const { code = "" } = error as NodeJS.ErrnoException;
      if (!["ENOENT", "ENOTEMPTY", "EEXIST"].includes(code)) throw error;
    }
  }

  findForeignObject(): Promise<string | undefined> {
    return this.#findIn("");
  }

  async #findIn(prefix: string): Promise<string | undefined> {
    for await (const entry of await opendirIfThere(this.#root + prefix)) {
      const key = prefix + entry.name;
      if (entry.isDirectory()) {
        const found = key === "testing" ? undefined : await this.#findIn(`${key}/`);
        if (found !== undefined) return found;
      } else if ((await stat(this.#root + key)).size > 0) {
        return key;
      }
    }
    return undefined;
  }
}

async function opendirIfThere(path: string): Promise<AsyncIterable<import("node:fs").Dirent>> {
  try {
    return await opendir(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return (async function* () {})();
  }
}
