import { expect, test } from "vitest";
import { brokenError, connectError, replyError } from "../../../../src/engines/redis/redis-errors.ts";

test.each([
  "WRONGPASS invalid username-password pair",
  "NOAUTH Authentication required.",
  "WRONGTYPE Operation against a key holding the wrong kind of value",
  "NOPERM this user has no permissions to run the 'set' command",
  "ERR DB index is out of range",
  "LOADING Redis is loading the dataset in memory",
  "OOM command not allowed when used memory > 'maxmemory'.",
  "READONLY You can't write against a read only replica.",
  "MISCONF Redis is configured to save RDB snapshots",
  "MOVED 1 127.0.0.1:7000",
])("what to do is said for the reply of Redis: %s", (reply) => {
  expect(replyError(reply, "redis://h:1/1").hint).toEqual(expect.any(String));
});

test("what to do is said for a connection that fails or breaks", () => {
  const refused = Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:1"), { code: "ECONNREFUSED" });
  expect(connectError(refused, "redis://h:1/1").hint).toBe("Check the address, and that the server is running");
  expect(brokenError(new Error("read ECONNRESET"), "redis://h:1/1").hint).toMatch(
    /^Try again when the server is running/,
  );
});
