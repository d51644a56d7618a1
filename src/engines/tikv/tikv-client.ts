import { EngineError } from "../../base/errors.ts";
import { Gate } from "../../base/gate.ts";
import { forEachLimited } from "../../base/limited.ts";
import { ProtobufWriter } from "../../base/protobuf.ts";
import { CallError, type Connector, GrpcConnections } from "./grpc-connection.ts";
import type { Outages } from "./outages.ts";
import type { PdClient } from "./pd-client.ts";
import { RegionCache } from "./region-cache.ts";
import { Patience, readAnswer, type TikvTiming } from "./tikv-errors.ts";
import { peerMessage, type Region, readRegionError } from "./tikv-messages.ts";

/** Calls to all stores together that are out at one time. */
const MAX_IN_FLIGHT = 32;
/** Parts of one operation that are out at one time. */
export const MAX_PARTS = 4;
/** What API version 1 sends as its key space, as the reference does. */
const NO_KEYSPACE = 0xffff_ffff;
const PRIORITY_LOW = 1;
const SERVICE = "/tikvpb.Tikv/";

export interface RegionCall {
  /** Such as `KvScan`. */
  readonly method: string;
  /** All fields but the first one, which is the context. */
  readonly request: ProtobufWriter;
  /** A scan of a whole volume: behind what applications do, and not to be kept in the cache of the store. */
  readonly isBulkRead?: boolean;
  /** Transactions whose locks do not matter for this read. */
  readonly resolvedLocks?: ReadonlySet<bigint>;
  /** See `CallOptions`. */
  readonly toTheEnd?: boolean;
  /** Called when the answer is larger than the store may send: true when the next request asks for less. */
  readonly shrink?: () => boolean;
}

/** Calls of stores, by region. */
export class TikvClient {
  readonly pd: PdClient;
  readonly regions: RegionCache;
  readonly timing: TikvTiming;
  readonly #connections: GrpcConnections;
  readonly outages: Outages;
  readonly #addresses: Map<bigint, string> = new Map();
  readonly #gate = new Gate(MAX_IN_FLIGHT);

  constructor(pd: PdClient, connect: Connector, { timing, outages }: { timing: TikvTiming; outages: Outages }) {
    this.pd = pd;
    this.regions = new RegionCache(pd);
    this.timing = timing;
    this.outages = outages;
    this.#connections = new GrpcConnections(connect);
  }

  patience(signal: AbortSignal): Patience {
    return new Patience(this.timing, signal);
  }

