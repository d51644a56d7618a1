import { expect, test } from "vitest";
import { nextStepsAfterLoad } from "../../../src/operations/load-volume.ts";
import { EMPTY_SETTING } from "../../../src/volume/setting.ts";

const SETTING = { ...EMPTY_SETTING, secretKey: "removed" };

test("the command that restores a secret can be given to a shell as it is", () => {
  const command = (address: string): string => nextStepsAfterLoad(SETTING, address)[0]!.replace(/^.*: (?=decant )/, "");
  expect(command("sqlite3:///srv/my.db")).toBe("decant config sqlite3:///srv/my.db --secret-key SECRET");
  expect(command("rediss://h:6379/1?a=b&c=d")).toBe("decant config 'rediss://h:6379/1?a=b&c=d' --secret-key SECRET");
  expect(command("sqlite3://it's.db")).toBe("decant config 'sqlite3://it'\\''s.db' --secret-key SECRET");
});
