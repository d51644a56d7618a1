import { describe, expect, test } from "vitest";
import { brokenError, connectError, replyError } from "../../../../src/engines/redis/redis-errors.ts";
import { crc16 } from "../../../../src/engines/redis/redis-server.ts";

const WHERE = "redis://:****@h/1";

describe("an error of the server", () => {
  test.each([
    ["WRONGPASS invalid username-password pair", "DECANT_E_REDIS_AUTH"],
    ["NOAUTH Authentication required.", "DECANT_E_REDIS_AUTH"],
    ["NOPERM this user has no permissions", "DECANT_E_REDIS_PERMISSION"],
    ["ERR DB index is out of range", "DECANT_E_REDIS_DATABASE"],
    ["LOADING Redis is loading the dataset in memory", "DECANT_E_REDIS_LOADING"],
    ["OOM command not allowed when used memory > 'maxmemory'.", "DECANT_E_REDIS_FULL"],
    ["READONLY You can't write against a read only replica.", "DECANT_E_REDIS_READONLY"],
    ["MISCONF Redis is configured to save RDB snapshots", "DECANT_E_REDIS_MISCONF"],
    ["MOVED 3999 127.0.0.1:6381", "DECANT_E_REDIS_CLUSTER"],
    ["WRONGTYPE Operation against a key", "DECANT_E_REDIS_TYPE"],
    ["ERR something else", "DECANT_E_REDIS"],
  ])("%s has a code of its own and keeps the words", (reply, code) => {
    const error = replyError(reply, WHERE, "SET i1");
    expect(error.code).toBe(code);
    expect(error.message).toContain(WHERE);
    expect(error.message).toContain(reply);
    expect(error.message).toContain("(SET i1)");
  });

  test("is never one of the connection, which names its cause", () => {
    const refused = Object.assign(new Error("connect ECONNREFUSED 1.2.3.4:5"), { code: "ECONNREFUSED" });
    expect(connectError(refused, WHERE)).toMatchObject({
      message: `Meta ${WHERE} is not available: connect ECONNREFUSED 1.2.3.4:5`,
      retryable: true,
    });
    const both = new AggregateError([new Error("connect ECONNREFUSED ::1:5"), refused]);
    expect(connectError(both, WHERE).message).toContain("connect ECONNREFUSED ::1:5; connect ECONNREFUSED 1.2.3.4:5");
    expect(brokenError(refused, WHERE).message).toBe(`Lost the connection to ${WHERE}: connect ECONNREFUSED 1.2.3.4:5`);
  });
});

test("the slot of a key is the CRC-16 that the cluster specification gives", () => {
  expect(crc16(Buffer.from("123456789"))).toBe(0x31c3);
});
