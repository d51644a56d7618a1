import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ConnectionOptions } from "mysql2";
import { errorText, fileReason, UsageError } from "../../base/errors.ts";
import { trustedAuthorities } from "../trusted-authorities.ts";
import type { MysqlAddress } from "./mysql-address.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** The variable by which the reference, as every Go program, finds certificates of its own. */
const AUTHORITIES_VARIABLE = "SSL_CERT_FILE";

/**
 * How the library is to encrypt; undefined = not. Whether the certificate is one for the host is not looked at by it, see
 * `MysqlConnection`. Throws `UsageError` for files that cannot be used.
 */
export function tlsOptions(address: MysqlAddress, env: Environment): ConnectionOptions["ssl"] {
  const { tls, tlsFiles } = address;
  if (tls === "off") return undefined;
  return {
    rejectUnauthorized: tls === "verify",
    verifyIdentity: false,
    ...(tls === "verify" ? authorities(tlsFiles.ca, env) : {}),
    ...ownCertificate(tlsFiles),
  };
}

/** Without a file those of the system, as for the reference, and those that Node.js brings along. */
function authorities(file: string | undefined, env: Environment): { ca: string | string[] } {
  const [name, path] = file === undefined ? [AUTHORITIES_VARIABLE, env[AUTHORITIES_VARIABLE]] : ["ssl-ca", file];
  if (path === undefined || path === "") {
    return { ca: trustedAuthorities() };
  }
  const ca = readFile(name, path);
  readCertificate(name, path, ca);
  return { ca };
}

/** Certificate and key may be in one file: then one of the parameters is enough, as for the programs of MySQL. */
function ownCertificate({ cert = "", key = "" }: MysqlAddress["tlsFiles"]): { cert?: string; key?: string } {
  if (cert === "" && key === "") return {};
  const [certFile, keyFile] = [cert || key, key || cert];
  const [certName, keyName] = [cert === "" ? "ssl-key" : "ssl-cert", key === "" ? "ssl-cert" : "ssl-key"];
  const pair = { cert: readFile(certName, certFile), key: readFile(keyName, keyFile) };
  if (!readCertificate(certName, certFile, pair.cert).checkPrivateKey(readKey(keyName, keyFile, pair.key))) {
    throw unusable(keyName, keyFile, `its key is not that of the certificate in ${certFile}`);
  }
  return pair;
}

function readFile(name: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw unusable(name, file, fileReason(cause), cause);
  }
}

function readCertificate(name: string, file: string, text: string): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch (cause) {
    throw unusable(name, file, `it holds no certificate in PEM form (${errorText(cause)})`, cause);
  }
}

function readKey(name: string, file: string, text: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch (cause) {
    const reason = /ENCRYPTED/.test(text)
      ? "its key is protected by a pass phrase, which decant does not ask for"
      : `it holds no private key in PEM form (${errorText(cause)})`;
    throw unusable(name, file, reason, cause);
  }
}

function unusable(name: string, file: string, reason: string, cause?: unknown): UsageError {
  return new UsageError("DECANT_E_META_URL", `Cannot use the file ${file} of ${name}: ${reason}`, { cause });
}
