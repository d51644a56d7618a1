import { getCACertificates } from "node:tls";

/** In PEM form: the authorities of the system, as other clients use them, and those that Node.js brings along. */
export function trustedAuthorities(): string[] {
  return [...new Set([...getCACertificates("default"), ...getCACertificates("system")])];
}
