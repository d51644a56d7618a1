import { DataError } from "../base/errors.ts";
import { decodeAclRule } from "../volume/acl.ts";

/** What is wrong with an ACL rule; undefined for one that can be decoded. */
export function aclDamage(rule: Buffer): string | undefined {
  try {
    decodeAclRule(rule);
    return undefined;
  } catch (error) {
    if (error instanceof DataError) return error.message;
    throw error;
  }
}
