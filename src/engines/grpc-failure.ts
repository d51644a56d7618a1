import type { ServiceError } from "@grpc/grpc-js";
import { errorText } from "../base/errors.ts";

/**
 * The first real cause of a call that failed, as users should read it: without the sentences of the library around it, where in
 * OpenSSL it happened, when, and advice for programs of one's own. `authority` is the parameter of addresses that names one.
 */
export function grpcFailure(error: ServiceError, authority: "ca" | "cacert"): string {
  const cause = /Last error: (.*?)(?:\. Resolution note: .*)?$/s.exec(error.details)?.[1];
  const text = (cause || error.details || errorText(error))
    .replace(/^Error(?: \[\w+\])?: /, "")
    .replace(/^[0-9A-F]+:error:[0-9A-F]+:SSL routines:[^:]*:([^:]*):.*$/m, "TLS failed, $1")
    .replace(/\s*\(\d{4}-\d\d-\d\dT[\d:.]+Z\)$/, "")
    .replace(/; if the root CA is installed locally.*$/s, "")
    .trim();
  if (/wrong version number/.test(text)) return `${text}: it does not speak TLS`;
  if (/^Protocol error$/.test(text)) return `${text}: it does not speak gRPC`;
  if (/alert bad certificate/.test(text))
    return `${text}: it wants a certificate of the client that it trusts, cert and key`;
  if (/alert certificate required/.test(text)) return `${text}: it wants a certificate of the client, cert and key`;
  if (!/^unable to verify|self-signed certificate|^unable to get/.test(text)) return text;
  return `${text}: it is not of the authority that ${authority} names`;
}
