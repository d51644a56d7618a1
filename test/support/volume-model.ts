import { encodeAclRule } from "../../src/volume/acl.ts";
import { type Attribute, encodeAttribute } from "../../src/volume/attribute.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { align4K, CHUNK_BYTES, ROOT_INODE, TRASH_INODE } from "../../src/volume/inode.ts";
import type { EdgeRecord, FlatKind, QuotaRecord, RecordTypes } from "../../src/volume/records.ts";
import { encodeSlices, type Slice } from "../../src/volume/slices.ts";
import type { InodePlan, SlicePlan, StepPlan, VolumePlan } from "./volume-plan.ts";

/** Every record of a volume, by kind. */
export type VolumeRecords = { [K in FlatKind]: RecordTypes[K][] };

interface ModelInode {
  readonly inode: bigint;
  readonly type: number;
  readonly plan: InodePlan;
  readonly length: bigint;
  /** Directories that name it, one for each place. */
  readonly places: bigint[];
}

/**
 * The records of a consistent volume, computed straight from a plan with maps and bigints: what loading it must store
 * (docs/spec/json-dump.md §11). It shares nothing with src/tree, which it judges.
 */
export function volumeRecords(plan: VolumePlan): VolumeRecords {
  return new VolumeModel(plan).records();
}

/** Size of a slice in the object storage: one for each id. */
export function sliceSize(id: bigint): number {
  return id === 0n ? 0 : Number((id * 7919n) % 4_194_304n) + 1;
}