  /**
   * Calls the leader of a region. Undefined when it has to be done again, by the region of the key as it then is: the region has
   * another leader or other boundaries, or the store did not answer. What has to be waited for was then waited for.
   */
  async attempt(region: Region, call: RegionCall, patience: Patience): Promise<Buffer | undefined> {
    const leader = region.leader!;
    const address = await this.#address(leader.storeId, patience);
    if (address === undefined) {
      this.regions.forget(region);
      await patience.pause("region", `store ${leader.storeId} is not known`);
      return undefined;
    }
    const bytes = Buffer.from(call.request.message(1, this.#context(region, call)).written());
    const options = { timeoutMs: this.timing.callMs, signal: patience.signal, toTheEnd: call.toTheEnd === true };
    const who = `store ${leader.storeId}`;
    let answer: Buffer;
    try {
      const connection = this.#connections.to(address);
      answer = await this.#gate.run(() => connection.call(SERVICE + call.method, bytes, options), patience.signal);
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      if (error.isTooLarge && call.shrink?.() === true) return undefined;
      if (!error.isUnimplemented) patience.isUncertain = true;
      if (!error.retryable) throw error.asEngineError();
      // the leader may be elsewhere by now, and the store at another address
      this.regions.forget(region);
      this.#addresses.delete(leader.storeId);
      if (error.isSilence) this.outages.failed(who, error.message, patience.leftMs);
      await patience.pause("call", error.message);
      return undefined;
    }
    this.outages.answered(who, address);
    return (await this.#isRefused(address, region, answer, patience)) ? undefined : answer;
  }

  /** Calls the region of one key until it answers. */
  async callFor(key: Uint8Array, call: (region: Region) => RegionCall, patience: Patience): Promise<Buffer> {
    for (;;) {
      const region = await this.regions.locate(key, patience);
      const answer = await this.attempt(region, call(region), patience);
      if (answer !== undefined) return answer;
    }
  }

  /**
   * Calls the regions of many keys, some at one time. `work` gets keys of one region, at most `maxKeys`, which is asked for each
   * time that keys are divided, and says which of them have to be done again.
   */
  async forKeys(
    keys: readonly Buffer[],
    { maxKeys, patience }: { maxKeys: () => number; patience: Patience },
    work: (region: Region, indexes: readonly number[]) => Promise<readonly number[]>,
  ): Promise<void> {
    let rest: readonly number[] = keys.map((_, i) => i);
    while (rest.length > 0) {
      const groups: { region: Region; indexes: number[] }[] = [];
      const open = new Map<Region, number[]>();
      for (const i of rest) {
        const region = await this.regions.locate(keys[i]!, patience);
        let indexes = open.get(region);
        if (indexes === undefined || indexes.length >= maxKeys()) {
          indexes = [];
          open.set(region, indexes);
          groups.push({ region, indexes });
        }
        indexes.push(i);
      }
      const again: number[] = [];
      await forEachLimited(groups, MAX_PARTS, async ({ region, indexes }) => {
        again.push(...(await work(region, indexes)));
      });
      rest = again;
    }
  }

  /** An answer, read by a function. */
  read<T>(bytes: Buffer, read: Parameters<typeof readAnswer<T>>[2]): T {
    return readAnswer("a TiKV store", bytes, read);
  }

  close(): void {
    this.#connections.close();
  }

  #context(region: Region, { isBulkRead = false, resolvedLocks }: RegionCall): ProtobufWriter {
    const epoch = new ProtobufWriter(32).number(1, region.confVer).number(2, region.version);
    const context = new ProtobufWriter(128)
      .number(1, region.id)
      .message(2, epoch)
      .message(3, peerMessage(region.leader!));
    if (isBulkRead) context.number(6, PRIORITY_LOW).bool(8, true);
    for (const version of resolvedLocks ?? []) context.number(13, version);
    return context.number(14, this.timing.callMs).number(32, NO_KEYSPACE);
  }

  /** Field 1 of every answer tells why the region could not be served. */
  async #isRefused(address: string, region: Region, answer: Buffer, patience: Patience): Promise<boolean> {
    const error = readAnswer(address, answer, (reader) => {
      while (reader.next()) if (reader.field === 1) return readRegionError(reader.message());
      return undefined;
    });
    if (error === undefined) return false;
    const problem = `${address}: ${error.message} (region ${region.id})`;
    if (error.isUncertain) patience.isUncertain = true;
    if (error.kind === "entry-too-large") {
      throw new EngineError("DECANT_E_TIKV_TOO_LARGE", `TiKV refused a write that is too large: ${problem}`, {
        hint: "Raise raft-entry-max-size in the configuration of the stores",
      });
    }
    if (error.kind === "disk-full") {
      throw new EngineError("DECANT_E_TIKV_FULL", `A disk of TiKV is full: ${problem}`, {
        hint: "Make room on the stores, or add one",
      });
    }
    if (error.kind === "flashback") {
      throw new EngineError("DECANT_E_TIKV_UNAVAILABLE", `TiKV is being taken back to an earlier time: ${problem}`, {
        hint: "Try again when the flashback has ended",
        retryable: true,
      });
    }
    if (error.kind === "not-leader" && error.leader !== undefined) {
      this.regions.setLeader(region, error.leader);
      await patience.pause("region", problem);
      return true;
    }
    if (error.kind === "stale-store") this.#addresses.delete(region.leader!.storeId);
    if (error.regions.length > 0) this.regions.replace(region, error.regions);
    else if (error.kind !== "busy" && error.kind !== "not-ready") this.regions.forget(region);
    const busy = error.pauseMs > 0 ? "told" : "busy";
    await patience.pause(error.kind === "busy" ? busy : "region", problem, error.pauseMs);
    return true;
  }

  async #address(storeId: bigint, patience: Patience): Promise<string | undefined> {
    const known = this.#addresses.get(storeId);
    if (known !== undefined) return known;
    const address = await this.pd.storeAddress(storeId, patience);
    if (address !== undefined) this.#addresses.set(storeId, address);
    return address;
  }
}
