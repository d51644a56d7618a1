import { ROOT_INODE } from "../../volume/inode.ts";
import type { RootXattrSwap } from "../engine.ts";
import { changeLogEntries, isExpected, swapChanges, swapNames } from "../root-xattrs.ts";
import { inodeKey, SETTING_KEY, TAG_XATTR } from "./kv-keys.ts";
import { noVolume } from "./kv-snapshot.ts";
import type { KvStore } from "./kv-store.ts";
import { readModifyWrite } from "./transaction.ts";

export async function readRootXattrs(
  store: KvStore,
  names: readonly string[],
  signal: AbortSignal,
): Promise<Map<string, Buffer>> {
  const [setting, ...values] = await store.get([SETTING_KEY, ...names.map(xattrKey)], signal);
  checkVolume(store, setting);
  return byName(names, values);
}

/** Compares by value, in the transaction that writes, so that nobody comes between. */
export async function swapRootXattrs(store: KvStore, swap: RootXattrSwap, signal: AbortSignal): Promise<boolean> {
  const names = swapNames(swap);
  let isSwapped = false;
  await readModifyWrite(store, [SETTING_KEY, ...names.map(xattrKey)], signal, ([setting, ...values]) => {
    const present = checkVolume(store, setting);
    const stored = byName(names, values);
    isSwapped = isExpected(swap, stored);
    const changes = isSwapped ? swapChanges(swap, stored) : [];
    if (changes.length === 0) return undefined;
    return {
      changes: changes.map(({ name, value }) => ({ key: xattrKey(name), value })),
      logEntries: changeLogEntries(present, changes),
    };
  });
  return isSwapped;
}

function checkVolume(store: KvStore, setting: Buffer | undefined): Buffer {
  if (setting === undefined || setting.length === 0) throw noVolume(store);
  return setting;
}

function xattrKey(name: string): Buffer {
  return inodeKey(ROOT_INODE, TAG_XATTR, Buffer.from(name));
}

function byName(names: readonly string[], values: readonly (Buffer | undefined)[]): Map<string, Buffer> {
  return new Map(names.flatMap((name, i) => (values[i] === undefined ? [] : [[name, values[i]] as const])));
}
