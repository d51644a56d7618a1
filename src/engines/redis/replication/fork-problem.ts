import { formatBytes } from "../../../base/units.ts";
import { readInfo } from "../redis-server.ts";
import type { RespConnection } from "../resp-connection.ts";

/**
 * Why a server should not be made to fork by itself, without anybody who has asked for it; undefined when it may. While writers write, a
 * fork can take as much memory as the server has in use.
 */
export async function forkProblem(connection: RespConnection): Promise<string | undefined> {
  const info = await readInfo(connection);
  const used = /^used_memory_rss:(\d+)/m.exec(info)?.[1];
  const total = /^total_system_memory:(\d+)/m.exec(info)?.[1];
  if (used === undefined || total === undefined) return "it does not say whether it has the memory to fork (INFO)";
  if (2n * BigInt(used) <= BigInt(total)) return undefined;
  return `a fork may take ${formatBytes(BigInt(used))} more of its ${formatBytes(BigInt(total))} of memory`;
}