class VolumeModel {
  readonly #plan: VolumePlan;
  readonly #inodes: Map<bigint, ModelInode> = new Map();
  readonly #children: Map<bigint, EdgeRecord[]> = new Map();
  readonly #directories: bigint[] = [ROOT_INODE];
  readonly #files: ModelInode[] = [];
  readonly #inTrash: Set<bigint> = new Set();
  readonly #out: VolumeRecords = {
    setting: [],
    counter: [],
    node: [],
    edge: [],
    chunk: [],
    symlink: [],
    xattr: [],
    parent: [],
    sliceRef: [],
    acl: [],
    sustained: [],
    delFile: [],
    dirStat: [],
    quota: [],
    userQuota: [],
    groupQuota: [],
    changeLog: [],
  };

  constructor(plan: VolumePlan) {
    this.#plan = plan;
    this.#addInode(ROOT_INODE, FileType.directory, plan.root, ROOT_INODE);
    const trash = { ...plan.root, mode: 0o555, xattrs: [], accessAcl: -1, defaultAcl: -1 };
    this.#addInode(TRASH_INODE, FileType.directory, trash, ROOT_INODE);
    this.#inTrash.add(TRASH_INODE);
    for (let hour = 1; hour <= plan.hourDirectories; hour++) {
      const inode = TRASH_INODE + BigInt(hour * hour);
      this.#addInode(inode, FileType.directory, trash, TRASH_INODE);
      this.#addEdge(TRASH_INODE, Buffer.from(`2026-01-01-0${hour}`), inode, FileType.directory);
      this.#directories.push(inode);
      this.#inTrash.add(inode);
    }
    this.#addSteps();
  }

  #addSteps(): void {
    const huge = this.#plan.steps.find(({ type }) => type === FileType.regular);
    let number = 2n;
    for (const step of this.#plan.steps) {
      const last = this.#directories.at(-1)!;
      const parent = step.deeper ? last : this.#directories[step.parent % this.#directories.length]!;
      const name = Buffer.from(step.name);
      if (this.#children.get(parent)?.some((edge) => edge.name.equals(name))) continue;
      if (step.type === 0) this.#addPlace(parent, name, step.again);
      else this.#addNew(parent, name, step, number++ + (step.large ? 1n << 61n : 0n), step === huge);
    }
  }

  #addPlace(parent: bigint, name: Buffer, pick: number): void {
    const file = this.#files[pick % this.#files.length];
    if (file === undefined) return;
    file.places.push(parent);
    this.#addEdge(parent, name, file.inode, file.type);
  }

  #addNew(parent: bigint, name: Buffer, step: StepPlan, inode: bigint, isHuge: boolean): void {
    const length = isHuge ? this.#plan.hugeLength : step.inode.length;
    const added = this.#addInode(inode, step.type, step.inode, parent, length);
    this.#addEdge(parent, name, inode, step.type);
    if (step.type === FileType.directory) {
      this.#directories.push(inode);
      if (this.#inTrash.has(parent)) this.#inTrash.add(inode);
    } else if (!isHuge) {
      this.#files.push(added); // the huge one has one place: sums of several would not fit 63 bits
    }
  }

  #addInode(inode: bigint, type: number, plan: InodePlan, parent: bigint, length: bigint = 0n): ModelInode {
    const added = { inode, type, plan, length, places: [parent] };
    this.#inodes.set(inode, added);
    return added;
  }

  #addEdge(parent: bigint, name: Buffer, inode: bigint, type: number): void {
    const siblings = this.#children.get(parent) ?? [];
    siblings.push({ parent, inode, type, name });
    this.#children.set(parent, siblings);
    this.#out.edge.push({ parent, inode, type, name });
  }

  records(): VolumeRecords {
    for (const siblings of this.#children.values()) siblings.sort((a, b) => Buffer.compare(a.name, b.name));
    this.#complete(ROOT_INODE);
    this.#complete(TRASH_INODE);
    this.#addSliceReferences();
    this.#addQuotas();
    this.#addDelFiles();
    this.#addCounters();
    return this.#out;
  }

  /** Children first, as entries of a dump are completed: ACL ids are given in this order. */
  #complete(directory: bigint): void {
    for (const { inode, type } of this.#children.get(directory) ?? []) {
      if (type === FileType.directory) this.#complete(inode);
      else if (!this.#completed.has(inode)) this.#completeInode(inode);
    }
    this.#completeInode(directory);
    const children = (this.#children.get(directory) ?? []).map((edge) => this.#inodes.get(edge.inode)!);
    this.#out.dirStat.push({
      inode: directory,
      dataLength: sum(children, (child) => dataLength(child)),
      usedSpace: sum(children, (child) => align4K(dataLength(child))),
      usedInodes: BigInt(children.length),
    });
  }

  readonly #completed: Set<bigint> = new Set();

  #completeInode(inode: bigint): void {
    this.#completed.add(inode);
    const model = this.#inodes.get(inode)!;
    const { plan, type, places } = model;
    this.#out.node.push({ inode, attribute: encodeAttribute(this.#attribute(model)) });
    for (const { name, value } of plan.xattrs) {
      this.#out.xattr.push({ inode, name: Buffer.from(name), value: Buffer.from(value) });
    }
    if (type === FileType.symlink) this.#out.symlink.push({ inode, target: Buffer.from(plan.target) });
    for (const { index, slices } of chunksOf(model)) this.#out.chunk.push({ inode, index, slices: encode(slices) });
    if (places.length < 2) return;
    for (const parent of new Set(places)) {
      this.#out.parent.push({ inode, parent, count: BigInt(places.filter((place) => place === parent).length) });
    }
  }

  #attribute({ inode, type, plan, length, places }: ModelInode): Attribute {
    const [atime, mtime, ctime] = plan.times;
    const isDirectory = type === FileType.directory;
    const subdirectories = (this.#children.get(inode) ?? []).filter((edge) => edge.type === FileType.directory).length;
    const ownLength = type === FileType.symlink ? BigInt(plan.target.length) : length;
    return {
      flags: plan.flags,
      type,
      mode: plan.mode,
      uid: plan.uid,
      gid: plan.gid,
      atime: atime!.seconds,
      atimensec: atime!.nanoseconds,
      mtime: mtime!.seconds,
      mtimensec: mtime!.nanoseconds,
      ctime: ctime!.seconds,
      ctimensec: ctime!.nanoseconds,
      nlink: isDirectory ? 2 + (inode >= TRASH_INODE ? 0 : subdirectories) : places.length,
      length: isDirectory ? 4096n : type <= FileType.symlink ? ownLength : 0n,
      rdev: plan.rdev,
      parent: places.length === 1 ? places[0]! : 0n,
      accessAclId: this.#aclId(plan.accessAcl),
      defaultAclId: this.#aclId(plan.defaultAcl),
      tier: plan.tier,
    };
  }

  #aclId(rule: number): number {
    if (rule < 0) return 0;
    const bytes = encodeAclRule(this.#plan.acls[rule % this.#plan.acls.length]!);
    const known = this.#out.acl.find((record) => record.rule.equals(bytes));
    if (known !== undefined) return known.id;
    this.#out.acl.push({ id: this.#out.acl.length + 1, rule: bytes });
    return this.#out.acl.length;
  }

  #addSliceReferences(): void {
    const references = new Map<bigint, bigint>();
    for (const model of this.#inodes.values()) {
      for (const { id } of chunksOf(model).flatMap(({ slices }) => slices)) {
        if (id !== 0n) references.set(id, (references.get(id) ?? 0n) + 1n);
      }
    }
    for (const [id, refs] of references) this.#out.sliceRef.push({ id, size: sliceSize(id), refs });
  }

  #addQuotas(): void {
    const { quotas, userQuotas, groupQuotas } = this.#plan;
    const seen = new Set<bigint>();
    for (const { directory, space, inodes } of quotas) {
      const key = this.#directories[directory % this.#directories.length]!;
      if (seen.has(key)) continue;
      seen.add(key);
      const below = this.#inTrash.has(key) ? [] : this.#below(key);
      this.#out.quota.push({
        key,
        maxSpace: space,
        maxInodes: inodes,
        usedSpace: sum(below, (model) => align4K(dataLength(model))),
        usedInodes: BigInt(below.length),
      });
    }
    if (userQuotas.length + groupQuotas.length === 0) return;
    this.#out.userQuota = this.#ownerQuotas(userQuotas, ({ uid }) => uid);
    this.#out.groupQuota = this.#ownerQuotas(groupQuotas, ({ gid }) => gid);
  }

  /** The inodes of all entries below a directory, each as often as it has places there. */
  #below(directory: bigint): ModelInode[] {
    return (this.#children.get(directory) ?? []).flatMap((edge) => [
      this.#inodes.get(edge.inode)!,
      ...(edge.type === FileType.directory ? this.#below(edge.inode) : []),
    ]);
  }

  #ownerQuotas(limits: VolumePlan["userQuotas"], owner: (plan: InodePlan) => number): QuotaRecord[] {
    const quotas = new Map<number, QuotaRecord>();
    const quotaOf = (id: number): QuotaRecord => {
      const known = quotas.get(id);
      if (known !== undefined) return known;
      const fresh = { key: BigInt(id), maxSpace: -1n, maxInodes: -1n, usedSpace: 0n, usedInodes: 0n };
      quotas.set(id, fresh);
      return fresh;
    };
    for (const { id, space, inodes } of limits) Object.assign(quotaOf(id), { maxSpace: space, maxInodes: inodes });
    for (const model of this.#inodes.values()) {
      if (model.inode === ROOT_INODE || model.inode === TRASH_INODE) continue;
      const quota = quotaOf(owner(model.plan));
      if (model.type > FileType.directory) continue;
      quota.usedSpace += align4K(dataLength(model));
      quota.usedInodes += 1n;
    }
    return [...quotas.values()];
  }

  /** Times grow with inodes, so that the order by inode of one engine is the order by time of another. */
  #addDelFiles(): void {
    let expire = 1_700_000_000n;
    this.#plan.delFiles.forEach(({ length, seconds }, i) => {
      expire += BigInt(seconds);
      this.#out.delFile.push({ inode: 1_000_000n + BigInt(i), length, expire });
    });
  }

  #addCounters(): void {
    const inodes = [...this.#inodes.values()].filter(({ inode }) => inode !== ROOT_INODE && inode !== TRASH_INODE);
    const ids = this.#out.sliceRef.map(({ id }) => id);
    const ordinary = [...inodes, ...this.#out.delFile].map(({ inode }) => inode).filter((inode) => inode < TRASH_INODE);
    const hours = inodes.map(({ inode }) => inode - TRASH_INODE).filter((hour) => hour > 0n);
    this.#out.counter.push(
      { name: "usedSpace", value: sum(inodes, (model) => align4K(dataLength(model))) },
      { name: "totalInodes", value: BigInt(inodes.length) },
      { name: "nextInode", value: largest(ordinary, 1n) + 1n },
      { name: "nextChunk", value: largest(ids, 0n) + 1n },
      { name: "nextSession", value: 0n },
      { name: "nextTrash", value: largest(hours, 0n) },
    );
  }
}

