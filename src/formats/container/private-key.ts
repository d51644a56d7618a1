import { createPrivateKey, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { errorText, UsageError } from "../../base/errors.ts";
import { fileError } from "./file-error.ts";

/** The environment variable with the passphrase (docs/spec/json-dump.md §9). */
const PASSPHRASE = "JFS_RSA_PASSPHRASE";

/**
 * Reads an RSA private key from a PEM file: PKCS#1 or PKCS#8, plain or encrypted (docs/spec/object-storage.md §6). The
 * passphrase comes from `JFS_RSA_PASSPHRASE` in `env` and is ignored for a plain key.
 */
export async function readPrivateKey(
  keyFile: string,
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<KeyObject> {
  const pem = await readFile(keyFile, { encoding: "latin1", signal }).catch((error: unknown) => {
    throw fileError("read the key file", keyFile, error);
  });
  if (!pem.includes("-----BEGIN ")) {
    throw new UsageError("DECANT_E_KEY", `parse private key: ${keyFile} holds no key in PEM format`, {
      hint: "Give the private key file that the volume was formatted with",
    });
  }
  const isEncrypted = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type:.*ENCRYPTED/m.test(pem);
  const passphrase = env[PASSPHRASE] ?? "";
  if (isEncrypted && passphrase === "") {
    throw new UsageError("DECANT_E_KEY_PASSPHRASE", `passphrase is required to private key: ${keyFile}`, {
      hint: `Set the environment variable ${PASSPHRASE}`,
    });
  }
  return parseKey(pem, isEncrypted ? passphrase : undefined, keyFile);
}

function parseKey(pem: string, passphrase: string | undefined, keyFile: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(passphrase === undefined ? { key: pem } : { key: pem, passphrase });
  } catch (error) {
    if (passphrase !== undefined) {
      throw new UsageError("DECANT_E_KEY_PASSPHRASE", "parse private key: x509: decryption password incorrect", {
        hint: `The passphrase in ${PASSPHRASE} does not open ${keyFile}`,
      });
    }
    throw new UsageError("DECANT_E_KEY", `parse private key: ${errorText(error)}`, {
      hint: `${keyFile} must hold a private key in PEM format; a public key or certificate cannot decrypt`,
    });
  }
  if (key.asymmetricKeyType !== "rsa") {
    throw new UsageError("DECANT_E_KEY", `the key in ${keyFile} is of type ${key.asymmetricKeyType}, not RSA`, {
      hint: "Only objects whose data key is wrapped with RSA can be decrypted; use `juicefs load` for others",
    });
  }
  return key;
}
