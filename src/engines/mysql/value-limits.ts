import { isAscii } from "node:buffer";
import type { ValueLimits } from "../../volume/value-limits.ts";
import { type ColumnLimits, limitsOfValues, xattrNameProblem } from "../sql/column-limits.ts";
import type { MysqlSession } from "./mysql-session.ts";

/** A BLOB and a TEXT have 64 KiB, and names are compared as text (docs/spec/sql.md §3.2, 6). */
export const MYSQL_COLUMNS: ColumnLimits = {
  engineName: "MySQL",
  name: 255,
  target: 4096,
  blob: 65_535,
  takesNul: true,
};

/** Names are asked for in statements of about this size. */
const QUESTION_BYTES = 256 * 1024;

/** Character set and collation that new tables get: those of the database. */
interface TextColumns {
  readonly characterSet: string;
  readonly collation: string;
}

/** Opens a session, does something with it and closes it. */
type WithSession = <T>(work: (session: MysqlSession) => Promise<T>) => Promise<T>;

/** What cannot be stored, asking the server about names where only it can tell. */
export function mysqlLimits(withSession: WithSession): ValueLimits {
  let columns: TextColumns | undefined;
  return {
    ...limitsOfValues(MYSQL_COLUMNS),
    async xattrNameProblems(lists) {
      const checks = lists.map((names) => new NameCheck(names));
      // A single name of ASCII can be stored whatever the database's character set.
      const open = checks.filter(
        ({ candidates }) => candidates.length > 1 || candidates.some(({ name }) => !isAscii(name)),
      );
      if (open.length > 0) {
        await withSession(async (session) => {
          columns ??= await readTextColumns(session);
          for (const portion of portions(open)) await askServer(session, columns, portion);
        });
      }
      return checks.map(({ problems }) => problems);
    },
  };
}

/** The names of one inode: those with a problem, and those that only the server can judge. */
class NameCheck {
  readonly problems = new Map<number, string>();
  readonly candidates: { readonly index: number; readonly name: Buffer }[] = [];
  readonly names: readonly Buffer[];

  constructor(names: readonly Buffer[]) {
    this.names = names;
    names.forEach((name, index) => {
      const problem = xattrNameProblem(name, MYSQL_COLUMNS);
      if (problem === undefined) this.candidates.push({ index, name });
      else this.problems.set(index, `its name ${problem}`);
    });
  }

  get bytes(): number {
    return this.candidates.reduce((sum, { name }) => sum + 2 * name.length + 60, 0);
  }
}

function* portions(checks: readonly NameCheck[]): Generator<NameCheck[]> {
  let portion: NameCheck[] = [];
  let bytes = 0;
  for (const check of checks) {
    if (bytes > QUESTION_BYTES) {
      yield portion;
      portion = [];
      bytes = 0;
    }
    portion.push(check);
    bytes += check.bytes;
  }
  yield portion;
}

async function readTextColumns(session: MysqlSession): Promise<TextColumns> {
  const [row] = await session.rows<[characterSet: string, collation: string]>(
    "SELECT @@character_set_database, @@collation_database",
  );
  return { characterSet: row![0], collation: row![1] };
}

/** Names are grouped by the very comparison that the unique index will make: case, accents and blanks at the end as there. */
async function askServer(session: MysqlSession, columns: TextColumns, checks: readonly NameCheck[]): Promise<void> {
  const names = checks.flatMap(({ candidates }, list) =>
    candidates.map(
      ({ index, name }) => `SELECT ${list},${index},CONVERT(_utf8mb4 x'${name.toString("hex")}' USING utf8mb4)`,
    ),
  );
  const stored = `CONVERT(n USING ${columns.characterSet})`;
  const list = `(SELECT 0 AS l,0 AS i,_utf8mb4'' AS n FROM DUAL WHERE 1=0 UNION ALL ${names.join(" UNION ALL ")}) AS names`;
  if (columns.characterSet !== "utf8mb4") {
    const back = `CAST(CONVERT(${stored} USING utf8mb4) AS BINARY)`;
    const lost = await session.rows<[list: bigint, index: bigint]>(
      `SELECT l,i FROM ${list} WHERE ${back} <> CAST(n AS BINARY)`,
    );
    for (const [l, i] of lost) {
      checks[Number(l)]!.problems.set(Number(i), `its name has characters that are not in ${columns.characterSet}`);
    }
  }
  await session.run("SET SESSION group_concat_max_len = 1048576");
  const equal = await session.rows<[list: bigint, indexes: string]>(
    `SELECT l,GROUP_CONCAT(i ORDER BY i) FROM ${list} GROUP BY l,${stored} COLLATE ${columns.collation} HAVING COUNT(*) > 1`,
  );
  for (const [l, indexes] of equal) markEqual(checks[Number(l)]!, indexes.split(",").map(Number), columns.collation);
}

/** Only the first one that can be stored is. */
function markEqual(check: NameCheck, indexes: readonly number[], collation: string): void {
  const [first, ...others] = indexes.filter((index) => !check.problems.has(index));
  for (const index of others) {
    const name = JSON.stringify(check.names[first!]!.toString());
    check.problems.set(index, `its name is the same as ${name} under the collation ${collation} of the database`);
  }
}
