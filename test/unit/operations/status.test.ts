import { describe, expect, test } from "vitest";
import { DataError } from "../../../src/base/errors.ts";
import { formatJson } from "../../../src/base/json-text.ts";
import { parseSessionInfo } from "../../../src/operations/session-info.ts";
import { volumeSpace } from "../../../src/operations/status.ts";
import { sessionReportJson } from "../../../src/operations/status-json.ts";

describe("space and inodes", () => {
  test.each([
    ["nothing used", 0n, 0n, 0n, 0n, [0n, 1n << 50n, 0n, 10485760n]],
    ["limits", 100n, 10n, 30n, 4n, [30n, 70n, 4n, 6n]],
    ["more used than allowed", 100n, 10n, 130n, 14n, [130n, 0n, 14n, 0n]],
    ["very much used", 0n, 0n, 1n << 50n, 50000000n, [1n << 50n, 1n << 50n, 50000000n, 20971520n]],
    ["negative counters", 0n, 0n, -5n, -300n, [0n, 1n << 50n, 0n, 10485760n]],
  ])("%s", (_name, capacity, inodes, usedSpace, totalInodes, wanted) => {
    const space = volumeSpace({ capacity, inodes }, { usedSpace, totalInodes });
    expect([space.usedSpace, space.availableSpace, space.usedInodes, space.availableInodes]).toEqual(wanted);
  });
});

describe("session information", () => {
  test("is read in any case of its names, with what is missing empty", () => {
    expect(parseSessionInfo({ sid: 6n, expire: 5n, info: "{}" })).toEqual({
      sid: 6n,
      expire: 5n,
      version: "",
      hostName: "",
      ipAddresses: [],
      mountPoint: "",
      mountTime: "0001-01-01T00:00:00Z",
      processId: 0n,
    });
    const info = '{"version":"1.0","IPADDRS":["a"],"MountTime":"2026-11-23T06:39:15.120000000Z","ProcessID":5,"X":1}';
    expect(parseSessionInfo({ sid: 3n, expire: 5n, info })).toMatchObject({
      version: "1.0",
      ipAddresses: ["a"],
      mountTime: "2026-11-23T06:39:15.12Z",
      processId: 5n,
    });
    const whole = '{"MountTime":"2026-11-23T06:39:15.000+00:00"}';
    expect(parseSessionInfo({ sid: 3n, expire: 5n, info: whole }).mountTime).toBe("2026-11-23T06:39:15Z");
  });

  test.each([undefined, "", "garbage", "[]", '{"Version":1}', '{"ProcessID":"x"}'])("%s is refused", (info) => {
    expect(() => parseSessionInfo({ sid: 1n, expire: 0n, info })).toThrow(DataError);
    expect(() => parseSessionInfo({ sid: 1n, expire: 0n, info })).toThrow("session 1: corrupted session info");
  });
});

test("what a session holds is shown with unsigned owners and decoded lock records", () => {
  const records = Buffer.alloc(24);
  records.writeUInt32BE(2, 0);
  records.writeUInt32BE(7, 4);
  records.writeBigUInt64BE((1n << 63n) - 1n, 16);
  const summary = { sid: 6n, expire: 5n, info: "{}" };
  const document = sessionReportJson({
    operation: "session",
    session: parseSessionInfo(summary),
    detail: {
      ...summary,
      sustained: [5n, 9223372032828243970n],
      flocks: [{ inode: 6n, owner: -3n, type: "R" }],
      plocks: [
        { inode: 6n, owner: -3n, records },
        { inode: 7n, owner: 5n, records: Buffer.alloc(0) },
      ],
    },
  });
  expect(formatJson(document, { indent: 0 }).replaceAll("\n", "")).toContain(
    '"Sustained": [5,9223372032828243970],' +
      '"Flocks": [{"Inode": 6,"Owner": 18446744073709551613,"Ltype": "R"}],' +
      '"Plocks": [{"Inode": 6,"Owner": 18446744073709551613,' +
      '"Records": [{"Type": 2,"Pid": 7,"Start": 0,"End": 9223372036854775807}]},' +
      '{"Inode": 7,"Owner": 5,"Records": null}]',
  );
});
