import { PROBLEM_KINDS, type ProblemKind } from "./check-kinds.ts";

export type { ProblemKind } from "./check-kinds.ts";

/** What is wrong with a volume, or worth knowing about it, in words a user understands. */
export interface Problem {
  /** Stable name for programs: `link-count`, `missing-node`, ... listed in docs/verify.md. */
  readonly kind: string;
  /** One sentence without a number. */
  readonly text: string;
  /** `error`: the volume is damaged. `note`: healthy volumes have it too. */
  readonly severity: "error" | "note";
  readonly count: number;
  /** The first few places: paths, or inodes where no path is known. */
  readonly examples: readonly string[];
}

const MAX_EXAMPLES = 5;

/** Where a problem is: a path where it is known at once, else an inode whose path is looked up at the end. */
export interface ProblemPlace {
  readonly path?: string;
  readonly inode?: bigint;
  readonly detail?: string;
}

interface Example {
  path: string | undefined;
  readonly inode: bigint | undefined;
  readonly detail: string | undefined;
}

/** Collects problems by kind; the place is only made for the first few of each. */
export class ProblemList {
  readonly #counts: Map<ProblemKind, number> = new Map();
  readonly #examples: Map<ProblemKind, Example[]> = new Map();

  add(kind: ProblemKind, place?: () => ProblemPlace, count: number = 1): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + count);
    if (place === undefined) return;
    const examples = this.#examples.get(kind) ?? [];
    this.#examples.set(kind, examples);
    if (examples.length >= MAX_EXAMPLES) return;
    const { path, inode, detail } = place();
    examples.push({ path, inode, detail });
  }

  /** Inodes of examples that have no path yet. */
  wantedInodes(): bigint[] {
    const wanted: bigint[] = [];
    for (const { path, inode } of [...this.#examples.values()].flat()) {
      if (path === undefined && inode !== undefined) wanted.push(inode);
    }
    return wanted;
  }

  setPath(inode: bigint, path: string): void {
    for (const example of [...this.#examples.values()].flat()) if (example.inode === inode) example.path ??= path;
  }

  /** Errors first, in the order of the table. `strict`: what is in doubt is an error. */
  all(strict: boolean): Problem[] {
    const problems: Problem[] = [];
    for (const { kind, text, severity } of PROBLEM_KINDS) {
      const count = this.#counts.get(kind);
      if (count === undefined) continue;
      const isError = severity === "error" || (strict && severity === "doubt");
      const examples = (this.#examples.get(kind) ?? []).map(exampleText);
      problems.push({ kind, text, severity: isError ? "error" : "note", count, examples });
    }
    return problems.sort((a, b) => Number(a.severity === "note") - Number(b.severity === "note"));
  }
}

function exampleText({ path, inode, detail }: Example): string {
  const known = path === undefined ? (inode === undefined ? undefined : `inode ${inode}`) : shortened(path);
  if (known === undefined) return detail ?? "";
  return detail === undefined ? known : `${known}: ${detail}`;
}

/** Longer paths are shown without their middle. */
const MAX_PATH_TEXT = 1000;

function shortened(path: string): string {
  return path.length <= MAX_PATH_TEXT ? path : `${path.slice(0, 200)}[...]${path.slice(200 - MAX_PATH_TEXT)}`;
}
