import { raceAbort } from "../../base/abortable.ts";
import { EngineError, isAbortError } from "../../base/errors.ts";
import { ProtobufReader, ProtobufWriter } from "../../base/protobuf.ts";
import {
  CallError,
  type CallOptions,
  type Connector,
  type GrpcConnection,
  GrpcConnections,
} from "./grpc-connection.ts";
import { encodeKey } from "./key-codec.ts";
import type { Outages } from "./outages.ts";
import { answerError, type Patience, readAnswer, type TikvTiming } from "./tikv-errors.ts";
import { type Peer, type Region, readPeer, readRegion } from "./tikv-messages.ts";
import { TimestampStream } from "./timestamp-stream.ts";

/** How long opening waits for one of the addresses. */
const CONNECT_MS = 5_000;
const SERVICE = "/pdpb.PD/";
const WHO = "the leader of the placement drivers";
const GET_MEMBERS = `${SERVICE}GetMembers`;
/** How a store that was removed is told of: as an error without a number of its own. */
const UNKNOWN_STORE = /invalid store ID \d+, not found/;

export interface PdOptions {
  readonly timing: TikvTiming;
  readonly outages: Outages;
}

interface Leader {
  readonly connection: GrpcConnection;
  readonly timestamps: TimestampStream;
}

/** The placement driver: timestamps, where regions are, and what garbage collection may take. Calls go to its leader. */
export class PdClient {
  readonly #endpoints: readonly string[];
  readonly #timing: TikvTiming;
  readonly #outages: Outages;
  readonly #connections: GrpcConnections;
  /** Addresses of members that were told, behind those of the META-URL. */
  #members: readonly string[] = [];
  #clusterId = 0n;
  #leader: Leader | undefined;
  /** The address that failed last: it is asked behind the others. */
  #suspect: string | undefined;

  private constructor(endpoints: readonly string[], connect: Connector, { timing, outages }: PdOptions) {
    this.#endpoints = endpoints;
    this.#connections = new GrpcConnections(connect);
    this.#timing = timing;
    this.#outages = outages;
  }

  /** Throws `EngineError` when no address answers. */
  static async open(
    endpoints: readonly string[],
    connect: Connector,
    { signal, ...options }: PdOptions & { readonly signal: AbortSignal },
  ): Promise<PdClient> {
    const client = new PdClient(endpoints, connect, options);
    const problems = await client.#findLeader(Math.min(CONNECT_MS, options.timing.callMs), signal);
    if (problems === undefined) return client;
    client.close();
    throw new EngineError("DECANT_E_TIKV_CONNECT", `Cannot reach the placement drivers of TiKV: ${problems}`, {
      hint: "The address names them as host:port (2379 by default); with TLS it needs ca, and cert and key",
      retryable: true,
    });
  }

  async timestamp(patience: Patience): Promise<bigint> {
    for (;;) {
      const leader = await this.#currentLeader(patience);
      try {
        return await raceAbort(leader.timestamps.next(), patience.signal);
      } catch (error) {
        await this.#lost(leader, error, patience);
      }
    }
  }

