import { describe, expect, test } from "vitest";
import { errorOf, expectEngineError, throughProxy } from "../support/broken-connection.ts";
import { requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { readPostgresCatalog } from "../support/postgres-tables.ts";
import type { ProxyFault, TcpProxy } from "../support/tcp-proxy.ts";
import { dumpText, loadText } from "../support/volume-files.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const CUTS = 4;
const server = (await requirePostgresServer()) ? await startPostgres() : undefined;
const text: Buffer = await wideVolumeText(3000);

/** Runs `work` through a proxy. */
async function through<T>(
  fault: ProxyFault | undefined,
  database: string,
  work: (url: string, proxy: TcpProxy) => Promise<T>,
): Promise<T> {
  return throughProxy(server!.port, fault, (port, proxy) =>
    work(server!.url(database).replace(`:${server!.port}/`, `:${port}/`), proxy),
  );
}

/** The first positions, where connecting happens, some in the middle, and every few at the end, where the commit is. */
function cutPoints(total: number): number[] {
  const even = Array.from({ length: CUTS }, (_, i) => Math.floor((total * (i + 1)) / (CUTS + 1)));
  return [0, 10, 500, ...even, ...[400, 200, 100, 60, 40, 30, 20, 15, 10, 6, 4, 2, 1].map((back) => total - back)];
}

describe.skipIf(server === undefined)("a connection to PostgreSQL that breaks", () => {
  test.each(["toServer", "toClient"] as const)(
    "during a load leaves the database empty, or the whole volume when only the answer was lost: %s",
    async (direction) => {
      const passed = await through(undefined, await server!.createDatabase(), async (url, proxy) => {
        await loadText(url, text);
        return proxy.passed;
      });
      let whole = 0;
      for (const afterBytes of cutPoints(passed[direction])) {
        const database = await server!.createDatabase();
        const error = await through({ direction, afterBytes, action: "cut" }, database, (url) =>
          errorOf(loadText(url, text)),
        );
        if (error === undefined) {
          whole++;
          expect((await dumpText(server!.url(database))).text.equals(text)).toBe(true);
        } else {
          expectEngineError(error, /^DECANT_E_POSTGRES/);
          expect([afterBytes, await readPostgresCatalog(server!.url(database))]).toEqual([afterBytes, []]);
        }
      }
      if (direction === "toClient") expect(whole).toBeGreaterThan(0);
    },
  );
});
