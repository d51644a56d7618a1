import { open, stat } from "node:fs/promises";
import { fileError } from "../../base/file-error.ts";
import { compressionOf } from "./decompress.ts";

const HEAD_BYTES = 64;

/**
 * Whether a file is encrypted (docs/spec/json-dump.md §9), by its first bytes: it begins with the size of a wrapped key, which
 * is that of an RSA modulus, where others begin with `{`, the mark of a compression or that of a binary dump. What is no
 * regular file cannot be looked at before it is read, and counts as encrypted.
 */
export async function isEncryptedFile(path: string): Promise<boolean> {
  const failed = (error: unknown): never => {
    throw fileError("read", path, error);
  };
  if (!(await stat(path).catch(failed)).isFile()) return true;
  const handle = await open(path, "r").catch(failed);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return looksEncrypted(buffer.subarray(0, bytesRead));
  } finally {
    await handle.close();
  }
}

/** The smallest and largest wrapped keys: RSA of 1024 to 16384 bits. */
const MIN_KEY_BYTES = 128;
const MAX_KEY_BYTES = 2048;

function looksEncrypted(head: Buffer): boolean {
  if (head.length < 3 || compressionOf(head) !== "none") return false;
  const keyBytes = head.readUInt16BE(0);
  return keyBytes >= MIN_KEY_BYTES && keyBytes <= MAX_KEY_BYTES;
}