  /** The region of a key; undefined while there is none that has a leader. */
  async region(key: Uint8Array, patience: Patience): Promise<Region | undefined> {
    const request = new ProtobufWriter().bytes(2, encodeKey(key));
    return this.#call("GetRegion", request, patience, (reader) => {
      let region: ProtobufReader | undefined;
      let leader: Peer | undefined;
      while (reader.next()) {
        if (reader.field === 2) region = reader.message();
        else if (reader.field === 3) leader = readPeer(reader.message());
      }
      return region === undefined ? undefined : readRegion(region, leader?.storeId === 0n ? undefined : leader);
    });
  }

  /** Regions of `[start, end)` in the order of their keys, at most `limit`. */
  async regions(start: Uint8Array, end: Uint8Array, limit: number, patience: Patience): Promise<Region[]> {
    const request = new ProtobufWriter().bytes(2, encodeKey(start)).number(3, limit);
    if (end.length > 0) request.bytes(4, encodeKey(end));
    return this.#call("ScanRegions", request, patience, readRegions);
  }

  /** Address of a store, `host:port`; undefined when it is gone. */
  async storeAddress(id: bigint, patience: Patience): Promise<string | undefined> {
    const request = new ProtobufWriter(32).number(2, id);
    const read = (reader: ProtobufReader): string | undefined => {
      let address = "";
      let state = 0;
      while (reader.next()) {
        if (reader.field !== 2) continue;
        const store = reader.message();
        while (store.next()) {
          if (store.field === 2) address = store.text();
          else if (store.field === 3) state = store.number();
        }
      }
      return address === "" || state === TOMBSTONE ? undefined : address;
    };
    return this.#call("GetStore", request, patience, read, UNKNOWN_STORE);
  }

  /** Data of before this timestamp may be collected, or have been. */
  gcSafePoint(patience: Patience): Promise<bigint> {
    return this.#call("GetGCSafePoint", new ProtobufWriter(16), patience, (reader) => {
      let point = 0n;
      while (reader.next()) if (reader.field === 2) point = reader.uint64();
      return point;
    });
  }

  /**
   * Asks that data of `timestamp` and later is kept for some seconds; 0 takes that back. Gives the lowest timestamp that is
   * kept for anybody: when that is higher than what was asked for, it is refused.
   */
  holdSafePoint(service: string, timestamp: bigint, ttlSeconds: number, patience: Patience): Promise<bigint> {
    const request = new ProtobufWriter(64).text(2, service).number(3, ttlSeconds).number(4, timestamp);
    return this.#call("UpdateServiceGCSafePoint", request, patience, (reader) => {
      let lowest = 0n;
      while (reader.next()) if (reader.field === 4) lowest = reader.uint64();
      return lowest;
    });
  }

  close(): void {
    this.#leader?.timestamps.close();
    this.#leader = undefined;
    this.#connections.close();
  }

  /** A failure with the text `absent` is as good as an answer with nothing in it. */
  async #call<T>(
    method: string,
    request: ProtobufWriter,
    patience: Patience,
    read: (reader: ProtobufReader) => T,
    absent?: RegExp,
  ): Promise<T> {
    const header = new ProtobufWriter(16).number(1, this.#clusterId);
    const bytes = Buffer.from(request.message(1, header).written());
    for (;;) {
      const leader = await this.#currentLeader(patience);
      const { connection } = leader;
      const options = { timeoutMs: this.#timing.callMs, signal: patience.signal };
      try {
        const answer = await connection.call(SERVICE + method, bytes, options);
        assertNoError(connection.address, answer);
        return readAnswer(connection.address, answer, read);
      } catch (error) {
        if (error instanceof CallError && absent?.test(error.message)) return read(new ProtobufReader(Buffer.alloc(0)));
        await this.#lost(leader, error, patience);
      }
    }
  }

  /** Waits before the leader is looked for again; throws what cannot get better. */
  async #lost(leader: Leader, error: unknown, patience: Patience): Promise<void> {
    if (!(error instanceof CallError)) throw error;
    if (!error.retryable) throw error.asEngineError();
    this.#suspect = leader.connection.address;
    if (this.#leader === leader) this.#leader = undefined; // unless another call has found the next one already
    leader.timestamps.close();
    await patience.pause("call", error.message);
  }

  async #currentLeader(patience: Patience): Promise<Leader> {
    for (;;) {
      if (this.#leader !== undefined) return this.#leader;
      const problems = await this.#findLeader(Math.min(CONNECT_MS, this.#timing.callMs), patience.signal);
      if (problems === undefined) continue;
      this.#outages.failed(WHO, problems, patience.leftMs);
      await patience.pause("call", problems);
    }
  }

  /** Asks one address after the other who leads, and that one whether it is there; what was wrong with each when none is. */
  async #findLeader(timeoutMs: number, signal: AbortSignal): Promise<string | undefined> {
    const problems: string[] = [];
    const all = [...new Set([...this.#endpoints, ...this.#members])];
    const suspects = all.filter((address) => address === this.#suspect);
    for (const endpoint of [...all.filter((address) => address !== this.#suspect), ...suspects]) {
      const connection = this.#connections.to(endpoint);
      try {
        const answer = await connection.call(GET_MEMBERS, Buffer.alloc(0), { timeoutMs, signal });
        assertNoError(endpoint, answer);
        const { clusterId, members, leader } = readAnswer(endpoint, answer, readMembers);
        if (this.#clusterId !== 0n && clusterId !== this.#clusterId) {
          problems.push(`${endpoint}: it is of another cluster, ${clusterId} instead of ${this.#clusterId}`);
          continue;
        }
        if (leader === undefined) {
          problems.push(`${endpoint}: there is no leader at the moment`);
          continue;
        }
        this.#clusterId = clusterId;
        this.#members = members;
        const leading = this.#connections.to(leader);
        if (leader !== endpoint) await this.#assertThere(leading, { timeoutMs, signal });
        this.#leader = {
          connection: leading,
          timestamps: new TimestampStream(leading, clusterId, this.#timing.callMs),
        };
        this.#outages.answered(WHO, leading.address);
        return undefined;
      } catch (error) {
        if (isAbortError(error) || signal.aborted) throw error;
        problems.push(error instanceof CallError ? error.message : `${endpoint}: ${(error as Error).message}`);
      }
    }
    return problems.join("; ");
  }

  /** The address that a member has given itself may be one that is known to its own network only. */
  async #assertThere(leader: GrpcConnection, options: CallOptions): Promise<void> {
    try {
      await leader.call(GET_MEMBERS, Buffer.alloc(0), options);
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      throw new Error(`it names a leader that cannot be reached from here, ${error.message}`, { cause: error });
    }
  }
}

const TOMBSTONE = 2;

/** pdpb.ResponseHeader, field 1 of every answer, may hold an error. */
function assertNoError(address: string, answer: Buffer): void {
  const problem = readAnswer(address, answer, (reader) => {
    while (reader.next()) {
      if (reader.field !== 1) continue;
      const header = reader.message();
      while (header.next()) if (header.field === 2) return readError(header.message());
    }
    return undefined;
  });
  if (problem === undefined) return;
  throw new EngineError("DECANT_E_TIKV_PD", `The placement driver ${address} refused a call: ${problem}`, {
    hint: "Its log says more",
  });
}

function readError(reader: ProtobufReader): string | undefined {
  let type = 0;
  let message = "";
  while (reader.next()) {
    if (reader.field === 1) type = reader.number();
    else if (reader.field === 2) message = reader.text();
  }
  return type === 0 ? undefined : message || `error ${type}`;
}

interface Members {
  readonly clusterId: bigint;
  readonly members: readonly string[];
  readonly leader: string | undefined;
}

/** pdpb.GetMembersResponse. */
function readMembers(reader: ProtobufReader): Members {
  let clusterId = 0n;
  const members: string[] = [];
  let leader: string | undefined;
  while (reader.next()) {
    if (reader.field === 1) {
      const header = reader.message();
      while (header.next()) if (header.field === 1) clusterId = header.uint64();
    } else if (reader.field === 2) members.push(...readClientUrls(reader.message()));
    else if (reader.field === 3) leader = readClientUrls(reader.message())[0];
  }
  if (clusterId === 0n) throw answerError("a placement driver", "it does not tell the number of its cluster");
  return { clusterId, members, leader };
}

/** pdpb.Member: `http://host:port` → `host:port`. */
function readClientUrls(reader: ProtobufReader): string[] {
  const addresses: string[] = [];
  while (reader.next()) {
    if (reader.field === 4)
      addresses.push(
        reader
          .text()
          .replace(/^\w+:\/\//, "")
          .replace(/\/.*$/, ""),
      );
  }
  return addresses;
}

/** pdpb.ScanRegionsResponse: `regions` of newer servers, else the lists of regions and of leaders side by side. */
function readRegions(reader: ProtobufReader): Region[] {
  const regions: Region[] = [];
  const metas: ProtobufReader[] = [];
  const leaders: Peer[] = [];
  while (reader.next()) {
    if (reader.field === 2) metas.push(reader.message());
    else if (reader.field === 3) leaders.push(readPeer(reader.message()));
    else if (reader.field === 4) regions.push(readPlacedRegion(reader.message()));
  }
  if (regions.length > 0) return regions;
  return metas.map((meta, i) => readRegion(meta, leaders[i]?.storeId === 0n ? undefined : leaders[i]));
}

function readPlacedRegion(reader: ProtobufReader): Region {
  let region: ProtobufReader | undefined;
  let leader: Peer | undefined;
  while (reader.next()) {
    if (reader.field === 1) region = reader.message();
    else if (reader.field === 2) leader = readPeer(reader.message());
  }
  if (region === undefined) throw answerError("the placement driver", "a region without its description");
  return readRegion(region, leader?.storeId === 0n ? undefined : leader);
}
