import {
  type CipherGCM,
  constants,
  createCipheriv,
  createPublicKey,
  type KeyObject,
  publicEncrypt,
  randomBytes,
} from "node:crypto";
import { type Cipher, OAEP_LABEL, TAG_BYTES } from "./decrypt-object.ts";
import { UsageError } from "./errors.ts";

const NONCE_BYTES = 12;
/** What one key and nonce may encrypt at most, by the definition of GCM: 2^39 - 256 bits. */
const MAX_BYTES = 2 ** 36 - 32;

/**
 * Encrypts a document of any size in the layout of encrypted objects (decrypt-object.ts, docs/spec/json-dump.md §9), which `juicefs
 * load --encrypt-rsa-key` reads. The data key is new, and wrapped with the public half of `key`.
 */
export class Encryptor {
  readonly #cipher: CipherGCM;
  #head: Buffer | undefined;
  #bytes = 0;

  constructor(key: KeyObject, cipher: Cipher) {
    const dataKey = randomBytes(cipher.keyBytes);
    const wrapped = publicEncrypt(
      {
        key: createPublicKey(key),
        padding: constants.RSA_PKCS1_OAEP_PADDING,
        oaepHash: "sha256",
        oaepLabel: OAEP_LABEL,
      },
      dataKey,
    );
    const nonce = randomBytes(NONCE_BYTES);
    const sizes = Buffer.alloc(3);
    sizes.writeUInt16BE(wrapped.length, 0);
    sizes[2] = nonce.length;
    this.#head = Buffer.concat([sizes, wrapped, nonce]);
    // The types know one overload per cipher name; all of these take a tag.
    this.#cipher = createCipheriv(cipher.name as "aes-256-gcm", dataKey, nonce, { authTagLength: TAG_BYTES });
  }

  /** The next part of the object for `bytes`. Throws `UsageError` for more than 64 GiB. */
  update(bytes: Buffer): Buffer {
    this.#bytes += bytes.length;
    if (this.#bytes > MAX_BYTES) {
      throw new UsageError("DECANT_E_ENCRYPT_SIZE", "More than 64 GiB cannot be encrypted as one object", {
        hint: "Compress the output, or encrypt it with another program",
      });
    }
    return this.#withHead(this.#cipher.update(bytes));
  }

  /** The last part: the authentication tag. */
  end(): Buffer {
    return this.#withHead(Buffer.concat([this.#cipher.final(), this.#cipher.getAuthTag()]));
  }

  #withHead(bytes: Buffer): Buffer {
    const head = this.#head;
    this.#head = undefined;
    return head === undefined ? bytes : Buffer.concat([head, bytes]);
  }
}
