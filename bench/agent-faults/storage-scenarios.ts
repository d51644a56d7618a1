import { createHash } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import type { S3Rule, ServedAnswer } from "../../test/support/s3-proxy.ts";
import { mountSmallDisk } from "../../test/support/small-disk.ts";
import { openDatabase } from "./databases.ts";
import type { Scenario } from "./scenarios.ts";
import { type Fault, World } from "./world.ts";

const FAILED = /backup metadata failed/;

const fullDisk: Scenario = {
  name: "full-disk",
  about: "2 agents, sqlite: the disk of the bucket is full for some periods, then the disk for temporary files",
  async run(options, onWorld) {
    const { url, close } = await openDatabase("sqlite");
    const disk = mountSmallDisk("4m", "a full disk");
    const temporary = mountSmallDisk("64k", "a full disk");
    if (disk === undefined || temporary === undefined) throw new Error("only root can mount a small file system");
    const world = await World.create({ ...options, url, bucket: { directory: disk.directory }, files: 20_000 });
    onWorld(world);
    try {
      await world.startAgents(2);
      await world.untilGood(1);
      const ballast = join(disk.directory, "ballast");
      const told: Fault["told"] = {
        log: /backup metadata failed: .*no space left/,
        cause: /DECANT_E_FILE/,
        by: "some",
      };
      await world.during("the disk of the bucket is full", told, async () => {
        fillUp(ballast);
        await world.periods(3);
      });
      rmSync(ballast);
      await world.untilGood(2);
      for (const agent of world.living) {
        agent.kill("SIGTERM");
        await agent.ended;
      }
      const noRoom = { log: /backup metadata failed: .*no space left/, cause: /DECANT_E/, by: "some" } as const;
      const small = await world.startAgent({ args: ["--max-memory", "1M", "--tmp-dir", temporary.directory] });
      await world.during("the disk for temporary files is full", noRoom, () => world.periods(3));
      small.kill("SIGTERM");
      await small.ended;
      await world.startAgents(1);
      await world.untilGood(1);
    } finally {
      await world.stop();
      await close();
      world.afterwards.push(disk.unmount, temporary.unmount);
    }
  },
};

/** As much as there is room for. */
function fillUp(file: string): void {
  for (const size of [1 << 20, 1 << 14, 1 << 10]) {
    try {
      for (;;) writeFileSync(file, Buffer.alloc(size), { flag: "a" });
    } catch {
      // full, for pieces of this size
    }
  }
}

const error503 = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>";

interface Trouble {
  readonly what: string;
  readonly rules: readonly S3Rule[];
  readonly told: Fault["told"];
  /** At least so long. */
  readonly seconds?: number;
}

const BACKUP = /^PUT .*\/dump-[^/]*\.json(?:\.gz)?(?:\?|$)/;

const FAILING: readonly Trouble[] = [
  {
    what: "every request is answered with 503",
    rules: [{ on: /./, fault: { kind: "answer", status: 503, body: error503 } }],
    told: { log: /HTTP 503/, cause: /STORAGE/, by: "all" },
  },
  {
    what: "uploads break off",
    rules: [{ on: BACKUP, fault: { kind: "cut-request", afterBytes: 1000 } }],
    told: { log: FAILED, cause: /STORAGE/, by: "some" },
  },
  {
    what: "reading back ends early, and goes on from there",
    rules: [{ on: /^GET .*\/dump-[^/]*\.gz/, fault: { kind: "truncate", afterBytes: 1000 } }],
    told: undefined,
  },
  {
    what: "reading back ends before it has begun",
    rules: [{ on: /^GET .*\/dump-[^/]*\.gz/, fault: { kind: "truncate", afterBytes: 0 } }],
    told: { log: FAILED, cause: /STORAGE|READ_BACK/, by: "some" },
  },
  {
    what: "what is read back has another bit",
    rules: [{ on: /^GET .*\/dump-[^/]*\.gz/, fault: { kind: "corrupt-answer", at: 500 } }],
    told: { log: FAILED, cause: /STORAGE|READ_BACK|CHECKSUM/, by: "some" },
  },
  {
    what: "nothing may be written",
    rules: [
      {
        on: /^PUT /,
        fault: { kind: "answer", status: 403, body: "<Error><Code>AccessDenied</Code><Message>no</Message></Error>" },
      },
    ],
    told: { log: FAILED, cause: /STORAGE/, by: "some" },
  },
];

