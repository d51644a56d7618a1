import { createHash, randomUUID } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll } from "vitest";
import { withFileLock } from "./file-lock.ts";
import { endGuarded, freePort, spawnGuarded } from "./guarded-process.ts";
import { findProgram } from "./install-package.ts";
import { TLS_DIRECTORY } from "./redis-server.ts";
import { CACHE } from "./repository.ts";
import { runCommand } from "./run-command.ts";
import { reportSkip } from "./skip.ts";
import { removeTikvKeys } from "./tikv-keys.ts";

const SOURCE = join(import.meta.dirname, "mock-tikv");

export interface TikvOptions {
  /** Stores; every region has a peer on each. */
  readonly stores?: number;
  /** Placement drivers; the first one leads. */
  readonly drivers?: number;
  /** Serve TLS only, to clients with a certificate. */
  readonly tls?: boolean;
  /** Keep locks of transactions with asynchronous commit as such. */
  readonly asyncCommit?: boolean;
  /** By which addresses clients are told to reach placement drivers and stores that listen at these: those of proxies, as many. */
  readonly told?: (drivers: readonly string[], stores: readonly string[]) => Promise<ToldAddresses>;
  /** Milliseconds that each request takes longer than it has to. */
  readonly delayMs?: number;
}

export interface ToldAddresses {
  readonly drivers: readonly string[];
  readonly stores: readonly string[];
}

/** What happens to the next calls of a method: see test/support/mock-tikv/faults.go. */
export interface TikvFault {
  readonly method: string;
  readonly kind: string;
  readonly skip?: number;
  readonly times?: number;
}

export interface TikvState {
  /** Calls since the last `reset`, by method. */
  readonly calls: Readonly<Record<string, number>>;
  readonly maxInFlight: number;
  /** Boundaries in their encoded form, hex. */
  readonly regions: readonly { readonly start: string; readonly end: string }[];
  readonly servicePoints: Readonly<Record<string, string>>;
  /** What the process of all servers has taken. */
  readonly cpuSeconds: number;
}

/** What tests use of a cluster that need not be theirs alone. */
export interface TikvCluster {
  /** META-URL of a prefix, which is empty when no test of this file has used it. */
  url(prefix: string): string;
  /** A region begins at the key from then on, where the cluster is a private one. */
  split(key: Uint8Array): Promise<void>;
}

/** A private placement driver with stores, in memory. It ends with the test process. */
export interface TikvServer extends TikvCluster {
  url(prefix: string, parameters?: string): string;
  /** `host:port` of the placement drivers and of the stores, as clients are told. */
  readonly drivers: readonly string[];
  readonly stores: readonly string[];
  fault(fault: TikvFault): Promise<void>;
  /** Forgets faults and counts. */
  reset(): Promise<void>;
  state(): Promise<TikvState>;
  /** The region of the key with the one behind it. */
  merge(key: Uint8Array): Promise<void>;
  moveLeader(key: Uint8Array, store: number): Promise<void>;
  /** `pd0`, `store0`: what is stored stays. */
  stop(server: string): Promise<void>;
  start(server: string): Promise<void>;
  /** As SIGSTOP and SIGCONT do: connections are there, and nothing is answered. */
  freeze(server: string): Promise<void>;
  thaw(server: string): Promise<void>;
  /** Another one of the placement drivers leads them, by number. */
  elect(driver: number): Promise<void>;
  /** Takes a store out of the cluster for good; leaders of its regions have to be moved. */
  removeStore(store: number): Promise<void>;
  /** The first two stores take each other's address. */
  swapAddresses(): Promise<void>;
  /** `gc`: as a client of JuiceFS sets it. `worker`: as TiDB does. */
  setSafePoint(which: "gc" | "worker", point: bigint): Promise<void>;
  end(): Promise<void>;
}

/**
 * A cluster that tests may write to, but neither stop nor configure: the one that `DECANT_TEST_TIKV_URL` names (its placement drivers,
 * and parameters), else a private one. Whatever was written to a named one is removed at the end. Undefined when it had to be skipped,
 * which was said and is a failure with `CI=true`.
 */
export async function requireTikvCluster(options: TikvOptions = {}): Promise<TikvCluster | undefined> {
  const given = process.env.DECANT_TEST_TIKV_URL;
  if (given === undefined || given === "") return requireTikv(options);
  // other processes use the same cluster, and nothing may be left of one that was killed
  const own = `decant-test-${randomUUID()}`;
  const urls = new Set<string>();
  afterAll(async () => {
    for (const url of urls) await removeTikvKeys(url);
  });
  return {
    url(prefix) {
      const url = given.replace(/^([a-z]+:\/\/[^/?]*)(?:\/[^?]*)?/, `$1/${own}-${prefix}`);
      urls.add(url);
      return url;
    },
    split: async () => undefined,
  };
}

/**
 * Starts one, or gives undefined when it had to be skipped, which was said and is a failure with `CI=true`. It is built with Go once
 * under .cache/.
 */
export async function requireTikv(options: TikvOptions = {}): Promise<TikvServer | undefined> {
  const built = await build();
  if ("program" in built) return start(built.program, options);
  reportSkip("TiKV", built.missing);
  return undefined;
}

