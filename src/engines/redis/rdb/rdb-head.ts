import { DataError } from "../../../base/errors.ts";
import { cut } from "./rdb-errors.ts";
import { MAX_VERSION } from "./rdb-types.ts";
import type { RdbWindow } from "./rdb-window.ts";

const HEAD_BYTES = 9;

export interface RdbHead {
  readonly version: number;
  readonly magic: "REDIS" | "VALKEY";
}

/** Reads what every RDB file begins with. Throws `DataError` for what is none, or of a newer version. */
export async function readHead(window: RdbWindow, name: string): Promise<RdbHead> {
  await window.fill(HEAD_BYTES);
  const head = window.bytes.toString("latin1", 0, Math.min(window.end, HEAD_BYTES));
  const match = /^(?:(REDIS)([0-9]{4})|(VALKEY)([0-9]{3}))$/.exec(head);
  if (match === null) {
    if (window.end < HEAD_BYTES && "REDIS".startsWith(head.slice(0, 5))) throw cut(name, window.end);
    throw new DataError("DECANT_E_RDB_FORMAT", `${name} is no RDB file: it begins with ${JSON.stringify(head)}`, {
      location: { offset: 0 },
      hint: head.startsWith("\x1f\x8b")
        ? "It is compressed by gzip: decompress it first"
        : "Take the file that SAVE, BGSAVE or redis-cli --rdb writes; an append-only file is none",
    });
  }
  const magic = (match[1] ?? match[3]) as "REDIS" | "VALKEY";
  const version = Number(match[2] ?? match[4]);
  if (version < 1 || version > MAX_VERSION[magic]) {
    throw new DataError(
      "DECANT_E_RDB_VERSION",
      `${name} is of RDB version ${version} of ${magic === "REDIS" ? "Redis" : "Valkey"}, newer than ${MAX_VERSION[magic]}`,
      { location: { offset: 5 }, hint: "Take a newer decant, or dump from the server with --snapshot tracking" },
    );
  }
  window.at = HEAD_BYTES;
  return { version, magic };
}
