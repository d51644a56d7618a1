import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Starts a server that ends with this process, however that ends: it is a child of a small shell that waits for the end of
 * its input, and then ends the server with the signal.
 */
export function spawnGuarded(program: string, args: readonly string[], signal: "KILL" | "QUIT" = "KILL"): ChildProcess {
  const script = `exec 3<&0
    "$@" </dev/null 3<&- & server=$!
    { read _ <&3; kill -${signal} $server; } & guard=$!
    exec 3<&-
    wait $server; code=$?
    kill $guard 2>/dev/null; exit $code`;
  const child = spawn("/bin/sh", ["-c", script, "sh", program, ...args], { stdio: ["pipe", "ignore", "ignore"] });
  child.stdin?.on("error", () => undefined);
  child.unref();
  (child.stdin as unknown as { unref(): void }).unref();
  return child;
}

/** Ends the server and waits for its end. */
export async function endGuarded(child: ChildProcess): Promise<void> {
  child.stdin?.end();
  while (child.exitCode === null && child.signalCode === null) await sleep(10);
}

/** Ends the server with the process number `pid` as a crash does, and waits for its end. */
export async function crashGuarded(child: ChildProcess, pid: number): Promise<void> {
  process.kill(pid, "SIGKILL");
  while (child.exitCode === null && child.signalCode === null) await sleep(10);
}

/** A TCP port nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === "string") throw new Error("No TCP address");
  return address.port;
}
