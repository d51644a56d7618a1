import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createContext } from "../../src/operations/context.ts";
import { dump } from "../../src/operations/dump.ts";
import { verify } from "../../src/operations/verify.ts";
import { mountingClient, whileMounted } from "../support/mount.ts";
import { mustRun } from "../support/run-command.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const client = await mountingClient();

/** Everything that changes metadata, again and again, until a file named `stop` is there. */
const WRITER = `
import os, shutil, sys
os.chdir(sys.argv[1])
rounds = 0
held = []
while not os.path.exists('stop'):
    n = str(rounds)
    os.makedirs('d' + n + '/sub/deep')
    for i in range(10):
        with open('d%s/f%d' % (n, i), 'wb') as f:
            f.write(b'x' * (1000 * i)); f.truncate(3000)
    os.link('d' + n + '/f1', 'd' + n + '/sub/hard')
    os.symlink('../f1', 'd' + n + '/sub/link')
    os.mkfifo('d' + n + '/fifo')
    os.setxattr('d' + n + '/f2', 'user.a', b'value')
    os.truncate('d' + n + '/f3', 200000000)
    os.truncate('d' + n + '/f3', 10)
    os.rename('d' + n + '/f4', 'd' + n + '/f5')
    os.rename('d' + n + '/sub', 'd' + n + '/moved')
    held.append(open('d' + n + '/f6', 'rb'))
    os.unlink('d' + n + '/f6')
    if rounds % 3 == 2:
        shutil.rmtree('d' + str(rounds - 1))
    if len(held) > 4:
        held.pop(0).close()
    rounds += 1
print(rounds)
`;

test.skipIf(client === undefined).each(["0", "1"])(
  "dumps of a volume that is being written to, with %s days of trash, have no damage",
  async (trashDays) => {
    const directory = temporaryDirectory();
    const url = `sqlite3://${join(directory, "busy.db")}`;
    await mustRun(client!, [
      "format",
      "--storage",
      "file",
      "--bucket",
      `${directory}/`,
      "--trash-days",
      trashDays,
      url,
      "busy",
    ]);
    await whileMounted(client!, url, async (mount) => {
      const writer = spawn("python3", ["-c", WRITER, mount], { stdio: ["ignore", "pipe", "inherit"] });
      let rounds = "";
      writer.stdout.on("data", (chunk: Buffer) => (rounds += chunk));
      const ended = new Promise((resolve) => writer.once("exit", resolve));
      try {
        for (let i = 0; i < 10; i++) {
          for (const format of ["json", "binary"] as const) {
            const file = join(directory, `dump-${i}.${format}.gz`);
            await dump({ source: url, target: { file }, format, manifest: true }, createContext({ env: {} }));
            expect(await errorsIn(file), file).toEqual([]);
          }
          if (i === 5) await mustRun(client!, ["clone", join(mount, "d0"), join(mount, `clone-${i}`)]);
        }
      } finally {
        writeFileSync(join(mount, "stop"), "");
        await ended;
      }
      expect(Number(rounds)).toBeGreaterThan(3);
    });
    for (const flags of [[], ["--binary"]]) {
      const file = join(directory, `reference${flags.length}`);
      await mustRun(client!, ["dump", ...flags, url, file]);
      expect(await errorsIn(file), file).toEqual([]);
    }
  },
);

async function errorsIn(file: string): Promise<string[]> {
  const report = await verify({ source: { file } }, createContext({ env: {} }));
  return report.problems
    .filter(({ severity }) => severity === "error")
    .map(({ kind, count, examples }) => `${kind} ${count}: ${examples.join(", ")}`);
}
