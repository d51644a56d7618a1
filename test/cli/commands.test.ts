import { existsSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DECANT_MAIN, NODE, runDecant } from "../support/decant.ts";
import { runCommand } from "../support/run-command.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const VOLUME = "golden/native/natsqlite.sqlite.db";

describe("dump", () => {
  test("writes a file and reports on stderr, nothing on stdout", async () => {
    const file = join(temporaryDirectory(), "x.json");
    const run = await runDecant(["dump", copySqliteFixture(VOLUME).url, file]);
    expect(run.code).toBe(0);
    expect(run.out).toBe("");
    expect(run.err).toContain("decant: warning: Secret key is removed for the sake of safety\n");
    expect(run.err).toContain(`decant: Dump metadata into "${file}" succeed\n`);
    expect(run.err).toMatch(/consistent as of \d{4}-.*: one read transaction\n/);
    expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({
      Setting: { Name: "natsqlite", SecretKey: "removed" },
    });
  });

  test("goes to stdout without FILE and with -, the report of --json to stderr", async () => {
    const { url } = copySqliteFixture(VOLUME);
    const plain = await runDecant(["dump", "-quiet", url, "--keep-secret-key"]);
    const dash = await runDecant(["dump", url, "-", "--keep-secret-key", "--json", "--log-level", "error"]);
    expect([plain.code, dash.code]).toEqual([0, 0]);
    expect(dash.out).toBe(plain.out);
    expect(plain.out.startsWith('{\n  "Setting": {\n    "Name": "natsqlite",\n')).toBe(true);
    expect(JSON.parse(dash.err)).toMatchObject({ operation: "dump", file: null, volume: { name: "natsqlite" } });
  });

  test.skipIf(!existsSync("/proc/self/fd"))(
    "goes to the descriptor that FILE is a name of, and replaces no name",
    async () => {
      const { url } = copySqliteFixture(VOLUME);
      const plain = await runDecant(["dump", url, "--quiet"]);
      // As /dev/stdout is one; a test must not risk that of the machine.
      const link = join(temporaryDirectory(), "stdout");
      symlinkSync("/proc/self/fd/1", link);
      const linked = await runDecant(["dump", url, link, "--quiet"]);
      expect(linked).toMatchObject({ code: 0, out: plain.out });
      expect(readlinkSync(link)).toBe("/proc/self/fd/1");
      const program = `"$0" "$1" dump "$2" >(cat > "$3") --quiet; code=$?; wait $!; exit $code`;
      const file = join(temporaryDirectory(), "copy.json");
      const piped = await runCommand("bash", ["-c", program, NODE, DECANT_MAIN, url, file]);
      expect(piped).toMatchObject({ code: 0, out: "" });
      expect(readFileSync(file, "utf8")).toBe(plain.out);
    },
  );

  test.skipIf(!existsSync("/proc/self/cmdline"))("takes a --subdir whose name is not UTF-8", async () => {
    const { url } = copySqliteFixture(VOLUME);
    for (const option of ["--subdir ", "--subdir=", "-subdir="]) {
      const program = `"$0" "$1" dump "$2" ${option}$'/names/dir-\\xff/' --quiet`;
      const run = await runCommand("bash", ["-c", program, NODE, DECANT_MAIN, url]);
      expect(run.code).toBe(0);
      expect(Object.keys(JSON.parse(run.out).FSTree.entries)).toEqual(["in%FE%FDside", "plain"]);
    }
    const missing = `"$0" "$1" dump "$2" --subdir $'/names/dir-\\xfe'`;
    const run = await runCommand("bash", ["-c", missing, NODE, DECANT_MAIN, url]);
    expect(run.err).toContain("No such file or directory in the volume: /names/dir-%FE\n");
    expect(run.code).toBe(4);
  });

  test("a reader that goes away early is no failure", async () => {
    const { url } = copySqliteFixture(VOLUME);
    const program = `"$0" "$1" dump "$2" --quiet | head -c 10; exit "\${PIPESTATUS[0]}"`;
    const run = await runCommand("bash", ["-c", program, NODE, DECANT_MAIN, url]);
    expect(run.out).toBe('{\n  "Setti');
    expect(run.code).toBe(0);
    expect(run.err).not.toContain("error");
  });

  test.skipIf(!existsSync("/dev/full"))("a result that cannot be written is a failure", async () => {
    const { url } = copySqliteFixture(VOLUME);
    for (const command of ["dump", "status"]) {
      const run = await runCommand("bash", ["-c", `"$0" "$1" ${command} "$2" > /dev/full`, NODE, DECANT_MAIN, url]);
      expect(run.code).toBe(7);
      expect(run.err).toMatch(/decant: error: Cannot write .*no space left on device/);
    }
  });

  test("a failed dump leaves nothing behind", async () => {
    const directory = temporaryDirectory();
    const { url } = copySqliteFixture(VOLUME);
    const missing = await runDecant(["dump", url, join(directory, "x.json"), "--subdir", "/no/such"]);
    expect(missing.code).toBe(4);
    expect(missing.err).toContain("/no/such");
    const unwritable = await runDecant(["dump", url, join(directory, "no", "x.json")]);
    expect([4, 7]).toContain(unwritable.code);
    expect(unwritable.err).toMatch(/^decant: error: /m);
    expect(readdirSync(directory)).toEqual([]);
  });

  test("a missing database is not created", async () => {
    const file = join(temporaryDirectory(), "none.db");
    const run = await runDecant(["dump", `sqlite3://${file}`]);
    expect(run.code).toBe(4);
    expect(run.out).toBe("");
    expect(existsSync(file)).toBe(false);
  });
});

