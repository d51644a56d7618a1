import fc from "fast-check";
import type { AclRule } from "../../src/volume/acl.ts";
import { FileType } from "../../src/volume/file-type.ts";

/** Bytes of data that a slice refers to. Its size follows from its id: two sizes for one id would be damage. */
export interface SlicePlan {
  readonly id: bigint;
  readonly pos: number;
  readonly off: number;
  readonly len: number;
}

/** What an inode is, apart from its places. */
export interface InodePlan {
  readonly flags: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly times: readonly { readonly seconds: bigint; readonly nanoseconds: number }[];
  readonly rdev: number;
  readonly tier: number;
  /** Rules by position in the plan's list; -1 = none. */
  readonly accessAcl: number;
  readonly defaultAcl: number;
  readonly xattrs: readonly { readonly name: string; readonly value: Uint8Array }[];
  readonly target: Uint8Array;
  readonly length: bigint;
  readonly chunks: readonly { readonly index: number; readonly slices: readonly SlicePlan[] }[];
}

/** One directory entry. Numbers that pick something are taken modulo the number of candidates. */
export interface StepPlan {
  readonly parent: number;
  /** Stand in the directory that was made last, not in the picked one: makes trees deep. */
  readonly deeper: boolean;
  readonly name: Uint8Array;
  /** A number of `FileType`, or 0 for one more place of a file that is there already. */
  readonly type: number;
  readonly again: number;
  /** Inode above 2^53. */
  readonly large: boolean;
  readonly inode: InodePlan;
}

/** A whole volume, as little constrained as a plan can be: test/support/volume-model.ts makes it consistent. */
export interface VolumePlan {
  readonly root: InodePlan;
  readonly acls: readonly AclRule[];
  readonly hourDirectories: number;
  readonly steps: readonly StepPlan[];
  /** Length of the one file that is larger than any disk. */
  readonly hugeLength: bigint;
  readonly quotas: readonly { readonly directory: number; readonly space: bigint; readonly inodes: bigint }[];
  readonly userQuotas: readonly { readonly id: number; readonly space: bigint; readonly inodes: bigint }[];
  readonly groupQuotas: readonly { readonly id: number; readonly space: bigint; readonly inodes: bigint }[];
  readonly delFiles: readonly { readonly length: bigint; readonly seconds: number }[];
}

const UINT32 = 0xffff_ffff;

const nameByte = fc.integer({ min: 1, max: 255 }).map((byte) => (byte === 0x2f ? 0x30 : byte));
const nameBytes = fc
  .oneof(
    { weight: 4, arbitrary: fc.array(nameByte, { minLength: 1, maxLength: 12 }) },
    { weight: 1, arbitrary: fc.array(nameByte, { minLength: 250, maxLength: 255 }) },
    { weight: 2, arbitrary: fc.integer({ min: 0, max: 30 }).map((n) => [...Buffer.from(`a-common-beginning-${n}`)]) },
    {
      weight: 1,
      arbitrary: fc.constantFrom([0xef, 0xbf, 0xbd], [0x25, 0x34, 0x31], [0x22], [0x5c], [0xed, 0xa0, 0x80]),
    },
  )
  .map((bytes) => Uint8Array.from(bytes))
  .filter((bytes) => !/^\.\.?$/.test(Buffer.from(bytes).toString("latin1")));

const xattrName = fc
  .string({
    unit: fc.oneof(
      fc.constantFrom(...'\u2028<>&"\\%\u0001\t\u00e9\u{1f600}'),
      fc.string({ minLength: 1, maxLength: 1 }),
    ),
    minLength: 1,
    maxLength: 20,
  })
  .map((text) => text.replaceAll("\0", "0"))
  .map((text) => `user.${text}`);

const uid = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: UINT32 }));
const time = fc.oneof(
  // Before 1970 with a fraction, SQL databases of the reference cannot hold it (docs/spec/json-dump.md §11).
  fc.record({ seconds: fc.bigInt(-9_000_000_000n, -1n), nanoseconds: fc.constant(0) }),
  fc.record({ seconds: fc.bigInt(0n, 9_000_000_000n), nanoseconds: fc.integer({ min: 0, max: 999_999_999 }) }),
);

