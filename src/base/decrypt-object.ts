import { constants, createDecipheriv, type DecipherGCM, getCiphers, type KeyObject, privateDecrypt } from "node:crypto";
import { DataError, UsageError } from "./errors.ts";

/** Ciphers by the name the reference gives them (docs/spec/object-storage.md §6). */
const CIPHERS: Readonly<Record<string, Cipher>> = {
  "aes256gcm-rsa": { name: "aes-256-gcm", keyBytes: 32, failure: "cipher: message authentication failed" },
  "chacha20-rsa": {
    name: "chacha20-poly1305",
    keyBytes: 32,
    failure: "chacha20poly1305: message authentication failed",
  },
  sm4gcm: { name: "sm4-gcm", keyBytes: 16, failure: "cipher: message authentication failed" },
};

export interface Cipher {
  readonly name: string;
  readonly keyBytes: number;
  /** The reference's words for a tag that does not fit. */
  readonly failure: string;
}

const HEAD_BYTES = 3;
export const TAG_BYTES = 16;
export const OAEP_LABEL: Buffer = Buffer.from("keys");

const DECRYPT_HINT =
  "Check that the file is an encrypted backup object of this volume, and that key and --encrypt-algo are those of the volume";

/** The cipher of that name, empty = the default; throws `UsageError` for unknown ones. */
export function cipherOf(algorithm: string): Cipher {
  const cipher = CIPHERS[algorithm === "" ? "aes256gcm-rsa" : algorithm];
  if (cipher === undefined || !Object.hasOwn(CIPHERS, algorithm === "" ? "aes256gcm-rsa" : algorithm)) {
    throw new UsageError("DECANT_E_CIPHER", `unsupport cipher: ${algorithm}`, {
      hint: `Algorithms are ${Object.keys(CIPHERS).join(", ")}`,
    });
  }
  if (!getCiphers().includes(cipher.name)) {
    throw new UsageError("DECANT_E_CIPHER", `unsupport cipher: ${algorithm}`, {
      hint: `The cryptography of this Node.js has no ${cipher.name}; use a newer one`,
    });
  }
  return cipher;
}

/**
 * Decrypts an object of an encrypted volume (docs/spec/object-storage.md §6):
 *
 *   0  u16 K    2  u8 N    3  K bytes: data key, wrapped with RSA-OAEP (SHA-256, label `keys`)
 *   N bytes nonce, ciphertext, 16 bytes authentication tag
 *
 * The tag stands at the end, so plain text is released before it has been checked: what comes is only to be trusted when
 * the stream ends without an error. Throws `DataError` with the reference's words for everything that does not fit.
 */
export async function* decryptObject(
  source: AsyncIterable<Buffer>,
  key: KeyObject,
  cipher: Cipher,
): AsyncGenerator<Buffer> {
  let head: Buffer = Buffer.alloc(0);
  let decipher: DecipherGCM | undefined;
  // The last bytes so far: at the end they are the tag.
  let held: Buffer = Buffer.alloc(0);
  for await (const chunk of source) {
    let rest = chunk;
    if (decipher === undefined) {
      head = Buffer.concat([head, chunk]);
      const size = headBytes(head);
      // One byte more than the head, as an object that ends with its head is malformed.
      if (size === undefined || head.length <= size) continue;
      decipher = openDecipher(head, key, cipher);
      rest = head.subarray(size);
    }
    const joined = held.length === 0 ? rest : Buffer.concat([held, rest]);
    const release = Math.max(joined.length - TAG_BYTES, 0);
    held = Buffer.from(joined.subarray(release));
    if (release > 0) yield decipher.update(joined.subarray(0, release));
  }
  if (decipher === undefined) throw malformed(head);
  if (held.length < TAG_BYTES) throw decryptError(`Decrypt: ${cipher.failure}`);
  decipher.setAuthTag(held);
  try {
    const last = decipher.final();
    if (last.length > 0) yield last;
  } catch {
    throw decryptError(`Decrypt: ${cipher.failure}`);
  }
}

/** Size of everything before the ciphertext, undefined while it is not known. */
function headBytes(head: Buffer): number | undefined {
  return head.length < HEAD_BYTES ? undefined : HEAD_BYTES + head.readUInt16BE(0) + head[2]!;
}

function openDecipher(head: Buffer, key: KeyObject, cipher: Cipher): DecipherGCM {
  const keyEnd = HEAD_BYTES + head.readUInt16BE(0);
  const nonce = head.subarray(keyEnd, keyEnd + head[2]!);
  let dataKey: Buffer;
  try {
    dataKey = privateDecrypt(
      { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256", oaepLabel: OAEP_LABEL },
      head.subarray(HEAD_BYTES, keyEnd),
    );
  } catch {
    throw decryptError("Decrypt: decryt key: crypto/rsa: decryption error");
  }
  if (dataKey.length !== cipher.keyBytes) {
    throw decryptError(`Decrypt: the data key has ${dataKey.length} bytes, ${cipher.name} needs ${cipher.keyBytes}`);
  }
  try {
    // The types know one overload per cipher name; all of these take a tag.
    return createDecipheriv(cipher.name as "aes-256-gcm", dataKey, nonce, { authTagLength: TAG_BYTES });
  } catch {
    throw decryptError(`Decrypt: a nonce of ${nonce.length} bytes does not fit ${cipher.name}`);
  }
}

function malformed(head: Buffer): DataError {
  if (head.length < HEAD_BYTES) {
    return decryptError("received encrypted text length is less than 3, the object is corrupted");
  }
  return decryptError(`malformed ciphertext: ${head.readUInt16BE(0)} ${head[2]}`);
}

function decryptError(message: string): DataError {
  return new DataError("DECANT_E_DECRYPT", message, { hint: DECRYPT_HINT });
}
