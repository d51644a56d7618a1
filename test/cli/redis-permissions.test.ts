import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runDecant } from "../support/decant.ts";
import { restoreRedisJsonl } from "../support/redis-fixture.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const isAvailable = await requireRedisServer();

const TRACKED = { code: 0, says: "consistent as of <time>: Changes were tracked: " };
const REPLICA = { code: 0, says: "consistent as of <time>: A full resync (PSYNC) gave all data as of the fork" };
const KEY_BY_KEY =
  "NOT one point in time: Redis keys were read one after the other, so changes made during the dump may be in it in part";
const ASKED = { code: 0, says: KEY_BY_KEY };

function keyByKey(reason: string): Outcome {
  return { code: 3, says: `${KEY_BY_KEY} (${reason}` };
}

function refused(reason: string): Outcome {
  return {
    code: 7,
    says: `can be read by tracking changes: ${reason}`,
    hint: "docs/engines/redis.md says which commands the user needs; --snapshot replica needs others",
  };
}

interface Outcome {
  readonly code: number;
  readonly says: string;
  readonly hint?: string;
}

type Outcomes = Readonly<Record<"auto" | "tracking" | "replica" | "none", Outcome>>;

/** Tracking needs the command, the others do not. */
function neededToTrack(reason: string): Outcomes {
  const says = `${REPLICA.says} of the server (changes could not be tracked: ${reason}`;
  return { auto: { code: 0, says }, tracking: refused(reason), replica: REPLICA, none: ASKED };
}

function noPermission(named: string, command: string): Outcomes {
  return neededToTrack(
    `the server does not permit ${named}: NOPERM this user has no permissions to run the '${command}' command`,
  );
}

const NEEDED_BY_NONE: Outcomes = { auto: TRACKED, tracking: TRACKED, replica: REPLICA, none: ASKED };

function neededByReplica(command: string): Outcomes {
  const says = `does not allow this user what is needed (${command}): NOPERM`;
  const hint = "Give the user the command and the keys that are named, or take another user";
  return { ...NEEDED_BY_NONE, replica: { code: 7, says, hint } };
}

/** HELLO cannot be forbidden by an ACL, only be renamed (test/conformance/redis-tracking.test.ts). */
const CASES: readonly (readonly [string, Outcomes])[] = [
  ["client", noPermission("CLIENT TRACKING", "client|tracking")],
  ["client|tracking", noPermission("CLIENT TRACKING", "client|tracking")],
  ["client|pause", NEEDED_BY_NONE],
  ["hello", NEEDED_BY_NONE],
  ["watch", noPermission("WATCH", "watch")],
  ["multi", noPermission("MULTI", "multi")],
  [
    "exec",
    neededToTrack(
      "the server does not permit EXEC: EXECABORT Transaction discarded because of: NOPERM this user has no",
    ),
  ],
  ["ping", noPermission("PING", "ping")],
  [
    "info",
    {
      ...neededToTrack("the user may not ask which server this is (INFO)"),
      auto: keyByKey(
        "the user may not ask which server this is (INFO); no full resync: it does not say whether it has the memory to fork (INFO)",
      ),
    },
  ],
  [
    "multi -psync",
    {
      ...neededByReplica("PSYNC"),
      tracking: refused("the server does not permit MULTI: NOPERM"),
      auto: keyByKey(
        "the server does not permit MULTI: NOPERM this user has no permissions to run the 'multi' command; no full resync: The Redis " +
          "server at redis://<address> does not allow this user what is needed (PSYNC): NOPERM",
      ),
    },
  ],
  ["time", NEEDED_BY_NONE],
  ["wait", NEEDED_BY_NONE],
  ["dbsize", NEEDED_BY_NONE],
  ["cluster", NEEDED_BY_NONE],
  ["psync", neededByReplica("PSYNC")],
  ["sync", NEEDED_BY_NONE],
  ["replconf", neededByReplica("REPLCONF")],
];

describe.skipIf(!isAvailable)("a dump of Redis by a user who may not call", () => {
  let server: RedisServer;
  let client: Redis;
  beforeAll(async () => {
    server = await startRedis({ args: ["--repl-diskless-sync-delay", "0"] });
    client = server.client();
    await restoreRedisJsonl(server.url(), fixture("golden/engines/golden.redis.jsonl"));
  });
  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  test.each(CASES)("%s ends as each method must", async (command, outcomes) => {
    await client.call("ACL", "SETUSER", "some", "reset", "on", ">pw", "~*", "&*", "+@all", ...`-${command}`.split(" "));
    const url = server.url().replace("//", "//some:pw@");
    for (const [method, { code, says, hint }] of Object.entries(outcomes)) {
      const file = join(temporaryDirectory(), "x.json");
      const run = await runDecant(["dump", url, file, "--snapshot", method]);
      const said = run.err
        .replace(/as of [-0-9T:.]+Z/, "as of <time>")
        .replace(/no full resync: (.*?redis:\/\/)\S+/, "no full resync: $1<address>");
      expect([method, run.code, existsSync(file)]).toEqual([method, code, code !== 7]);
      expect([method, said]).toEqual([method, expect.stringContaining(says)]);
      if (hint !== undefined) expect(said).toContain(`hint: ${hint}\n`);
    }
  });
});
