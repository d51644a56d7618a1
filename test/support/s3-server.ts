import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { EMPTY_SETTING, type Setting } from "../../src/volume/setting.ts";
import { withFileLock } from "./file-lock.ts";
import { freePort, spawnGuarded } from "./guarded-process.ts";
import { ensureProgram, findProgram } from "./install-package.ts";
import { pythonEnvironment } from "./python-environment.ts";
import { CACHE } from "./repository.ts";
import { runCommand } from "./run-command.ts";
import { reportSkip } from "./skip.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const VERSITYGW = "1.8.0";
const MOTO = "5.2.5";

export const S3_KEYS = { accessKey: "decant-test", secretKey: "secret-of-decant-test" } as const;

/** A private server that speaks the protocol of S3. It ends with the test process. */
export interface S3Server {
  readonly port: number;
  /** `moto` takes any keys. */
  readonly kind: "versitygw" | "moto";
  /** A client of the server itself, to look behind what is tested. */
  client(): S3Client;
  /** A new, empty bucket. */
  createBucket(): Promise<string>;
  /** Setting of a volume in that bucket; `port` is that of a proxy. */
  setting(bucket: string, parts?: Partial<Setting> & { readonly port?: number }): Setting;
}

/**
 * Starts versitygw, built once under .cache/ from the Go module proxy where Go is there, else the server of moto from the
 * Python package index. `DECANT_TEST_S3_SERVER` chooses one of the two. Undefined when it had to be skipped, which was said and
 * is a failure with `CI=true`.
 */
export async function requireS3Server(): Promise<S3Server | undefined> {
  const wanted = process.env.DECANT_TEST_S3_SERVER ?? "";
  const failures: string[] = [];
  for (const kind of ["versitygw", "moto"] as const) {
    if (wanted !== "" && wanted !== kind) continue;
    const found = kind === "versitygw" ? await versitygw() : await moto();
    if ("missing" in found) failures.push(found.missing);
    else return start(kind, found.program);
  }
  reportSkip("an S3 server", failures.join("; ") || `DECANT_TEST_S3_SERVER=${wanted} is neither versitygw nor moto`);
  return undefined;
}

type Found = { readonly program: string } | { readonly missing: string };

async function versitygw(): Promise<Found> {
  const home = join(CACHE, `versitygw-${VERSITYGW}`);
  const program = join(home, "versitygw");
  if (existsSync(program)) return { program };
  const go = findProgram("go") ?? ["/usr/local/go/bin/go", "/usr/lib/go/bin/go"].find((path) => existsSync(path));
  if (go === undefined) return { missing: "no Go to build versitygw with" };
  return withFileLock(`${home}.lock`, async () => {
    if (existsSync(program)) return { program };
    const partial = `${home}.partial`;
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial, { recursive: true });
    const module = `github.com/versity/versitygw/cmd/versitygw@v${VERSITYGW}`;
    const result = await runCommand(go, ["install", module], {
      env: { GOBIN: partial },
      timeoutMs: 1_200_000,
    });
    if (result.code !== 0) return { missing: `go install ${module}: ${result.err.trim().split("\n").at(-1)}` };
    await rename(partial, home);
    return { program };
  });
}

async function moto(): Promise<Found> {
  const python = await ensureProgram("python3", "python3-venv");
  if ("missing" in python) return python;
  const home = join(CACHE, `moto-${MOTO}`);
  const failure = await pythonEnvironment(home, `moto[server]==${MOTO}`);
  return failure === undefined ? { program: join(home, "bin", "python3") } : { missing: failure };
}

async function start(kind: S3Server["kind"], program: string): Promise<S3Server> {
  const directory = temporaryDirectory();
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const args = kind === "versitygw" ? await versitygwArguments(directory, port) : motoArguments(port);
    const child = spawnGuarded(program, args);
    if (await isReady(port, () => child.exitCode === null)) return serverAt(kind, port);
    if (attempt === 3) throw new Error(`${kind} does not start on port ${port}`);
  }
}

/** Metadata of objects lie beside them: not every file system has extended attributes. */
async function versitygwArguments(directory: string, port: number): Promise<string[]> {
  const [data, sidecar] = [join(directory, "data"), join(directory, "sidecar")];
  for (const path of [data, sidecar]) await mkdir(path, { recursive: true });
  const keys = ["--access", S3_KEYS.accessKey, "--secret", S3_KEYS.secretKey];
  return [...keys, "--port", `127.0.0.1:${port}`, "--quiet", "--keep-alive", "posix", "--sidecar", sidecar, data];
}

function motoArguments(port: number): string[] {
  return ["-m", "moto.server", "-H", "127.0.0.1", "-p", String(port)];
}

async function isReady(port: number, isAlive: () => boolean): Promise<boolean> {
  for (let i = 0; i < 600 && isAlive(); i++) {
    try {
      await fetch(`http://127.0.0.1:${port}/`);
      return true;
    } catch {
      await sleep(100);
    }
  }
  return false;
}

let buckets = 0;

function serverAt(kind: S3Server["kind"], port: number): S3Server {
  const client = (): S3Client =>
    new S3Client({
      endpoint: `http://127.0.0.1:${port}`,
      region: "us-east-1",
      forcePathStyle: true,
      credentials: { accessKeyId: S3_KEYS.accessKey, secretAccessKey: S3_KEYS.secretKey },
    });
  return {
    port,
    kind,
    client,
    createBucket: async () => {
      const Bucket = `bucket-${process.pid}-${++buckets}`;
      const own = client();
      await own.send(new CreateBucketCommand({ Bucket }));
      own.destroy();
      return Bucket;
    },
    setting: (bucket, { port: proxyPort = port, ...parts } = {}) => ({
      ...EMPTY_SETTING,
      name: "vol",
      storage: "minio",
      bucket: `http://127.0.0.1:${proxyPort}/${bucket}`,
      ...S3_KEYS,
      ...parts,
    }),
  };
}
