import { errorText } from "../base/errors.ts";
import { type CliIo, Interruption } from "./cli-io.ts";
import { ExitCode } from "./exit-code.ts";
import { runCli } from "./run-cli.ts";

// Engines that speak gRPC are loaded later. Their library writes lines of its own to stderr, of what calls then fail with anyway.
process.env.GRPC_VERBOSITY ??= "NONE";

const abort = new AbortController();
const io: CliIo = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: abort.signal,
};

for (const signalName of ["SIGINT", "SIGTERM"] as const) {
  process.on(signalName, () => {
    if (io.handleSignal !== undefined) {
      if (!io.handleSignal(signalName)) endAtOnce(signalName);
      return;
    }
    if (abort.signal.aborted) endAtOnce(signalName);
    process.stderr.write(`decant: ${signalName} received, cleaning up; once more to exit at once\n`);
    abort.abort(new Interruption(signalName));
  });
}

/**
 * The second signal is an order: whatever the cleaning up waits for, it waits no longer. The end comes from the signal
 * itself, as an exit waits for every thread, also for one that hangs in a file; process 1 alone cannot end that way.
 */
function endAtOnce(signalName: "SIGINT" | "SIGTERM"): void {
  process.removeAllListeners(signalName);
  process.kill(process.pid, signalName);
  process.exit(signalName === "SIGTERM" ? ExitCode.terminated : ExitCode.interrupted);
}

process.on("uncaughtException", (error) => {
  process.stderr.write(`decant: error: ${errorText(error)}\n`);
  if ((process.env.DECANT_DEBUG ?? "") !== "" && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  process.exit(io.uncaughtCode ?? ExitCode.failed);
});

// Nobody reads what is said any more: the work goes on, and its exit code tells.
process.stderr.on("error", () => undefined);

process.exitCode = await runCli(process.argv.slice(2), io);