function dataLength({ type, length }: ModelInode): bigint {
  return type === FileType.regular ? length : 0n;
}

/** Chunks below the end of the file: others are not in a dump. */
function chunksOf({ type, length, plan }: ModelInode): InodePlan["chunks"] {
  if (type !== FileType.regular) return [];
  return plan.chunks.filter(({ index }) => BigInt(index * CHUNK_BYTES) < length);
}

function encode(slices: readonly SlicePlan[]): Buffer {
  return encodeSlices(slices.map(fittingSlice));
}

/** A slice lies in its chunk, and what it uses of an object lies in the object. */
function fittingSlice({ id, pos, off, len }: SlicePlan): Slice {
  const size = sliceSize(id);
  const from = pos % CHUNK_BYTES;
  if (id === 0n) return { id, pos: from, size, off: 0, len: 1 + (len % (CHUNK_BYTES - from)) };
  const start = off % size;
  return { id, pos: from, size, off: start, len: 1 + (len % Math.min(CHUNK_BYTES - from, size - start)) };
}

function sum<T>(items: readonly T[], value: (item: T) => bigint): bigint {
  return items.reduce((total, item) => total + value(item), 0n);
}

function largest(values: readonly bigint[], least: bigint): bigint {
  let result = least;
  for (const value of values) if (value > result) result = value;
  return result;
}
