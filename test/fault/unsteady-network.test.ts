import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NETWORK_ENGINES, type NetworkRound, NetworkTarget } from "../../bench/load-faults/network-faults.ts";
import { emptyTally, Trial } from "../../bench/load-faults/trial.ts";
import { DECANT_MAIN, runDecant } from "../support/decant.ts";
import { requireEtcdServer } from "../support/etcd-server.ts";
import { type PrivateMysqlServer, requireMysqlProgram, startMysql } from "../support/mysql-server.ts";
import { requirePostgresServer } from "../support/postgres-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { startDecant } from "../support/running-decant.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireTikvProgram } from "../support/tikv-server.ts";
import { UnsteadyNetwork } from "../support/unsteady-network.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const FILES = 5000;
/** Of the bytes of a load. */
const [SEGMENTED, STALLED, LOST] = [0.2, 0.25, 0.8];

const available = {
  redis: await requireRedisServer(),
  postgres: await requirePostgresServer(),
  mariadb: await requireMysqlProgram(),
  etcd: await requireEtcdServer(),
  tikv: await requireTikvProgram(),
};
const engines = (Object.keys(available) as (keyof typeof available)[]).filter((name) => available[name]);
/** These wait for a server that is away. */
const PATIENT: readonly string[] = ["etcd", "tikv"];

test("every engine with a server is tried", () => {
  expect(Object.keys(available)).toEqual(NETWORK_ENGINES);
});

describe.each(engines)("a load into %s through a network with tiny segments, that then stands still", (name) => {
  test(`and then is gone for a while without a word to the server, ${PATIENT.includes(name) ? "ends well" : "is gone on with"}`, async () => {
    const target = await NetworkTarget.open(name, await Trial.of(FILES, DECANT_MAIN));
    try {
      const tally = emptyTally();
      await target.round((round) => begin(round, PATIENT.includes(name)), tally);
      const outcome = PATIENT.includes(name) ? { tooLate: 1 } : { fromCheckpoint: 1 };
      expect(tally).toEqual({ ...emptyTally(), rounds: 1, equal: 1, ...outcome });
    } finally {
      await target.close();
    }
  });
});

function begin({ network, bytes }: NetworkRound, isBack: boolean): boolean {
  const stall = async (): Promise<void> => {
    network.stall();
    await sleep(300);
    network.mend();
    network.after(bytes * (LOST - STALLED), () => void lose());
  };
  const lose = async (): Promise<void> => {
    network.lose();
    await sleep(500);
    if (isBack) network.mend();
  };
  network.after(bytes * SEGMENTED, () => {
    network.slow({ segmentBytes: 3 });
    network.after(bytes * (STALLED - SEGMENTED), () => void stall());
  });
  return isBack;
}

describe.skipIf(!available.mariadb)("a load into MySQL that is gone without a word to the server", () => {
  let server: PrivateMysqlServer;
  beforeAll(async () => {
    server = await startMysql();
  });
  afterAll(() => server.stop());

  test.each(["--resume", "--clean"])("before its first checkpoint keeps nobody waiting: %s", async (option) => {
    const dump = join(temporaryDirectory(), "dump.json");
    writeFileSync(dump, await wideVolumeText(FILES));
    const network = new UnsteadyNetwork();
    try {
      const url = server.url(await server.createDatabase());
      network.after(100_000, () => network.lose());
      const load = startDecant(["load", await network.addressBefore(url), dump]);
      load.input.end();
      const { code } = await load.ended;
      expect(code).toBe(7);
      const states = "SELECT count(*) FROM information_schema.processlist WHERE state = 'Reading from net'";
      expect(await server.query(states)).toEqual([["1"]]);
      const again = await runDecant(["load", url, dump, option], { timeoutMs: 60_000 });
      expect([again.code, again.err]).toEqual([0, expect.anything()]);
    } finally {
      network.close();
    }
  });
});
