import { describe, expect, test } from "vitest";
import { spaceRounds } from "../../bench/load-faults/space-faults.ts";
import { openSpaces } from "../../bench/load-faults/spaces.ts";
import type { EngineName } from "../../bench/load-faults/targets.ts";
import { emptyTally, Trial } from "../../bench/load-faults/trial.ts";
import { DECANT_MAIN } from "../support/decant.ts";
import { requireEtcdServer } from "../support/etcd-server.ts";
import { requireMysqlProgram } from "../support/mysql-server.ts";
import { requirePostgresServer } from "../support/postgres-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { mountSmallDisk } from "../support/small-disk.ts";

const FILES = 5000;
/** Of what a load needs; of the time after which etcd is filled. */
const SHARE = 0.3;
const disk = mountSmallDisk("100k", "loads that go on after a full disk");
const canMount = disk !== undefined;
disk?.unmount();

const available: readonly (readonly [EngineName, boolean])[] = [
  ["sqlite", canMount],
  ["badger", canMount],
  ["redis", await requireRedisServer()],
  ["postgres", canMount && (await requirePostgresServer())],
  ["mariadb", canMount && (await requireMysqlProgram())],
  ["etcd", await requireEtcdServer()],
];

describe.each(available)("a load into %s for which there is not enough room", (name, isAvailable) => {
  test.skipIf(!isAvailable)("says so, and is gone on with when there is more", async () => {
    const space = await openSpaces(name)[0]!();
    try {
      const tally = emptyTally();
      await spaceRounds(space, await Trial.of(FILES, DECANT_MAIN), [SHARE], tally);
      const { rounds, equal, tooLate, violations } = tally;
      expect({ rounds, equal, tooLate, violations }).toEqual({ rounds: 1, equal: 1, tooLate: 0, violations: [] });
    } finally {
      await space.close();
    }
  });
});
