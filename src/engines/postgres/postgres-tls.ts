import { readFileSync } from "node:fs";
import type { ConnectionOptions } from "node:tls";
import { errorText, UsageError } from "../../base/errors.ts";
import { trustedAuthorities } from "../trusted-authorities.ts";
import type { PostgresTls } from "./postgres-address.ts";

/** TLS options of one attempt to connect; false = without TLS. */
export type TlsAttempt = ConnectionOptions | false;

/**
 * How to try to connect, one after another, as the client libraries of PostgreSQL understand `sslmode`. A Unix socket never
 * takes TLS. Throws `UsageError` for a certificate file that cannot be read.
 */
export function tlsAttempts(tls: PostgresTls, host: string): TlsAttempt[] {
  if (tls.mode === "disable" || host.startsWith("/")) return [false];
  const options = tlsOptions(tls);
  switch (tls.mode) {
    case "allow":
      return [false, options];
    case "prefer":
      return [options, false];
    default:
      return [options];
  }
}

function tlsOptions(tls: PostgresTls): ConnectionOptions {
  // With a root certificate `require` verifies too, as everywhere else.
  const verifiesChain = tls.mode.startsWith("verify") || (tls.mode === "require" && tls.rootCert !== undefined);
  const options: ConnectionOptions = { rejectUnauthorized: verifiesChain };
  if (verifiesChain && tls.mode !== "verify-full") options.checkServerIdentity = () => undefined;
  if (verifiesChain) {
    const isFile = tls.rootCert !== undefined && tls.rootCert !== "system";
    options.ca = isFile ? readFile("sslrootcert", tls.rootCert!) : trustedAuthorities();
  }
  if (tls.cert !== undefined) options.cert = readFile("sslcert", tls.cert);
  if (tls.key !== undefined) options.key = readFile("sslkey", tls.key);
  if (tls.keyPassword !== undefined) options.passphrase = tls.keyPassword;
  return options;
}

function readFile(parameter: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new UsageError("DECANT_E_META_URL", `Cannot read the file of ${parameter}: ${errorText(cause)}`, { cause });
  }
}
