import { NotFoundError } from "../../base/errors.ts";
import { ROOT_INODE } from "../../volume/inode.ts";
import type { RootXattrSwap } from "../engine.ts";
import { changeLogEntries, isExpected, SwapOutcome, swapChanges, swapNames } from "../root-xattrs.ts";
import type { RespConnection } from "./resp-connection.ts";
import { runTransaction } from "./transaction.ts";

/** Extended attributes of the root: the hash `x1` (docs/spec/redis.md §8.1). `keyOf` puts the volume's prefix before a key. */
type KeyOf = (name: string) => Buffer;

const ROOT_XATTRS = `x${ROOT_INODE}`;

export async function readRootXattrs(
  connection: RespConnection,
  keyOf: KeyOf,
  names: readonly string[],
): Promise<Map<string, Buffer>> {
  await readSetting(connection, keyOf);
  return readXattrs(connection, keyOf, names);
}

/** The transaction of the reference (docs/spec/redis.md §11), which watches the hash while it looks at it. */
export async function swapRootXattrs(
  connection: RespConnection,
  keyOf: KeyOf,
  swap: RootXattrSwap,
  signal: AbortSignal,
): Promise<boolean> {
  const outcome = new SwapOutcome();
  const watched = [keyOf("setting"), keyOf(ROOT_XATTRS)];
  let isSwapped = false;
  await outcome.settle(connection.printable, signal, () =>
    runTransaction(connection, watched, signal, async () => {
      outcome.begin();
      const setting = await readSetting(connection, keyOf);
      const stored = await readXattrs(connection, keyOf, swapNames(swap));
      isSwapped = isExpected(swap, stored);
      const changes = isSwapped ? swapChanges(swap, stored) : [];
      if (changes.length > 0) outcome.end();
      return [
        ...changes.map(({ name, value }) => {
          return value === undefined ? ["HDEL", keyOf(ROOT_XATTRS), name] : ["HSET", keyOf(ROOT_XATTRS), name, value];
        }),
        ...changeLogEntries(setting, changes).flatMap((entry) => [
          ["RPUSH", keyOf("txnLog"), entry],
          ["INCR", keyOf("txnLastLog")],
        ]),
      ];
    }),
  );
  return isSwapped;
}

async function readSetting(connection: RespConnection, keyOf: KeyOf): Promise<Buffer> {
  const setting = await connection.call(["GET", keyOf("setting")]);
  if (Buffer.isBuffer(setting) && setting.length > 0) return setting;
  throw new NotFoundError("DECANT_E_NO_VOLUME", `The database ${connection.printable} holds no volume`, {
    hint: "Check the database number; a load that was cut off is none either",
  });
}

async function readXattrs(
  connection: RespConnection,
  keyOf: KeyOf,
  names: readonly string[],
): Promise<Map<string, Buffer>> {
  if (names.length === 0) return new Map();
  const values = (await connection.call(["HMGET", keyOf(ROOT_XATTRS), ...names])) as (Buffer | null)[];
  return new Map(
    names.flatMap((name, i) => (Buffer.isBuffer(values[i]) ? [[name, Buffer.from(values[i])] as const] : [])),
  );
}

/** TIME: Unix seconds, and microseconds of it. */
export async function serverTime(connection: RespConnection): Promise<Date> {
  const [seconds, microseconds] = (await connection.call(["TIME"])) as [Buffer, Buffer];
  return new Date(Number(String(seconds)) * 1000 + Math.floor(Number(String(microseconds)) / 1000));
}