const sliceId = fc.oneof(
  { weight: 1, arbitrary: fc.constant(0n) },
  { weight: 4, arbitrary: fc.bigInt(1n, 12n) },
  { weight: 1, arbitrary: fc.bigInt(1n << 53n, 1n << 61n) },
);
const offset = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: UINT32 }));
const slice: fc.Arbitrary<SlicePlan> = fc.record({ id: sliceId, pos: offset, off: offset, len: offset });
const chunk = fc.record({
  index: fc.oneof(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 0, max: 1 << 20 })),
  slices: fc.array(slice, { minLength: 1, maxLength: 4 }),
});

const inode: fc.Arbitrary<InodePlan> = fc.record({
  flags: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 255 })),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid,
  gid: uid,
  times: fc.array(time, { minLength: 3, maxLength: 3 }),
  rdev: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: UINT32 })),
  tier: fc.integer({ min: 0, max: 3 }),
  accessAcl: fc.integer({ min: -4, max: 3 }).map((n) => Math.max(n, -1)),
  defaultAcl: fc.integer({ min: -4, max: 3 }).map((n) => Math.max(n, -1)),
  xattrs: fc.uniqueArray(fc.record({ name: xattrName, value: fc.uint8Array({ maxLength: 20 }) }), {
    maxLength: 3,
    selector: ({ name }) => name,
  }),
  target: fc.uint8Array({ min: 1, minLength: 1, maxLength: 40 }),
  length: fc.oneof(fc.constant(0n), fc.bigInt(1n, 10_000n), fc.bigInt(0n, 1n << 40n)),
  chunks: fc.uniqueArray(chunk, { maxLength: 4, selector: ({ index }) => index }),
});

const step: fc.Arbitrary<StepPlan> = fc.record({
  parent: fc.nat(),
  deeper: fc.boolean(),
  name: nameBytes,
  type: fc.oneof(
    { weight: 3, arbitrary: fc.constant<number>(FileType.directory) },
    { weight: 4, arbitrary: fc.constant<number>(FileType.regular) },
    { weight: 2, arbitrary: fc.constant<number>(0) },
    { weight: 2, arbitrary: fc.integer({ min: FileType.symlink, max: FileType.socket }) },
  ),
  again: fc.nat(),
  large: fc.boolean(),
  inode,
});

const permission = fc.constantFrom(0, 4, 5, 6, 7);
const aclEntries = fc.uniqueArray(fc.record({ id: uid, perm: permission }), { maxLength: 3, selector: ({ id }) => id });
const acl: fc.Arbitrary<AclRule> = fc.record({
  owner: permission,
  group: permission,
  mask: fc.oneof(permission, fc.constant(0xffff)),
  other: permission,
  users: aclEntries,
  groups: aclEntries,
});

// Directory quotas without any limit are left out of the dumps of Redis, and only of those.
const limits = {
  space: fc.oneof(fc.constant(0n), fc.bigInt(1n, 1n << 62n)),
  inodes: fc.oneof(fc.constant(-1n), fc.bigInt(0n, 1n << 40n)),
};
const ownerQuotas = fc.uniqueArray(fc.record({ id: uid, ...limits }), { maxLength: 3, selector: ({ id }) => id });

/** Volumes of up to `maxSteps` entries with everything that a volume may hold. */
export function volumePlans(maxSteps: number): fc.Arbitrary<VolumePlan> {
  return fc.record({
    root: inode,
    acls: fc.array(acl, { minLength: 1, maxLength: 4 }),
    hourDirectories: fc.integer({ min: 0, max: 3 }),
    steps: fc.array(step, { maxLength: maxSteps, size: "max" }),
    hugeLength: fc.bigInt(1n << 53n, 1n << 62n),
    quotas: fc.array(fc.record({ directory: fc.nat(), ...limits }), { maxLength: 3 }),
    userQuotas: ownerQuotas,
    groupQuotas: ownerQuotas,
    delFiles: fc.array(fc.record({ length: fc.bigInt(0n, 1n << 62n), seconds: fc.integer({ min: 1, max: 100 }) }), {
      maxLength: 3,
    }),
  });
}
