import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ensureProgram } from "./install-package.ts";
import { realClient } from "./real-client.ts";
import { fixture } from "./repository.ts";
import { requireMount } from "./require-server.ts";
import { mustRun, runCommand } from "./run-command.ts";
import { reportSkip, reportUnavailable } from "./skip.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** What the fixtures were listed with, and no background jobs: those would remove what is older than the trash days. */
const OPTIONS: readonly string[] = [
  ...["--no-usage-report", "--backup-meta", "0", "--no-bgjob", "--metrics", "127.0.0.1:0", "--max-deletes", "0"],
  ...["--enable-xattr", "--enable-ioctl", "--enable-cap", "--cache-dir", "memory", "--cache-size", "64"],
];

/**
 * The reference client, proven to be able to mount here; undefined when that had to be skipped, which was said. Python is
 * needed to list a mount: Node knows no extended attributes.
 */
export async function mountingClient(): Promise<string | undefined> {
  const client = await realClient();
  if (client === undefined || !(await requireMount())) return undefined;
  const python = await ensureProgram("python3", "python3");
  if ("missing" in python) {
    reportSkip("listing a mount", python.missing);
    return undefined;
  }
  const directory = temporaryDirectory();
  const url = `sqlite3://${join(directory, "trial.db")}`;
  await mustRun(client, ["format", "--storage", "file", "--bucket", `${directory}/`, url, "trial"]);
  try {
    await whileMounted(client, url, async () => undefined);
    return client;
  } catch (error) {
    reportUnavailable("mounting", `/dev/fuse cannot be used: ${(error as Error).message}`);
    return undefined;
  }
}

export interface MountOptions {
  /** Instead of `OPTIONS`. */
  readonly options?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Mounts a volume as a child of this process, and unmounts it when `work` has ended, however it ended. */
export async function whileMounted(
  client: string,
  url: string,
  work: (directory: string) => Promise<void>,
  { options = OPTIONS, env = {} }: MountOptions = {},
): Promise<void> {
  const directory = join(temporaryDirectory(), "mnt");
  mkdirSync(directory);
  const child = spawn(client, ["mount", ...options, url, directory], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  let mounted = false;
  try {
    for (let i = 0; !mounted; i++) {
      if (i === 200 || child.exitCode !== null) throw new Error(`${url} was not mounted: ${output.slice(-600)}`);
      await sleep(50);
      mounted = statSync(directory).ino === 1;
    }
    await work(directory);
  } finally {
    if (mounted) await unmount(client, directory);
    else child.kill();
    await ended;
  }
}

/** The client itself may still be looking at a mount that has just begun, so that it is busy for a moment. */
async function unmount(client: string, directory: string): Promise<void> {
  for (let i = 0; i < 50; i++) {
    if ((await runCommand(client, ["umount", directory])).code === 0) return;
    await sleep(100);
  }
  await mustRun(client, ["umount", "--force", directory]);
}

/** One line of a listing (test/fixtures/scripts/snapshot.py). */
export interface ListedEntry {
  readonly path?: string;
  readonly path_b64?: string;
  readonly ino: number | string;
  readonly [member: string]: unknown;
}

/** Everything seen through a mount, the trash included. */
export async function listMount(directory: string): Promise<ListedEntry[]> {
  const file = join(temporaryDirectory(), "listing.json");
  await mustRun("python3", [fixture("scripts/snapshot.py"), directory, file]);
  return readListing(file);
}

/** A listing; inodes of the trash are beyond the numbers of JavaScript and become texts. */
export function readListing(file: string): ListedEntry[] {
  const text = readFileSync(file, "utf8").replaceAll(/"ino": (\d{16,})/g, '"ino": "$1"');
  return (JSON.parse(text) as { entries: ListedEntry[] }).entries;
}

/** A copy of a dump whose volume keeps its data in `bucket`. */
export function withBucket(dump: string, bucket: string): string {
  const text = readFileSync(dump, "latin1");
  const file = join(temporaryDirectory(), "dump.json");
  writeFileSync(file, text.replace(/"Bucket": "[^"]*"/, `"Bucket": "${bucket}"`), "latin1");
  return file;
}
