import { silentLogger } from "../../src/base/logger.ts";
import { ProtobufWriter } from "../../src/base/protobuf.ts";
import { connectorFor } from "../../src/engines/tikv/grpc-connection.ts";
import { Outages } from "../../src/engines/tikv/outages.ts";
import { PdClient } from "../../src/engines/tikv/pd-client.ts";
import { parseTikvAddress } from "../../src/engines/tikv/tikv-address.ts";
import { TikvClient } from "../../src/engines/tikv/tikv-client.ts";
import { DEFAULT_TIMING } from "../../src/engines/tikv/tikv-errors.ts";

const never: AbortSignal = new AbortController().signal;

/** A transaction of a client that went away in the middle. */
export interface LeftTransaction {
  /** The first one is the primary. */
  readonly keys: readonly string[];
  readonly value: string;
  /** Milliseconds for which it counts as alive. */
  readonly ttlMs: number;
  /** What happened to the primary: `absent` = it was not locked yet. */
  readonly primary: "locked" | "committed" | "rolled-back" | "absent";
  /** Whether readers may push the commit behind them. */
  readonly canBePushed?: boolean;
  readonly asyncCommit?: boolean;
  /** With asynchronous commit: this many of the last keys were not locked any more. */
  readonly missing?: number;
}

/** Leaves its locks below a META-URL. Gives the timestamp at which it began, and a way to commit it at last. */
export async function leaveLocks(
  url: string,
  { keys, value, ttlMs, primary, canBePushed = true, asyncCommit = false, missing = 0 }: LeftTransaction,
): Promise<{ startTs: bigint; commitPrimary(): Promise<void> }> {
  const address = parseTikvAddress(url);
  const connect = connectorFor(address.tls);
  const options = { timing: DEFAULT_TIMING, outages: new Outages(silentLogger) };
  const pd = await PdClient.open(address.endpoints, connect, { ...options, signal: never });
  const client = new TikvClient(pd, connect, options);
  const patience = client.patience(never);
  const startTs = await pd.timestamp(patience);
  const whole = keys.map((key) => Buffer.concat([address.prefix, Buffer.from(key)]));
  for (const [i, key] of whole.entries()) {
    if ((i === 0 && primary === "absent") || i >= whole.length - missing) continue;
    const request = (): ProtobufWriter => {
      const mutation = new ProtobufWriter().bytes(2, key).bytes(3, Buffer.from(value));
      const message = new ProtobufWriter().message(2, mutation).bytes(3, whole[0]!).number(4, startTs).number(5, ttlMs);
      message.number(8, keys.length);
      if (canBePushed) message.number(10, startTs + 1n);
      if (!asyncCommit) return message;
      message.bool(11, true);
      if (i === 0) for (const secondary of whole.slice(1)) message.element(12, secondary);
      return message;
    };
    await client.callFor(key, () => ({ method: "KvPrewrite", request: request() }), patience);
  }
  const commitPrimary = async (): Promise<void> => {
    const commitTs = await pd.timestamp(patience);
    const request = (): ProtobufWriter =>
      new ProtobufWriter().number(2, startTs).element(3, whole[0]!).number(4, commitTs);
    await client.callFor(whole[0]!, () => ({ method: "KvCommit", request: request() }), patience);
  };
  if (primary === "committed") await commitPrimary();
  if (primary === "rolled-back") {
    const request = (): ProtobufWriter => new ProtobufWriter().number(2, startTs).element(3, whole[0]!);
    await client.callFor(whole[0]!, () => ({ method: "KvBatchRollback", request: request() }), patience);
  }
  return { startTs, commitPrimary };
}
