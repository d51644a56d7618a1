import { spawn } from "node:child_process";

export interface CommandOptions {
  /** Added to (or, with undefined, removed from) the environment of this process. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly input?: string | Uint8Array;
  /** The process is killed after this time and the call fails; 120 s when not given. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface CommandResult {
  /** Exit code, or null when a signal ended the process. */
  readonly code: number | null;
  readonly signalName: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** `stdout` and `stderr` as text. */
  readonly out: string;
  readonly err: string;
}

/** Runs a program without a shell and collects what it prints. Any exit code is a result; only a timeout or a program that cannot be started throws. */
export function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const timeoutMs = options.timeoutMs ?? 120_000;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on("close", (code, signalName) => {
      clearTimeout(timer);
      const result = collect(code, signalName, stdout, stderr);
      if (timedOut) reject(new Error(`${program} ${args.join(" ")} took more than ${timeoutMs} ms: ${result.err}`));
      else resolve(result);
    });
    child.stdin.on("error", () => undefined); // the program may end without reading its input
    child.stdin.end(options.input);
  });
}

/** Like `runCommand`, but an exit code other than 0 throws with what the program said. */
export async function mustRun(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const result = await runCommand(program, args, options);
  if (result.code !== 0) {
    throw new Error(
      `${program} ${args.join(" ")} ended with ${result.code ?? result.signalName}: ${result.err}${result.out}`,
    );
  }
  return result;
}

/** Exit code and output as `runCommand` gives them. */
function collect(
  code: number | null,
  signalName: NodeJS.Signals | null,
  stdoutChunks: Buffer[],
  stderrChunks: Buffer[],
): CommandResult {
  const stdout = Buffer.concat(stdoutChunks);
  const stderr = Buffer.concat(stderrChunks);
  return { code, signalName, stdout, stderr, out: stdout.toString(), err: stderr.toString() };
}
