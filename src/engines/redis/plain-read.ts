import type { RecordBatch, RecordKind } from "../../volume/records.ts";
import type { RecordSelection } from "../engine.ts";
import type { Notes } from "../notes.ts";
import type { OnLarge } from "./directory-reader.ts";
import { FAMILY_OF_KIND } from "./family-kinds.ts";
import { KeyList } from "./key-list.ts";
import { readKeyspace } from "./keyspace-reader.ts";
import type { RareContext } from "./rare-context.ts";
import { rareRecords } from "./rare-records.ts";
import { RecordMapper } from "./record-mapper.ts";
import { FAMILY_NODE, FAMILY_SYMLINK } from "./redis-keys.ts";
import type { RedisServer } from "./redis-server.ts";
import { RespConnection } from "./resp-connection.ts";
import { SeenSet } from "./seen-set.ts";
import { SubtreeReader } from "./subtree-reader.ts";
import { keepMissing, noteWrongTypes } from "./wrong-types.ts";

export interface PlainReadOptions {
  readonly server: RedisServer;
  readonly connection: RespConnection;
  readonly notes: Notes;
  readonly hasChangeLog: boolean;
  readonly signal: AbortSignal;
}

/** Hooks for whoever must know more about what is read. */
export interface PlainReadHooks {
  readonly onLarge?: OnLarge;
  /** Called with every further connection before it is used. */
  readonly checkConnection?: (connection: RespConnection) => Promise<void>;
}

/** Reads a volume key by key while it may change. */
export class PlainRead {
  readonly context: RareContext;
  /** Inodes that may have several names. */
  readonly hardLinks: SeenSet = new SeenSet();
  /** Inodes of a part of the tree; each is here before anything of it is read. */
  readonly treeInodes: SeenSet = new SeenSet();
  readonly #options: PlainReadOptions;

  constructor(options: PlainReadOptions) {
    const { server, connection, notes } = options;
    this.#options = options;
    this.context = {
      connection,
      prefix: server.prefix,
      notes,
      mapper: new RecordMapper(notes, server.printable, this.hardLinks),
      sessions: new Set(),
    };
  }

  async *records(selection: RecordSelection, hooks: PlainReadHooks = {}): AsyncGenerator<RecordBatch> {
    const { signal, hasChangeLog } = this.#options;
    const families = familiesOf(selection);
    if (selection.root !== undefined) {
      if (families.size > 0) yield* this.#readTree(selection.root, selection.kinds, hooks);
    } else if (families.size > 0 || selection.kinds.has("sustained")) {
      yield* this.#readAll(families, hooks);
    }
    for await (const batch of rareRecords(this.context, selection.kinds, hasChangeLog)) {
      signal.throwIfAborted();
      yield batch;
    }
    yield* this.context.mapper.takeAll();
  }

  async *#readAll(families: ReadonlySet<number>, { onLarge }: PlainReadHooks): AsyncGenerator<RecordBatch> {
    const { prefix, notes, mapper, sessions } = this.context;
    const { connection, signal } = this.#options;
    const missing = new KeyList();
    const options = { sessions, ...(onLarge === undefined ? {} : { onLarge }) };
    for await (const raw of readKeyspace(connection, prefix, families, notes, this.hardLinks, options)) {
      if (raw.family === FAMILY_NODE || raw.family === FAMILY_SYMLINK) keepMissing(raw, missing);
      mapper.map(raw);
      for (const batch of mapper.takeFull()) {
        signal.throwIfAborted();
        yield batch;
      }
    }
    await noteWrongTypes(connection, missing, notes);
  }

  async *#readTree(
    root: bigint,
    kinds: ReadonlySet<RecordKind>,
    { checkConnection }: PlainReadHooks,
  ): AsyncGenerator<RecordBatch> {
    const values = await RespConnection.open(this.#options.server.node, this.#options.signal);
    try {
      await checkConnection?.(values);
      const reader = new SubtreeReader(this.context, kinds, values, this.hardLinks, this.treeInodes);
      yield* reader.read(Number(root >> 32n), Number(root & 0xffff_ffffn));
    } finally {
      values.close();
    }
  }
}

/** The key families that hold the records of the selection. */
export function familiesOf({ kinds }: RecordSelection): Set<number> {
  return new Set([...FAMILY_OF_KIND].filter(([kind]) => kinds.has(kind)).map(([, family]) => family));
}