function troubles(
  name: string,
  about: string,
  list: (world: World) => readonly Trouble[],
  args: string[] = [],
  files?: number,
): Scenario {
  return {
    name,
    about,
    async run(options, onWorld) {
      const { url, close } = await openDatabase("redis");
      const world = await World.create({ ...options, url, bucket: "s3", ...(files === undefined ? {} : { files }) });
      onWorld(world);
      try {
        for (let i = 0; i < 2; i++) await world.startAgent({ args });
        await world.untilGood(1);
        for (const { what, rules, told, seconds = 0 } of list(world)) {
          await world.during(what, told, async () => {
            world.proxy!.setRules(rules);
            await world.periods(Math.max(2.5, (seconds * 1000) / world.periodMs));
          });
          world.proxy!.setRules([]);
          await world.untilGood(1);
        }
      } finally {
        await world.stop();
        await close();
      }
    },
  };
}

/** Answers that all is well, and stores what `alter` makes of it, or nothing. */
function lie(
  world: World,
  alter: (body: Buffer) => Buffer | undefined,
): (path: string, body: Buffer) => Promise<ServedAnswer> {
  return async (path, body) => {
    const [, bucket = "", key = ""] = /^\/([^/]+)\/([^?]+)/.exec(path) ?? [];
    const stored = alter(body);
    const client = world.s3!.client();
    if (stored !== undefined) {
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: decodeURIComponent(key), Body: stored }));
    }
    client.destroy();
    return {
      status: 200,
      headers: { etag: `"${createHash("md5").update(body).digest("hex")}"`, "content-length": "0" },
    };
  };
}

function lies(world: World): Trouble[] {
  const rule = (alter: (body: Buffer) => Buffer | undefined, on = BACKUP): S3Rule[] => [
    { on, fault: { kind: "serve", serve: lie(world, alter) } },
  ];
  const told: Fault["told"] = { log: FAILED, cause: /STORAGE|READ_BACK/, by: "some" };
  return [
    { what: "a PUT says yes and stores nothing", rules: rule(() => undefined), told },
    { what: "a PUT says yes and stores half", rules: rule((body) => body.subarray(0, body.length >> 1)), told },
    { what: "a PUT says yes and stores zeroes", rules: rule((body) => Buffer.alloc(body.length)), told },
    // Without it the backup does not count: it is made again.
    {
      what: "a manifest is not stored",
      rules: rule(() => undefined, /^PUT .*\/decant\/manifests\//),
      told: undefined,
    },
  ];
}

const COMPLETE: Trouble = {
  what: "the end of an upload in parts is an error with status 200",
  rules: [
    {
      on: /^POST .*uploadId=/,
      fault: {
        kind: "answer",
        status: 200,
        body: "<Error><Code>InternalError</Code><Message>try again</Message></Error>",
      },
    },
  ],
  told: { log: FAILED, cause: /STORAGE/, by: "some" },
};

const PARTS: Trouble = {
  what: "second parts break off",
  rules: [{ on: /^PUT .*partNumber=2/, fault: { kind: "cut-request", afterBytes: 100_000 } }],
  told: { log: FAILED, cause: /STORAGE/, by: "some" },
};

const SLOW: Trouble = {
  what: "every answer takes 300 ms",
  rules: [{ on: /./, fault: { kind: "delay", ms: 300 } }],
  told: undefined,
};

const STALL: Trouble = {
  what: "an upload is never answered, and is tried again after a minute",
  rules: [{ on: BACKUP, fault: { kind: "swallow" }, times: 1 }],
  told: undefined,
  seconds: 90,
};

export const STORAGE_SCENARIOS: readonly Scenario[] = [
  fullDisk,
  troubles("s3-fails", "2 agents, redis, s3: 503, broken uploads, cut and changed answers, 403", () => FAILING),
  troubles("s3-lies", "2 agents, redis, s3: yes to what is not stored, or not as it was sent", lies),
  troubles(
    "s3-parts",
    "2 agents, redis, s3: uploads in parts of 14 MB that fail",
    () => [COMPLETE, PARTS],
    ["--compression", "none"],
    40_000,
  ),
  troubles("s3-slow", "2 agents, redis, s3: slow, then silent", () => [SLOW, STALL]),
];