describe("load", () => {
  test("fills an empty target, then refuses it", async () => {
    const directory = temporaryDirectory();
    const file = join(directory, "x.json.gz");
    const target = `sqlite3://${join(directory, "new.db")}`;
    await runDecant(["dump", copySqliteFixture(VOLUME).url, file]);
    const first = await runDecant(["load", target, file]);
    expect(first.code).toBe(0);
    expect(first.err).toContain("decant: Loaded counters: {UsedSpace:");
    expect(first.err).toContain(`decant: load metadata from "${file}" succeed\n`);
    expect(first.err).toContain(`decant config ${target} --secret-key`);
    const second = await runDecant(["load", target, file, "--json"]);
    expect(second.code).toBe(5);
    expect(JSON.parse(second.out)).toMatchObject({
      error: { message: `database ${target} is used by volume natsqlite` },
    });
  });

  test("reads stdin, and writes nothing in a dry run", async () => {
    const target = join(temporaryDirectory(), "new.db");
    const dump = await runDecant(["dump", copySqliteFixture(VOLUME).url, "--quiet"]);
    const run = await runDecant(["load", `sqlite3://${target}`, "--dry-run", "--json"], { input: dump.stdout });
    expect(run.code).toBe(0);
    expect(JSON.parse(run.out)).toMatchObject({ operation: "load", source: "STDIN", dryRun: true });
    expect(existsSync(target)).toBe(false);
  });

  test("a dry run refuses a target that could not be created", async () => {
    const file = join(temporaryDirectory(), "x.json");
    const { url } = copySqliteFixture(VOLUME);
    await runDecant(["dump", url, file]);
    const directory = join(temporaryDirectory(), "missing");
    for (const argv of [
      ["load", `sqlite3://${directory}/x.db`, file],
      ["migrate", url, `sqlite3://${directory}/x.db`],
    ]) {
      const run = await runDecant([...argv, "--dry-run"]);
      expect(run.err).toContain(
        `decant: error: Cannot create ${directory}/x.db: directory ${directory} does not exist\n`,
      );
      expect(run.code).toBe(7);
    }
  });

  test("a damaged dump gives exit 6 and the place, and leaves no target", async () => {
    const directory = temporaryDirectory();
    const dump = await runDecant(["dump", copySqliteFixture(VOLUME).url, "--quiet"]);
    const file = join(directory, "cut.json");
    writeFileSync(file, dump.stdout.subarray(0, 50_000));
    const run = await runDecant(["load", `sqlite3://${join(directory, "new.db")}`, file, "--json", "--quiet"]);
    expect(run.code).toBe(6);
    expect(JSON.parse(run.out)).toMatchObject({ error: { location: { offset: expect.any(Number) } } });
    expect(run.err).not.toContain("    at ");
    expect(readdirSync(directory)).toEqual(["cut.json"]);
  });

  test("a missing file gives exit 4 before the target is touched", async () => {
    const directory = temporaryDirectory();
    const run = await runDecant(["load", `sqlite3://${join(directory, "new.db")}`, join(directory, "nofile")]);
    expect(run.code).toBe(4);
    expect(readdirSync(directory)).toEqual([]);
  });
});

test("migrate copies a volume with its secrets", async () => {
  const directory = temporaryDirectory();
  const source = copySqliteFixture(VOLUME).url;
  const target = `sqlite3://${join(directory, "new.db")}`;
  const run = await runDecant(["migrate", source, target, "--json", "--quiet"]);
  expect(run.code).toBe(0);
  expect(JSON.parse(run.out)).toMatchObject({ operation: "migrate", volume: { name: "natsqlite" } });
  const [before, after] = await Promise.all(
    [source, target].map((url) => runDecant(["dump", url, "--keep-secret-key", "--quiet"])),
  );
  const settingOf = (text: string) => (JSON.parse(text) as { Setting: unknown }).Setting;
  expect(settingOf(after!.out)).toEqual(settingOf(before!.out));
});

