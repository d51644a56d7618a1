import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { runDecant } from "../support/decant.ts";
import { requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { readPostgresCatalog } from "../support/postgres-tables.ts";
import { startDecant } from "../support/running-decant.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { UnsteadyNetwork } from "../support/unsteady-network.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const server = (await requirePostgresServer()) ? await startPostgres() : undefined;

describe.skipIf(server === undefined)("a load into PostgreSQL that was killed", () => {
  test.each(["SIGKILL", "SIGINT"] as const)(
    "by %s leaves nothing behind, and can be repeated at once",
    async (signal) => {
      const database = await server!.createDatabase();
      const url = server!.url(database);
      const text = await wideVolumeText(20_000);
      const file = join(temporaryDirectory(), "dump.json");
      writeFileSync(file, text);
      const load = startDecant(["load", url]);
      load.input.write(text.subarray(0, text.length / 2));
      // Rows are arriving, or have arrived.
      const copies = `SELECT count(*) FROM pg_stat_activity WHERE datname = '${database}' AND query LIKE 'COPY%'`;
      while ((await server!.psql("postgres", copies)).trim() === "0") await sleep(10);
      load.kill(signal);
      const { code, err } = await load.ended;
      if (signal === "SIGINT") {
        expect(code).toBe(130);
        expect(err).toContain(`interrupted; ${url} holds no volume`);
      }
      expect(await readPostgresCatalog(url)).toEqual([]);
      expect((await runDecant(["status", url])).code).toBe(4);
      expect((await runDecant(["load", url, file])).code).toBe(0);
      expect((await runDecant(["dump", url, `${file}.2`])).code).toBe(0);
      const tree = (name: string): string => readFileSync(name, "latin1").split('"FSTree"')[1]!;
      expect(tree(`${file}.2`)).toBe(tree(file));
    },
  );

  test("whose client the server takes for alive is ended by --resume, and only by that or --clean", async () => {
    const network = new UnsteadyNetwork();
    const url = server!.url(await server!.createDatabase());
    const text = await wideVolumeText(20_000);
    const file = join(temporaryDirectory(), "dump.json");
    writeFileSync(file, text);
    const load = startDecant(["load", await network.addressBefore(url)]);
    network.after(text.length / 10, () => network.lose());
    load.input.end(text);
    expect((await load.ended).code).toBe(7);
    const refused = await runDecant(["load", url, file]);
    expect([refused.code, refused.err]).toEqual([5, expect.stringContaining("is under way")]);
    expect(refused.err).toContain("--resume and --clean end its session");
    const resumed = await runDecant(["load", url, file, "--resume", "--verify"]);
    expect([resumed.code, resumed.err]).toEqual([0, expect.stringContaining("are what was written")]);
    network.close();
  });
});
