import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runDecant } from "../support/decant.ts";
import { volumePrefix } from "../support/etcd-gateway.ts";
import { type EtcdServer, requireEtcdServer, startEtcd } from "../support/etcd-server.ts";
import { startDecant } from "../support/running-decant.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const isAvailable = await requireEtcdServer();

describe.skipIf(!isAvailable)("a load into etcd", () => {
  let server: EtcdServer;
  let file: string;
  let text: Buffer;
  beforeAll(async () => {
    server = await startEtcd();
    text = await wideVolumeText(20_000);
    file = join(temporaryDirectory(), "dump.json");
    writeFileSync(file, text);
  });
  afterAll(() => server.stop());

  async function begun(path: string): Promise<ReturnType<typeof startDecant>> {
    const load = startDecant(["load", server.url(path)]);
    load.input.write(text.subarray(0, text.length / 2));
    while ((await server.gateway.readLines(path)).length < 100) await sleep(10);
    return load;
  }

  test("that was killed leaves no volume, and the next command says what is there", async () => {
    const url = server.url("/killed");
    const load = await begun("/killed");
    load.kill("SIGKILL");
    await load.ended;

    const again = await runDecant(["load", url, file]);
    expect(again.code).toBe(5);
    expect(again.err).toContain(`decant: error: Database ${url} is not empty\n`);
    expect(again.err).toMatch(
      / {2}hint: A load of STDIN that began .* \(process \d+ on .*\) is running or was cut off\. .*--clean removes what it wrote\n/,
    );
    for (const command of ["status", "dump"]) {
      const reader = await runDecant([command, url]);
      expect(reader.code).toBe(4);
      expect(reader.err).toMatch(/holds no volume, but a part of one|a load that was cut off is none either\n/);
    }

    const foreign = Buffer.concat([volumePrefix("/killed"), Buffer.from("application")]);
    await server.gateway.write([{ key: foreign, value: Buffer.from("1") }]);
    expect((await runDecant(["load", url, file, "--clean"])).code).toBe(5);
    expect(await server.gateway.readLines("/killed")).toEqual([`${Buffer.from("application").toString("hex")} 31`]);
    await server.gateway.remove(foreign);
    expect((await runDecant(["load", url, file])).code).toBe(0);
    expect((await runDecant(["load", url, file, "--clean"])).code).toBe(5);
    expect((await runDecant(["status", url])).code).toBe(0);
  });

  test("ends when another one takes its place with --clean, and leaves alone what that has loaded", async () => {
    const url = server.url("/taken");
    const load = await begun("/taken");
    expect((await runDecant(["load", url, file, "--clean"])).code).toBe(0);
    const loaded = await server.gateway.readLines("/taken");
    load.input.end(text.subarray(text.length / 2));
    const { code, err } = await load.ended;
    expect(err).toContain("was emptied or taken by others meanwhile");
    expect(code).toBe(5);
    expect(await server.gateway.readLines("/taken")).toEqual(loaded);
  });

  test("ends when a client has formatted a volume meanwhile, and leaves that alone", async () => {
    const load = await begun("/formatted");
    const setting = {
      key: Buffer.concat([volumePrefix("/formatted"), Buffer.from("setting")]),
      value: Buffer.from("{}"),
    };
    await server.gateway.write([setting]);
    load.input.end(text.subarray(text.length / 2));
    const { code } = await load.ended;
    expect(code).toBe(5);
    expect(await server.gateway.read(setting.key)).toEqual([setting]);
  });

  test("goes on when the server is gone for a moment, and stores what it would have stored", async () => {
    expect((await runDecant(["load", server.url("/quiet"), file])).code).toBe(0);
    const load = await begun("/restarted");
    await server.crash();
    load.input.end(text.subarray(text.length / 2));
    await server.start();
    const { code, err } = await load.ended;
    expect([code, err]).toEqual([0, expect.anything()]);
    expect(await server.gateway.readLines("/restarted")).toEqual(await server.gateway.readLines("/quiet"));
  });
});
