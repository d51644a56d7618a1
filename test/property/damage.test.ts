import fc from "fast-check";
import type { Redis } from "ioredis";
import { afterAll, describe, expect, test } from "vitest";
import { DataError, DecantError } from "../../src/base/errors.ts";
import { decodeJsonDump } from "../../src/formats/json/decode.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { dumpText, loadText, newSqlite } from "../support/volume-files.ts";
import { volumeRecords } from "../support/volume-model.ts";
import { type VolumePlan, volumePlans } from "../support/volume-plan.ts";
import { consolidateRecords, encodeRecords, pieces } from "../support/volume-streams.ts";
import { runsOf } from "./runs.ts";

const MEMORY = 16 * 1024 * 1024;
const redis: RedisServer | undefined = (await requireRedisServer("damaged dumps")) ? await startRedis() : undefined;
const control: Redis | undefined = redis?.client();

afterAll(async () => {
  control?.disconnect();
  await redis?.stop();
});

/** What may happen to a file. Positions are parts of the whole, so that they mean something for every length. */
const damages = fc.oneof(
  fc.record({ kind: fc.constant("flip" as const), at: fc.nat(), bit: fc.integer({ min: 0, max: 7 }) }),
  fc.record({ kind: fc.constant("cut" as const), at: fc.nat(), bit: fc.constant(0) }),
  fc.record({ kind: fc.constant("drop" as const), at: fc.nat(), bit: fc.integer({ min: 1, max: 200 }) }),
  fc.record({ kind: fc.constant("repeat" as const), at: fc.nat(), bit: fc.integer({ min: 1, max: 200 }) }),
  fc.record({ kind: fc.constant("zero" as const), at: fc.nat(), bit: fc.integer({ min: 1, max: 200 }) }),
);

type Damage = { kind: "flip" | "cut" | "drop" | "repeat" | "zero"; at: number; bit: number };

function damage(text: Buffer, { kind, at, bit }: Damage): Buffer {
  const from = at % text.length;
  const to = Math.min(from + bit, text.length);
  switch (kind) {
    case "flip": {
      const copy = Buffer.from(text);
      copy[from]! ^= 1 << bit;
      return copy;
    }
    case "cut":
      return text.subarray(0, from);
    case "drop":
      return Buffer.concat([text.subarray(0, from), text.subarray(to)]);
    case "repeat":
      return Buffer.concat([text.subarray(0, to), text.subarray(from)]);
    case "zero":
      return Buffer.from(text).fill(0, from, to);
  }
}

async function damagedText(plan: VolumePlan, how: Damage): Promise<Buffer> {
  return damage(await encodeRecords(volumeRecords(plan), MEMORY), how);
}

/** The error of a promise, undefined when it is kept. */
async function errorOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return error;
  }
}

describe("a damaged dump", () => {
  test("is read to a value or refused as bad data, wherever the damage is", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(25), fc.array(damages, { minLength: 40, maxLength: 40 }), async (plan, list) => {
        const text = await encodeRecords(volumeRecords(plan), MEMORY);
        for (const how of list) {
          const options = { signal: new AbortController().signal, onWarning: () => undefined };
          const stream = decodeJsonDump(pieces(damage(text, how), 4096), options);
          const error = await errorOf(consolidateRecords(stream, MEMORY));
          if (error !== undefined && !(error instanceof DataError)) throw error;
        }
      }),
      runsOf(25),
    );
  });

  test("cut anywhere is refused", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(25), fc.nat(), async (plan, at) => {
        const text = await encodeRecords(volumeRecords(plan), MEMORY);
        // The last two bytes are the brace and the line feed behind it.
        const cut = text.subarray(0, at % (text.length - 1));
        const options = { signal: new AbortController().signal, onWarning: () => undefined };
        expect(await errorOf(consolidateRecords(decodeJsonDump(pieces(cut, 4096), options), MEMORY))).toBeInstanceOf(
          DataError,
        );
      }),
      runsOf(100),
    );
  });

  test("leaves a SQLite target that does not exist as it is: no file at all", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(25), damages, async (plan, how) => {
        const target = newSqlite();
        const error = await errorOf(loadText(target.url, await damagedText(plan, how)));
        if (error === undefined) return void (await dumpText(target.url));
        if (!(error instanceof DecantError)) throw error;
        expect(target.files()).toEqual([]);
      }),
      runsOf(40),
    );
  });

  test.skipIf(redis === undefined)("leaves an empty Redis database empty", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(25), damages, async (plan, how) => {
        await control!.flushall();
        const error = await errorOf(loadText(redis!.url(0), await damagedText(plan, how)));
        if (error === undefined) return void (await dumpText(redis!.url(0)));
        if (!(error instanceof DecantError)) throw error;
        expect(await control!.dbsize()).toBe(0);
      }),
      runsOf(40),
    );
  });
});