describe("format and config", () => {
  test("create, show, change and protect a volume", async () => {
    const directory = temporaryDirectory();
    const url = `sqlite3://${join(directory, "v.db")}`;
    const bucket = join(directory, "objects");
    const created = await runDecant(["format", url, "myvol", "--bucket", bucket, "--secret-key", "s3cret", "--json"]);
    expect(created.code).toBe(0);
    const { outcome, volume } = JSON.parse(created.out) as { outcome: string; volume: { uuid: string } };
    expect(outcome).toBe("created");
    expect(readFileSync(join(bucket, "myvol", "juicefs_uuid"), "utf8")).toBe(volume.uuid);
    const shown = await runDecant(["config", url]);
    expect(JSON.parse(shown.out)).toMatchObject({
      Name: "myvol",
      SecretKey: "removed",
      KeyEncrypted: true,
      TrashDays: 1,
    });
    const changed = await runDecant(["config", url, "--inodes", "1000", "--trash-days=7"]);
    expect(changed.out).toBe("    inodes: 0 -> 1,000\ntrash-days: 1 -> 7\n");
    expect((await runDecant(["config", url, "--trash-days=7"])).out).toBe("Nothing changed.\n");
    expect((await runDecant(["format", url, "other"])).code).toBe(5);
    const again = await runDecant(["format", `sqlite3://${join(directory, "w.db")}`, "myvol", "--bucket", bucket]);
    expect(again.code).toBe(5);
    expect(again.err).toContain(
      `Storage file://${bucket}/myvol/ is not empty; please clean it up or pick another volume name`,
    );
    expect(existsSync(join(directory, "w.db"))).toBe(false);
    for (const run of [created, shown, changed, again]) expect(run.out + run.err).not.toContain("s3cret");
  });

  test("questions are asked on stdout and answered on stdin", async () => {
    const { url } = copySqliteFixture(VOLUME);
    const warning = "WARNING: The current trash will be emptied and future removed files will purged immediately.\n";
    const question = "Proceed anyway? [y/N]: ";
    const again = "Please input y(yes) or n(no): ";
    const argv = ["config", url, "--trash-days", "0"];
    const unanswered = await runDecant(argv);
    expect(unanswered).toMatchObject({ code: 5, out: warning + question });
    expect(unanswered.err).toContain("decant: error: Aborted.");
    expect((await runDecant(argv, { input: "maybe\nNo\n" })).out).toBe(warning + question + again);
    expect((await runDecant(["config", url])).out).not.toContain('"TrashDays": 0');
    const dry = await runDecant([...argv, "--dry-run"]); // writes nothing, so there is nothing to be asked
    expect(dry.code).toBe(0);
    expect(dry.out).toMatch(/^WARNING: .* immediately\.\ntrash-days: \d -> 0\n$/);
    expect((await runDecant(["config", url])).out).not.toContain('"TrashDays": 0');
    const done = await runDecant(argv, { input: "maybe\nYES\n" });
    expect(done.code).toBe(0);
    expect(done.out).toMatch(/trash-days: \d -> 0\n$/);
    expect((await runDecant(["config", url])).out).toContain('"TrashDays": 0');
  });

  test("a key or configuration file that is not there is told by its name, exit 4", async () => {
    const { url } = copySqliteFixture(VOLUME);
    const kerberos = await runDecant(["config", url, "--kerberos-config-file", "/no/such.conf"]);
    expect(kerberos).toMatchObject({ code: 4, out: "" });
    expect(kerberos.err).toBe('decant: error: load Kerberos config from "/no/such.conf": no such file or directory\n');
    const key = await runDecant([
      "format",
      `sqlite3://${temporaryDirectory()}/x.db`,
      "myvol",
      "--encrypt-rsa-key",
      "/no.pem",
    ]);
    expect(key).toMatchObject({
      code: 4,
      err: 'decant: error: load RSA key from "/no.pem": no such file or directory\n',
    });
  });

  test("directory statistics stay on while directory quotas need them", async () => {
    const { url } = copySqliteFixture(VOLUME);
    const refused = await runDecant(["config", url, "--dir-stats=false", "--yes"]);
    expect(refused.code).toBe(5);
    expect(refused.err).toContain(
      "decant: error: cannot disable dir stats when there are still 1 dir quotas: [inode 3]\n" +
        `  hint: \`juicefs quota list ${url}\` shows their paths; delete them first, or give --force\n`,
    );
    expect((await runDecant(["config", url])).out).toContain('"DirStats": true');
    const forced = await runDecant(["config", url, "--dir-stats=false", "--force"]);
    expect([forced.code, forced.out]).toEqual([0, " dir-stats: true -> false\n"]);
  });

  test("after a dump without secrets, all of them must be given", async () => {
    const directory = temporaryDirectory();
    const url = `sqlite3://${join(directory, "v.db")}`;
    const copy = `sqlite3://${join(directory, "w.db")}`;
    const keys = ["--secret-key", "k", "--session-token", "t"];
    await runDecant(["format", url, "myvol", "--bucket", join(directory, "o"), ...keys]);
    const dump = await runDecant(["dump", url, "--quiet"]);
    expect((await runDecant(["load", copy, "-"], { input: dump.stdout })).code).toBe(0);
    const half = await runDecant(["config", copy, "--secret-key", "k"]);
    expect(half.code).toBe(5);
    expect(half.err).toContain("--session-token ''");
    expect((await runDecant(["config", copy, "--secret-key", "k", "--session-token", ""])).code).toBe(0);
    expect((await runDecant(["config", copy])).out).not.toContain("SessionToken");
  });
});
