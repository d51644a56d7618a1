import {
  type CipherGCMTypes,
  constants,
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
} from "node:crypto";
import { DataError, errorText, UsageError } from "../base/errors.ts";
import { parsePrivateKey } from "../base/private-key.ts";
import type { ObjectStorage } from "./object-storage.ts";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Data ciphers by `EncryptAlgo` (docs/spec/object-storage.md §6). Node's types know GCM names only. */
const CIPHERS: Readonly<Record<string, { readonly name: CipherGCMTypes; readonly keyBytes: number }>> = {
  "aes256gcm-rsa": { name: "aes-256-gcm", keyBytes: 32 },
  "chacha20-rsa": { name: "chacha20-poly1305" as CipherGCMTypes, keyBytes: 32 },
  sm4gcm: { name: "sm4-gcm" as CipherGCMTypes, keyBytes: 16 },
};

/** The private key of an encrypted volume, ready for use. */
export interface ObjectKey {
  readonly key: KeyObject;
  readonly algorithm: string;
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
  const name = algorithm === "" ? "aes256gcm-rsa" : algorithm;
  if (!Object.hasOwn(CIPHERS, name)) throw new UsageError("DECANT_E_CIPHER", `unsupport cipher: ${algorithm}`);
  return { key: parsePrivateKey(pem, env, "the volume's EncryptKey"), algorithm: name };
}

/** u16 length of the wrapped key, u8 length of the nonce, wrapped key, nonce, ciphertext, tag. */
export function encryptObject(plain: Buffer, objectKey: ObjectKey): Buffer {
  const cipher = CIPHERS[objectKey.algorithm]!;
  const dataKey = randomBytes(cipher.keyBytes);
  const nonce = randomBytes(NONCE_BYTES);
  const wrapped = publicEncrypt({ ...wrapping(createPublicKey(objectKey.key)) }, dataKey);
  const encryption = createCipheriv(cipher.name, dataKey, nonce, { authTagLength: TAG_BYTES });
  const head = Buffer.from([wrapped.length >> 8, wrapped.length & 0xff, NONCE_BYTES]);
  return Buffer.concat([head, wrapped, nonce, encryption.update(plain), encryption.final(), encryption.getAuthTag()]);
}

/** Throws `DataError` for what is cut off, made with another key, or changed. */
export function decryptObject(bytes: Buffer, objectKey: ObjectKey): Buffer {
  const malformed = (reason: string, cause?: unknown) =>
    new DataError("DECANT_E_DECRYPT", `Decrypt: ${reason}`, cause === undefined ? {} : { cause });
  if (bytes.length < 3) throw malformed("received encrypted text length is less than 3, the object is corrupted");
  const bodyStart = 3 + bytes.readUInt16BE(0) + bytes[2]!;
  if (bytes[2] !== NONCE_BYTES || bodyStart + TAG_BYTES > bytes.length) {
    throw malformed(`malformed ciphertext: ${bytes.readUInt16BE(0)} ${bytes[2]}`);
  }
  const cipher = CIPHERS[objectKey.algorithm]!;
  let dataKey: Buffer;
  try {
    dataKey = privateDecrypt(wrapping(objectKey.key), bytes.subarray(3, bodyStart - NONCE_BYTES));
  } catch (cause) {
    throw malformed(`decryt key: ${errorText(cause)}`, cause);
  }
  if (dataKey.length !== cipher.keyBytes) throw malformed(`the data key is not one of ${objectKey.algorithm}`);
  const nonce = bytes.subarray(bodyStart - NONCE_BYTES, bodyStart);
  const decryption = createDecipheriv(cipher.name, dataKey, nonce, { authTagLength: TAG_BYTES });
  decryption.setAuthTag(bytes.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decryption.update(bytes.subarray(bodyStart, -TAG_BYTES)), decryption.final()]);
  } catch (cause) {
    throw malformed("message authentication failed", cause);
  }
}

function wrapping(key: KeyObject) {
  return { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256", oaepLabel: Buffer.from("keys") };
}

/** Encrypts every object that is written, as volumes with an `EncryptKey` do. */
export class EncryptedStorage implements ObjectStorage {
  readonly displayName: string;
  readonly #storage: ObjectStorage;
  readonly #key: ObjectKey;

  constructor(storage: ObjectStorage, key: ObjectKey) {
    this.#storage = storage;
    this.#key = key;
    this.displayName = `${storage.displayName}(encrypted)`;
  }

  put(key: string, data: Buffer): Promise<void> {
    return this.#storage.put(key, encryptObject(data, this.#key));
  }

  async get(key: string): Promise<Buffer> {
    return decryptObject(await this.#storage.get(key), this.#key);
  }

  delete(key: string): Promise<void> {
    return this.#storage.delete(key);
  }

  findForeignObject(): Promise<string | undefined> {
    return this.#storage.findForeignObject();
  }
}
