import { DataError } from "../../../base/errors.ts";
import type { OnLoss } from "../../notes.ts";
import type { Crc64 } from "./crc64.ts";
import { cut, damaged } from "./rdb-errors.ts";
import { CHECKSUM_VERSION } from "./rdb-types.ts";
import type { RdbWindow } from "./rdb-window.ts";

const CHECKSUM_BYTES = 8;
const NOTHING_PROVES = "nothing proves what was read";

export interface RdbEndOptions {
  /** That of all bytes that were read; undefined: not compared. */
  readonly checksum: Crc64 | undefined;
  readonly trailer?: () => Buffer | undefined;
  readonly onLoss?: OnLoss;
}

/** Reads the checksum, and that nothing comes behind it. Of a file all has been given by now: there a failure is a loss like others. */
export async function readEnd(
  window: RdbWindow,
  name: string,
  version: number,
  { checksum, trailer, onLoss }: RdbEndOptions,
): Promise<void> {
  const fail = (failure: DataError, consequence: string): void => {
    if (onLoss === undefined || trailer !== undefined) throw failure;
    onLoss({ kind: undefined, message: `${failure.message}: ${consequence}` });
  };
  window.updateChecksum();
  if (version >= CHECKSUM_VERSION) {
    if (!(await window.fill(CHECKSUM_BYTES))) return fail(cut(name, window.offsetOf(window.end)), NOTHING_PROVES);
    const wrong = compareChecksum(name, window, checksum?.value);
    if (wrong !== undefined) fail(wrong, NOTHING_PROVES);
    window.at += CHECKSUM_BYTES;
  }
  const expected = trailer?.();
  const offset = window.offsetOf(window.at);
  if (expected === undefined) {
    if (!(await window.fill(1))) return;
    const message = `${name} goes on behind its end at byte ${offset}`;
    const hint = "An append-only file that begins as an RDB is no RDB file: take that of SAVE or BGSAVE";
    const failure = new DataError("DECANT_E_RDB_TRAILING", message, { location: { offset }, hint });
    return fail(failure, "what stands there was not read");
  }
  const isThere = await window.fill(expected.length);
  if (isThere && expected.equals(window.bytes.subarray(window.at, window.at + expected.length))) return;
  throw damaged(name, "what the server announced as the end does not come there", offset);
}

/** A server that is told not to compute checksums writes 0. */
function compareChecksum(name: string, window: RdbWindow, computed: bigint | undefined): DataError | undefined {
  const stored = window.view.getBigUint64(window.at, true);
  if (computed === undefined || stored === 0n || stored === computed) return undefined;
  const hex = (value: bigint): string => value.toString(16).padStart(16, "0");
  return new DataError(
    "DECANT_E_RDB_CHECKSUM",
    `The checksum of ${name} is wrong: ${hex(stored)} is stored, ${hex(computed)} is that of its bytes`,
    { location: { offset: window.offsetOf(window.at) }, hint: "The file is damaged: take another one" },
  );
}
