import type { KeyObject } from "node:crypto";
import { type Cipher, cipherOf, decryptObject } from "../base/decrypt-object.ts";
import { Encryptor } from "../base/encrypt-object.ts";
import { DataError } from "../base/errors.ts";
import { parsePrivateKey } from "../base/private-key.ts";
import {
  type GetStreamOptions,
  type ListedObject,
  type ObjectInfo,
  type ObjectStorage,
  readWhole,
} from "./object-storage.ts";

/** The private key of an encrypted volume, ready for use. */
export interface ObjectKey {
  readonly key: KeyObject;
  readonly cipher: Cipher;
}

/**
 * Takes over the private key that a volume keeps in its setting. Throws `UsageError` for a missing or wrong passphrase, a
 * key that is no RSA key and a cipher not known.
 */
export function openObjectKey(
  pem: string,
  algorithm: string,
  env: Readonly<Record<string, string | undefined>>,
): ObjectKey {
  const cipher = cipherOf(algorithm);
  return { key: parsePrivateKey(pem, env, "the volume's EncryptKey"), cipher };
}

/**
 * Encrypts every object that is written, of whatever size, as volumes with an `EncryptKey` do. An object that is plain gzip is read
 * as it is: so the reference stores its large backups, whose encryption begins with the size of a key (docs/spec/auto-backup.md
 * §7). Objects are encrypted as one, so one can have 64 GiB at most: `UsageError` for more.
 */
export class EncryptedStorage implements ObjectStorage {
  readonly displayName: string;
  readonly #storage: ObjectStorage;
  readonly #key: ObjectKey;

  constructor(storage: ObjectStorage, key: ObjectKey) {
    this.#storage = storage;
    this.#key = key;
    this.displayName = `${storage.displayName}(encrypted)`;
  }

  create(signal: AbortSignal): Promise<void> {
    return this.#storage.create(signal);
  }

  put(key: string, data: Buffer, signal: AbortSignal): Promise<void> {
    const encryptor = new Encryptor(this.#key.key, this.#key.cipher);
    return this.#storage.put(key, Buffer.concat([encryptor.update(data), encryptor.end()]), signal);
  }

  putStream(
    key: string,
    pieces: AsyncIterable<Buffer>,
    options: { readonly signal: AbortSignal },
  ): Promise<{ bytes: number }> {
    return this.#storage.putStream(key, encrypted(pieces, new Encryptor(this.#key.key, this.#key.cipher)), options);
  }

  get(key: string, signal: AbortSignal): Promise<Buffer> {
    return readWhole(this, key, signal);
  }

  async *getStream(key: string, options: GetStreamOptions): AsyncGenerator<Buffer> {
    const { head, whole } = await peek(this.#storage.getStream(key, options));
    if (head[0] === 0x1f && head[1] === 0x8b) {
      options.onClear?.();
      yield* whole;
      return;
    }
    try {
      yield* decryptObject(whole, this.#key.key, this.#key.cipher);
    } catch (error) {
      if (!(error instanceof DataError) || error.code !== "DECANT_E_DECRYPT") throw error;
      throw new DataError("DECANT_E_DECRYPT", `Cannot read ${this.#storage.displayName}${key}: ${error.message}`, {
        hint: "It is damaged, not encrypted, or encrypted with the key of another volume",
      });
    }
  }

  head(key: string, signal: AbortSignal): Promise<ObjectInfo | undefined> {
    return this.#storage.head(key, signal);
  }

  list(prefix: string, options: { readonly signal: AbortSignal }): AsyncIterable<ListedObject> {
    return this.#storage.list(prefix, options);
  }

  delete(key: string, signal: AbortSignal): Promise<void> {
    return this.#storage.delete(key, signal);
  }

  findForeignObject(signal: AbortSignal): Promise<string | undefined> {
    return this.#storage.findForeignObject(signal);
  }

  close(): Promise<void> {
    return this.#storage.close();
  }
}

async function* encrypted(pieces: AsyncIterable<Buffer>, encryptor: Encryptor): AsyncGenerator<Buffer> {
  for await (const piece of pieces) yield encryptor.update(piece);
  yield encryptor.end();
}

/** Takes the first two bytes without taking them away from `whole`, which ends the source in any case when it is iterated. */
async function peek(source: AsyncIterable<Buffer>): Promise<{ head: Buffer; whole: AsyncGenerator<Buffer> }> {
  const iterator = source[Symbol.asyncIterator]();
  let head: Buffer = Buffer.alloc(0);
  let isDone = false;
  while (head.length < 2 && !isDone) {
    const next = await iterator.next();
    isDone = next.done === true;
    if (next.done !== true) head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
  }
  async function* whole(): AsyncGenerator<Buffer> {
    try {
      if (head.length > 0) yield head;
      while (!isDone) {
        const next = await iterator.next();
        isDone = next.done === true;
        if (next.done !== true) yield next.value;
      }
    } finally {
      if (!isDone) await iterator.return?.();
    }
  }
  return { head, whole: whole() };
}
