import { DecantError, EngineError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { formatBytes } from "../../base/units.ts";
import type { ExpectedBytes, KvBulkOptions } from "../kv/kv-store.ts";
import type { EtcdClient } from "./etcd-client.ts";
import { readQuota } from "./etcd-http.ts";
import { ALARM, hasSpaceAlarm, readStatus, STATUS } from "./etcd-messages.ts";

/** How much may be written between two looks at the size of the database. */
const BYTES_BETWEEN_LOOKS = 32 * 1024 * 1024;

/** A database that is filled further than this raises its alarm soon, and then takes no writes of anybody. */
const HIGHEST_SHARE = 0.95;

/**
 * Keeps a load from filling the database up to its quota: the alarm NOSPACE that etcd raises then stops all writes of all clients,
 * until an operator clears it. A server that does not tell its quota or its size is not watched.
 */
export class QuotaWatch {
  readonly #client: EtcdClient;
  readonly #quota: number | undefined;
  #since = 0;

  private constructor(client: EtcdClient, quota: number | undefined) {
    this.#client = client;
    this.#quota = quota;
  }

  /** Throws `EngineError` when the alarm is raised already, or when what is expected has no room; warns when it hardly has. */
  static async open(
    client: EtcdClient,
    { expectedBytes, logger, signal }: Pick<KvBulkOptions, "expectedBytes" | "logger" | "signal">,
  ): Promise<QuotaWatch> {
    const alarm = await tolerant(() => client.call({ method: ALARM, request: EMPTY, signal, repeatable: true }));
    if (alarm !== undefined && hasSpaceAlarm(alarm)) {
      throw full(client, "has raised the alarm NOSPACE and takes no writes: its database has reached its quota");
    }
    const watch = new QuotaWatch(client, await readQuota(client.address, signal));
    const room = await watch.#look(signal);
    if (room === undefined) return watch;
    if (expectedBytes !== undefined) watch.#compare(expectedBytes, room, logger);
    else logger.debug("Nothing is known of the size of what is loaded: the quota of etcd is only watched meanwhile");
    return watch;
  }

  #compare({ least, likely }: ExpectedBytes, { inUse, most }: Room, logger: Logger): void {
    if (inUse + likely <= most) return;
    const used = `${formatBytes(inUse)} of a quota of ${formatBytes(this.#quota!)} are in use`;
    if (inUse + least > most) {
      const needs = `at least ${formatBytes(least)}, probably ${formatBytes(likely)}`;
      throw full(this.#client, `has no room for this volume, which needs ${needs}: ${used}`);
    }
    const { printable } = this.#client.address;
    logger.warn(
      `The etcd server at ${printable} may have no room for this volume, which probably needs ${formatBytes(likely)}: ${used}. ` +
        "The load ends, and takes back what it wrote, before the quota is reached",
    );
  }

  /** To be called with what was written. */
  async wrote(bytes: number, signal: AbortSignal): Promise<void> {
    this.#since += bytes;
    if (this.#since < BYTES_BETWEEN_LOOKS) return;
    this.#since = 0;
    await this.#look(signal);
  }

  /** The quota is compared with the size of the file; its free pages are used before it grows (docs/spec/kv-stores.md §1). */
  async #look(signal: AbortSignal): Promise<Room | undefined> {
    if (this.#quota === undefined) return undefined;
    const client = this.#client;
    const status = await tolerant(() => client.call({ method: STATUS, request: EMPTY, signal, repeatable: true }));
    if (status === undefined) return undefined;
    const { dbSize, dbSizeInUse } = readStatus(status);
    const most = this.#quota * HIGHEST_SHARE;
    if (dbSize <= most) return { inUse: dbSizeInUse || dbSize, most };
    const size = formatBytes(dbSize);
    throw full(client, `is nearly full: its database has ${size} of a quota of ${formatBytes(this.#quota)}`);
  }
}

/** Bytes of the database in use, and how far it may be filled. */
interface Room {
  readonly inUse: number;
  readonly most: number;
}

const EMPTY = Buffer.alloc(0);

/** Users without the role `root` may not ask for these. */
async function tolerant(ask: () => Promise<Buffer>): Promise<Buffer | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof DecantError && error.code === "DECANT_E_ETCD_PERMISSION") return undefined;
    throw error;
  }
}

function full({ address }: EtcdClient, says: string): EngineError {
  return new EngineError("DECANT_E_ETCD_FULL", `The etcd server at ${address.printable} ${says}`, {
    hint: "Raise --quota-backend-bytes (8 GiB is what etcd recommends at most), or compact and defragment; after an alarm, etcdctl alarm disarm",
  });
}
