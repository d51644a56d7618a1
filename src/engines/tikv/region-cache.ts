import { isWithin } from "./key-codec.ts";
import type { PdClient } from "./pd-client.ts";
import type { Patience } from "./tikv-errors.ts";
import type { Peer, Region } from "./tikv-messages.ts";

/** Enough for a petabyte of data between the keys of a volume; beyond it the cache begins anew. */
const MAX_REGIONS = 16_384;
/** Regions that are asked for ahead. */
const AHEAD = 32;

/** Where keys are, as it was last known: the stores tell when it is no longer true, then it is asked for again. */
export class RegionCache {
  readonly #pd: PdClient;
  /** Ascending by their begin, none overlapping another. */
  #regions: Region[] = [];

  constructor(pd: PdClient) {
    this.#pd = pd;
  }

  /** The region of a key, with a leader. Waits while there is none. */
  async locate(key: Uint8Array, patience: Patience): Promise<Region> {
    for (;;) {
      const known = this.#find(key);
      if (known?.leader !== undefined) return known;
      const region = await this.#pd.region(key, patience);
      if (region !== undefined && isWithin(key, region.start, region.end)) this.add(region);
      if (region?.leader !== undefined && isWithin(key, region.start, region.end)) return region;
      await patience.pause("region", `no leader for the region of key ${Buffer.from(key).toString("hex")}`);
    }
  }

  /** Regions of `[start, end)` from `start` on, some of them: the last one need not reach `end`. */
  async locateRange(start: Uint8Array, end: Uint8Array, patience: Patience): Promise<readonly Region[]> {
    const known = this.#known(start, end);
    if (known.length > 0) return known;
    for (const region of await this.#pd.regions(start, end, AHEAD, patience)) this.add(region);
    const found = this.#known(start, end);
    return found.length > 0 ? found : [await this.locate(start, patience)];
  }

  add(region: Region): void {
    if (this.#regions.length >= MAX_REGIONS) this.#regions = [];
    const from = this.#firstEndingBehind(region.start);
    let to = from;
    while (to < this.#regions.length && isBefore(this.#regions[to]!.start, region.end)) to++;
    this.#regions.splice(from, to - from, region);
  }

  /** Another peer leads now. */
  setLeader(region: Region, leader: Peer): void {
    const i = this.#regions.indexOf(region);
    if (i >= 0) this.#regions[i] = { ...region, leader };
  }

  /**
   * Takes what a store has in the place of a region, which it leads as it seems: it knows of splits and merges before the placement
   * driver does. What is older than what was known comes from a store that is behind.
   */
  replace(region: Region, regions: readonly Region[]): void {
    this.forget(region);
    for (const next of regions) {
      const leader = next.peers.find(({ storeId }) => storeId === region.leader?.storeId);
      if (leader !== undefined && !(next.id === region.id && isOlder(next, region))) this.add({ ...next, leader });
    }
  }

  forget(region: Region): void {
    const i = this.#regions.indexOf(region);
    if (i >= 0) this.#regions.splice(i, 1);
  }

  /** Regions without a gap from `start` on. */
  #known(start: Uint8Array, end: Uint8Array): Region[] {
    const found: Region[] = [];
    let at: Uint8Array = start;
    for (let i = this.#firstEndingBehind(start); i < this.#regions.length && found.length < AHEAD; i++) {
      const region = this.#regions[i]!;
      if (region.leader === undefined || !isWithin(at, region.start, region.end)) break;
      found.push(region);
      if (region.end.length === 0 || (end.length > 0 && Buffer.compare(region.end, end) >= 0)) break;
      at = region.end;
    }
    return found;
  }

  #find(key: Uint8Array): Region | undefined {
    const region = this.#regions[this.#firstEndingBehind(key)];
    return region !== undefined && isWithin(key, region.start, region.end) ? region : undefined;
  }

  /** The first region whose end is above the key. */
  #firstEndingBehind(key: Uint8Array): number {
    let [low, high] = [0, this.#regions.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBefore(key, this.#regions[middle]!.end)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** Whether `key` is below an end, of which an empty one is no boundary. */
function isBefore(key: Uint8Array, end: Uint8Array): boolean {
  return end.length === 0 || Buffer.compare(key, end) < 0;
}

function isOlder(a: Region, b: Region): boolean {
  return a.version < b.version || a.confVer < b.confVer;
}
