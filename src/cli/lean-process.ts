/**
 * glibc keeps what was freed for later, which in a process that waits an hour is 200 MB of nothing. It reads these when a
 * program starts, and only then (docs/operations/agent.md).
 */
const ALLOCATOR = { MALLOC_ARENA_MAX: "2", MALLOC_MMAP_THRESHOLD_: "65536", MALLOC_TRIM_THRESHOLD_: "131072" };

const NODE_OPTIONS = ["--max-semi-space-size=2"];

/**
 * Starts this process over, under the same number, when it is an agent that is going to stay and nobody has told the allocator
 * anything. Where that cannot be done it goes on as it is.
 */
export function restartLean(process: NodeJS.Process): void {
  const { argv, env, execArgv, execPath, platform } = process;
  const [, script = "", ...args] = argv;
  const stays =
    args.includes("agent") && !["--once", "--check-config", "--help", "-h"].some((arg) => args.includes(arg));
  const isTold = Object.keys(ALLOCATOR).some((name) => env[name] !== undefined);
  if (!stays || isTold || platform !== "linux" || process.execve === undefined) return;
  process.execve(execPath, [execPath, ...execArgv, ...NODE_OPTIONS, script, ...args], { ...env, ...ALLOCATOR });
}
