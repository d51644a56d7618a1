import type { Setting } from "../../volume/setting.ts";
import { shellWord } from "../load-volume.ts";

/**
 * How the restored volume is mounted. Passwords are not shown: clients take one from `META_PASSWORD` where the address has none.
 */
export function mountCommand(target: string, { name, encryptKey }: Setting): string {
  const isMasked = target.includes(":****@");
  const variables = [
    ...(isMasked ? ["META_PASSWORD=..."] : []),
    ...(encryptKey === "" ? [] : ["JFS_RSA_PASSPHRASE=..."]),
  ].map((variable) => `${variable} `);
  return `${variables.join("")}juicefs mount -d ${shellWord(target.replace(":****@", ":@"))} ${shellWord(`/mnt/${name}`)}`;
}

/** What to do when the backup says that data is elsewhere than where the backup was found. */
export function otherBucketStep(restored: Setting, opened: Setting, target: string): string[] {
  if (placeOf(restored) === placeOf(opened)) return [];
  return [
    `The volume looks for its data in ${restored.storage} ${restored.bucket}, as the backup says, but the backup was found in ${opened.storage} ${opened.bucket}; ` +
      `when the data is there: decant config ${shellWord(target)} --storage ${opened.storage} --bucket ${shellWord(opened.bucket)}`,
  ];
}

/** Addresses without a scheme are those with the one that the type takes. */
function placeOf({ storage, bucket, shards }: Setting): string {
  const address = bucket.replace(/^https?:\/\//, "").replace(/\/+$/, "");
  return [storage.toLowerCase(), address, shards > 1n ? shards : 0n].join(" ");
}
