/**
 * A metadata or bucket address that is safe to print: everything between the first `:` after the scheme and the last `@`
 * becomes `****`, as the reference does it (docs/spec/cli.md §3), and so does the value of every query parameter whose
 * name speaks of a password or a secret.
 */
export function redactUrl(url: string): string {
  const mark = url.indexOf("?");
  // An `@` behind the account belongs to a parameter; without an account before it, it may be what ends the password.
  const isParameter = mark >= 0 && url.lastIndexOf("@", mark) >= 0;
  return isParameter ? redactAccount(redactParameters(url)) : redactParameters(redactAccount(url));
}

function redactAccount(url: string): string {
  const schemeEnd = url.indexOf("://");
  const start = schemeEnd < 0 ? 0 : schemeEnd + 3;
  const at = url.lastIndexOf("@");
  const colon = url.indexOf(":", start);
  return at > 0 && colon >= 0 && colon < at ? `${url.slice(0, colon)}:****${url.slice(at)}` : url;
}

function redactParameters(url: string): string {
  return url.replace(/([?&][^=&]*(?:password|passwd|secret|token)[^=&]*=)[^&]*/gi, "$1****");
}