/** True when `requireTikv` gives a server. */
export async function requireTikvProgram(): Promise<boolean> {
  const built = await build();
  if ("missing" in built) reportSkip("TiKV", built.missing);
  return "program" in built;
}

async function build(): Promise<{ readonly program: string } | { readonly missing: string }> {
  const hash = createHash("sha256");
  for (const name of readdirSync(SOURCE).sort()) hash.update(name).update(readFileSync(join(SOURCE, name)));
  const home = join(CACHE, `mock-tikv-${hash.digest("hex").slice(0, 12)}`);
  const program = join(home, "mock-tikv");
  if (existsSync(program)) return { program };
  const go = findProgram("go") ?? ["/usr/local/go/bin/go", "/usr/lib/go/bin/go"].find((path) => existsSync(path));
  if (go === undefined) return { missing: "no Go to build the test server with" };
  return withFileLock(`${home}.lock`, async () => {
    if (existsSync(program)) return { program };
    await mkdir(home, { recursive: true });
    const partial = `${program}.partial`;
    const result = await runCommand(go, ["build", "-C", SOURCE, "-o", partial, "."], {
      env: { CGO_ENABLED: "0", GOFLAGS: "-mod=readonly" },
      timeoutMs: 1_200_000,
    });
    if (result.code !== 0) return { missing: `go build: ${result.err.trim().split("\n").at(-1)}` };
    await runCommand("mv", [partial, program]);
    return { program };
  });
}

async function start(program: string, options: TikvOptions): Promise<TikvServer> {
  const { stores = 1, drivers = 1, tls = false, asyncCommit = false, delayMs = 0 } = options;
  for (let attempt = 1; ; attempt++) {
    const ports: number[] = [];
    while (ports.length < drivers + stores + 1) {
      const port = await freePort();
      if (!ports.includes(port)) ports.push(port);
    }
    const addresses = ports.map((port) => `127.0.0.1:${port}`);
    const [control, pd, kv] = [addresses[0]!, addresses.slice(1, 1 + drivers), addresses.slice(1 + drivers)];
    const told = (await options.told?.(pd, kv)) ?? { drivers: pd, stores: kv };
    const file = (name: string): string => join(TLS_DIRECTORY, name);
    const child = spawnGuarded(program, [
      ...["-control", control, "-pd", pd.join(","), "-stores", kv.join(",")],
      ...["-told-pd", told.drivers.join(","), "-told-stores", told.stores.join(",")],
      ...(asyncCommit ? ["-async-commit"] : []),
      ...(delayMs > 0 ? ["-delay", `${delayMs}ms`] : []),
      ...(tls ? ["-ca", file("ca.crt"), "-cert", file("server.crt"), "-key", file("server.key")] : []),
    ]);
    if (await isReady(control, () => child.exitCode === null)) {
      return { ...serverAt(control, told, tls), end: () => endGuarded(child) };
    }
    if (attempt === 3) throw new Error(`The test server of TiKV does not start on ${control}`);
  }
}

async function isReady(control: string, isAlive: () => boolean): Promise<boolean> {
  for (let i = 0; i < 600 && isAlive(); i++) {
    try {
      await post(control, "state", {});
      return true;
    } catch {
      await sleep(50);
    }
  }
  return false;
}

async function post(control: string, what: string, body: object): Promise<TikvState> {
  const response = await fetch(`http://${control}/${what}`, { method: "POST", body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${what}: ${await response.text()}`);
  return (await response.json()) as TikvState;
}

function serverAt(control: string, { drivers, stores }: ToldAddresses, tls: boolean): Omit<TikvServer, "end"> {
  const command = async (what: string, body: object): Promise<void> => {
    await post(control, what, body);
  };
  const hex = (key: Uint8Array): string => Buffer.from(key).toString("hex");
  const certificates = ["ca=ca.crt", "cert=client.crt", "key=client.key"].map((parameter) => {
    return parameter.replace("=", `=${TLS_DIRECTORY}/`);
  });
  return {
    drivers,
    stores,
    url: (prefix, parameters = tls ? certificates.join("&") : "") => {
      return `tikv://${drivers.join(",")}/${prefix}${parameters === "" ? "" : `?${parameters}`}`;
    },
    fault: ({ times = 1, ...fault }) => command("fault", { times, ...fault }),
    reset: () => command("reset", {}),
    state: () => post(control, "state", {}),
    split: (key) => command("split", { key: hex(key) }),
    merge: (key) => command("merge", { key: hex(key) }),
    moveLeader: (key, store) => command("leader", { key: hex(key), store }),
    stop: (server) => command("stop", { server }),
    start: (server) => command("start", { server }),
    freeze: (server) => command("freeze", { server }),
    thaw: (server) => command("thaw", { server }),
    elect: (driver) => command("driver", { store: driver }),
    removeStore: (store) => command("remove-store", { store }),
    swapAddresses: () => command("readdress", {}),
    setSafePoint: (which, point) => command("safe-point", { which, point: String(point) }),
  };
}
