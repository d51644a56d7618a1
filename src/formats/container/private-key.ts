import type { KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileError } from "../../base/file-error.ts";
import { parsePrivateKey } from "../../base/private-key.ts";

/** Reads the RSA private key in a PEM file. */
export async function readPrivateKey(
  keyFile: string,
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<KeyObject> {
  const pem = await readFile(keyFile, { encoding: "latin1", signal }).catch((error: unknown) => {
    throw fileError("read the key file", keyFile, error);
  });
  return parsePrivateKey(pem, env, keyFile);
}
