import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { EtcdGateway } from "./etcd-gateway.ts";
import { endGuarded, freePort, spawnGuarded } from "./guarded-process.ts";
import { ensureProgram } from "./install-package.ts";
import { runCommand } from "./run-command.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const READY_MS = 60_000;

/** One server of a cluster. */
export interface EtcdMember {
  readonly endpoint: string;
  readonly gateway: EtcdGateway;
  /** Ends it as a crash does. */
  crash(): Promise<void>;
  /** Starts it again with its data, and waits until it answers. */
  start(): Promise<void>;
  /** Lets it stand still: it keeps its connections, and answers nothing. */
  pause(): Promise<void>;
  resume(): Promise<void>;
}

export interface EtcdCluster {
  readonly members: readonly EtcdMember[];
  /** META-URL of a prefix by these members, all when none are named. */
  url(prefix: string, members?: readonly EtcdMember[]): string;
  /** The leader first. */
  byRole(): Promise<EtcdMember[]>;
  /** Adds a member that does not vote, and starts it. */
  addLearner(): Promise<EtcdMember>;
  /** Starts and resumes what a test has ended or paused. */
  repair(): Promise<void>;
  stop(): Promise<void>;
}

interface Server extends EtcdMember {
  readonly name: string;
  readonly peerUrl: string;
  launch(initialCluster: string, state: "new" | "existing"): void;
  ready(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a private cluster. Throws where there is no etcd: ask `requireEtcdServer` before. */
export async function startEtcdCluster(size: number): Promise<EtcdCluster> {
  const found = await ensureProgram("etcd", "etcd-server");
  if ("missing" in found) throw new Error(found.missing);
  const servers: Server[] = [];
  for (let i = 0; i < size; i++) servers.push(await prepare(found.program, `member${i}`));
  const initial = (): string => servers.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(",");
  for (const server of servers) server.launch(initial(), "new");
  await Promise.all(servers.map((server) => server.ready()));
  return {
    members: servers,
    url: (prefix, members = servers) => `etcd://${members.map(({ endpoint }) => endpoint).join(",")}${prefix}`,
    byRole: async () => {
      for (;;) {
        const isLeader = await Promise.all(servers.map(({ gateway }) => leads(gateway)));
        const leader = servers.find((_, i) => isLeader[i]);
        if (leader !== undefined) return [leader, ...servers.filter((server) => server !== leader)];
        await sleep(50);
      }
    },
    addLearner: async () => {
      const learner = await prepare(found.program, `member${servers.length}`);
      await servers[0]!.gateway.call("/v3/cluster/member/add", { peerURLs: [learner.peerUrl], isLearner: true });
      servers.push(learner);
      learner.launch(initial(), "existing");
      await learner.ready();
      return learner;
    },
    repair: async () => {
      for (const server of servers) await server.resume();
      await Promise.all(servers.map((server) => server.start()));
    },
    stop: async () => {
      for (const server of servers) await server.stop();
    },
  };
}

async function prepare(program: string, name: string): Promise<Server> {
  const [port, peerPort] = [await freePort(), await freePort()];
  const endpoint = `127.0.0.1:${port}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const gateway = new EtcdGateway(`http://${endpoint}`);
  const data = join(temporaryDirectory(), name);
  let args: string[] = [];
  let child: ChildProcess | undefined;
  const isRunning = (): boolean => child !== undefined && child.exitCode === null && child.signalCode === null;
  const signal = async (signalName: NodeJS.Signals): Promise<void> => {
    if (!isRunning()) return;
    const { out } = await runCommand("pgrep", ["-x", "-f", [program, ...args].join(" ")]);
    process.kill(Number(out.trim().split("\n")[0]), signalName);
  };
  const ended = async (): Promise<void> => {
    while (isRunning()) await sleep(10);
  };
  const ready = async (): Promise<void> => {
    const deadline = Date.now() + READY_MS;
    while (!(await answers(gateway))) {
      if (!isRunning()) throw new Error(`etcd did not start: ${args.join(" ")}`);
      if (Date.now() > deadline) throw new Error(`Waited ${READY_MS / 1000} s for a member of etcd`);
      await sleep(50);
    }
  };
  return {
    name,
    endpoint,
    peerUrl,
    gateway,
    ready,
    launch: (initialCluster, state) => {
      args = [
        `--name=${name}`,
        `--data-dir=${data}`,
        `--listen-client-urls=http://${endpoint}`,
        `--advertise-client-urls=http://${endpoint}`,
        `--listen-peer-urls=${peerUrl}`,
        `--initial-advertise-peer-urls=${peerUrl}`,
        `--initial-cluster=${initialCluster}`,
        `--initial-cluster-state=${state}`,
        ...["--unsafe-no-fsync=true", "--logger=zap", "--log-level=error"],
      ];
      child = spawnGuarded(program, args);
    },
    crash: async () => {
      await signal("SIGKILL");
      await ended();
    },
    start: async () => {
      if (!isRunning()) child = spawnGuarded(program, args);
      await ready();
    },
    pause: () => signal("SIGSTOP"),
    resume: () => signal("SIGCONT"),
    stop: async () => {
      if (child !== undefined && isRunning()) await endGuarded(child);
    },
  };
}

/** Whether the member itself answers, be there a leader or not: a learner refuses everything else. */
async function answers(gateway: EtcdGateway): Promise<boolean> {
  try {
    await gateway.call("/v3/maintenance/status", {});
    return true;
  } catch {
    return false;
  }
}

async function leads(gateway: EtcdGateway): Promise<boolean> {
  try {
    const status = await gateway.call("/v3/maintenance/status", {});
    const { header, leader } = status as { header: { member_id: string }; leader?: string };
    return header.member_id === leader;
  } catch {
    return false;
  }
}
