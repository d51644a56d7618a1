import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { EtcdGateway } from "./etcd-gateway.ts";
import { crashGuarded, endGuarded, freePort, spawnGuarded } from "./guarded-process.ts";
import { ensureProgram } from "./install-package.ts";
import { TLS_DIRECTORY } from "./redis-server.ts";
import { runCommand } from "./run-command.ts";
import { reportSkip } from "./skip.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

export interface EtcdOptions {
  /** Serve TLS only, with the certificate of test/support/tls. `clients`: those without a certificate are refused. */
  readonly tls?: "server" | "clients";
  /** More options of etcd, as `--name=value`. */
  readonly args?: readonly string[];
}

/** A private etcd of a test, of one member. It ends with the test process, whatever happens to that. */
export interface EtcdServer {
  readonly port: number;
  /** META-URL of a prefix, such as `/a`. */
  url(prefix?: string): string;
  /** Keys and values of the server by its HTTP gateway, for tests that look from outside. */
  readonly gateway: EtcdGateway;
  /** Ends it as a crash does, and starts it again with its data. */
  crash(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Process number of the server, for SIGSTOP and the like. */
  pid(): Promise<number>;
}

/** A server that tests may write to and empty at will: the one that `DECANT_TEST_ETCD_URL` names, else a private one. */
export async function requireEtcd(): Promise<Pick<EtcdServer, "url" | "gateway"> | undefined> {
  const given = process.env.DECANT_TEST_ETCD_URL;
  if (given) {
    const base = given.replace(/\/+$/, "");
    const host = base.slice(base.lastIndexOf("@") + 1).replace(/^etcd:\/\//, "");
    return { url: (prefix = "") => `${base}${prefix}`, gateway: new EtcdGateway(`http://${host.split(/[,/]/)[0]}`) };
  }
  return (await requireEtcdServer()) ? startEtcd() : undefined;
}

/** True when `startEtcd` can be used. */
export async function requireEtcdServer(): Promise<boolean> {
  const found = await ensureProgram("etcd", "etcd-server");
  if ("missing" in found) reportSkip("etcd", found.missing);
  return !("missing" in found);
}

/** Throws where there is no etcd: ask `requireEtcdServer` before. */
export async function startEtcd(options: EtcdOptions = {}): Promise<EtcdServer> {
  const found = await ensureProgram("etcd", "etcd-server");
  if ("missing" in found) throw new Error(found.missing);
  const data = join(temporaryDirectory(), "etcd");
  const [port, peerPort] = [await freePort(), await freePort()];
  const scheme = options.tls === undefined ? "http" : "https";
  const file = (name: string): string => join(TLS_DIRECTORY, name);
  const args = [
    `--data-dir=${data}`,
    `--listen-client-urls=${scheme}://127.0.0.1:${port}`,
    `--advertise-client-urls=${scheme}://127.0.0.1:${port}`,
    `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
    `--initial-advertise-peer-urls=http://127.0.0.1:${peerPort}`,
    `--initial-cluster=default=http://127.0.0.1:${peerPort}`,
    ...["--unsafe-no-fsync=true", "--logger=zap", "--log-level=error"],
    ...(options.tls === undefined ? [] : [`--cert-file=${file("server.crt")}`, `--key-file=${file("server.key")}`]),
    ...(options.tls === "clients" ? ["--client-cert-auth=true", `--trusted-ca-file=${file("ca.crt")}`] : []),
    ...(options.args ?? []),
  ];
  const gateway = new EtcdGateway(
    `${scheme}://127.0.0.1:${port}`,
    options.tls === undefined ? undefined : TLS_DIRECTORY,
  );
  let child = spawnGuarded(found.program, args);
  const ready = async (): Promise<void> => {
    const deadline = Date.now() + 120_000;
    for (;;) {
      if (child.exitCode !== null) throw new Error(`etcd did not start (${child.exitCode}): ${args.join(" ")}`);
      if (await gateway.isReady()) return;
      if (Date.now() > deadline) throw new Error("Waited 120 s for etcd");
      await sleep(50);
    }
  };
  const pid = async (): Promise<number> => {
    const { out } = await runCommand("pgrep", ["-x", "-f", [found.program, ...args].join(" ")]);
    return Number(out.trim().split("\n")[0]);
  };
  await ready();
  return {
    port,
    gateway,
    pid,
    url: (prefix = "") => {
      const query = options.tls === undefined ? "" : `?cacert=${file("ca.crt")}`;
      return `etcd://127.0.0.1:${port}${prefix}${query}`;
    },
    crash: async () => crashGuarded(child, await pid()),
    start: async () => {
      child = spawnGuarded(found.program, args);
      await ready();
    },
    stop: () => endGuarded(child),
  };
}
