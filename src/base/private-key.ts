import { createPrivateKey, type KeyObject } from "node:crypto";
import { errorText, UsageError } from "./errors.ts";

/** The environment variable with the passphrase (docs/spec/json-dump.md §9). */
const PASSPHRASE = "JFS_RSA_PASSPHRASE";

/**
 * An RSA private key in PEM: PKCS#1 or PKCS#8, plain or encrypted (docs/spec/object-storage.md §6). The passphrase comes
 * from `JFS_RSA_PASSPHRASE` in `env` and is ignored for a plain key. `place` tells in messages where the text was found.
 */
export function parsePrivateKey(
  pem: string,
  env: Readonly<Record<string, string | undefined>>,
  place: string,
): KeyObject {
  if (!pem.includes("-----BEGIN ")) {
    throw new UsageError("DECANT_E_KEY", `parse private key: ${place} holds no key in PEM format`, {
      hint: "It must be the private key that the volume was formatted with",
    });
  }
  const isEncrypted = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type:.*ENCRYPTED/m.test(pem);
  const passphrase = env[PASSPHRASE] ?? "";
  if (isEncrypted && passphrase === "") {
    throw new UsageError("DECANT_E_KEY_PASSPHRASE", `passphrase is required to private key: ${place}`, {
      hint: `Set the environment variable ${PASSPHRASE}`,
    });
  }
  const key = openKey(pem, isEncrypted ? passphrase : undefined, place);
  if (key.asymmetricKeyType !== "rsa") {
    throw new UsageError("DECANT_E_KEY", `the key in ${place} is of type ${key.asymmetricKeyType}, not RSA`, {
      hint: "decant knows objects whose data key is wrapped with RSA; use `juicefs` for others",
    });
  }
  return key;
}

function openKey(pem: string, passphrase: string | undefined, place: string): KeyObject {
  try {
    return createPrivateKey(passphrase === undefined ? { key: pem } : { key: pem, passphrase });
  } catch (error) {
    if (passphrase !== undefined) {
      throw new UsageError("DECANT_E_KEY_PASSPHRASE", "parse private key: x509: decryption password incorrect", {
        hint: `The passphrase in ${PASSPHRASE} does not open ${place}`,
      });
    }
    throw new UsageError("DECANT_E_KEY", `parse private key: ${errorText(error)}`, {
      hint: `${place} must hold a private key in PEM format; a public key or certificate cannot decrypt`,
    });
  }
}
