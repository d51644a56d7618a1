import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../src/agent/clock.ts";
import { type Hook, type HookMessage, maskedWebhook, runHooks } from "../../../src/agent/hooks.ts";
import type { Logger } from "../../../src/base/logger.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const MESSAGE: HookMessage = {
  event: "success",
  volume: "my vol",
  uuid: "11d3287e-1a6e-41a3-9460-df975e1d2dfc",
  host: "host1",
  time: "2026-11-23T06:03:13.316Z",
  key: "meta/dump-2026-11-23-060313.json.gz",
  bytes: 560,
  inodes: 3,
  durationMs: 81,
  reason: null,
  message: "made",
};

/** Waits only as long as nothing else is to be done. */
const clock = { ...systemClock, sleep: async () => undefined };

async function run(hooks: readonly Hook[], message = MESSAGE, signal = new AbortController().signal) {
  const lines: string[] = [];
  const add = (line: string) => void lines.push(line);
  const logger: Logger = { debug: add, info: add, warn: (line) => add(`warn ${line}`), debugEnabled: true };
  const failed = await runHooks(hooks, message, { clock, logger, env: { PATH: process.env.PATH }, signal });
  return { failed, lines };
}

function command(script: string, timeoutMs = 60_000): Hook {
  return { on: new Set(["success"]), action: { command: ["/bin/sh", "-c", script] }, timeoutMs };
}

describe("a command", () => {
  test("is told by variables and by JSON on its standard input, and its output is logged", async () => {
    const file = join(temporaryDirectory(), "told");
    const script = `cat > ${file}; echo "$DECANT_HOOK_EVENT $DECANT_HOOK_VOLUME $DECANT_HOOK_DURATION_MS <$DECANT_HOOK_REASON>"; echo two >&2`;
    const { failed, lines } = await run([command(script)]);
    expect(failed).toBe(0);
    expect(JSON.parse(readFileSync(file, "utf8"))).toEqual(MESSAGE);
    expect(lines.sort()).toEqual(["hook /bin/sh: success my vol 81 <>", "hook /bin/sh: two"]);
  });

  test.each([
    ["exit 3", "it ended with 3"],
    ["kill -9 $$", "it ended with SIGKILL"],
  ])("that fails is warned of and counted: %s", async (script, reason) => {
    expect(await run([command(script), command("true")])).toEqual({
      failed: 1,
      lines: [`warn hook /bin/sh for success failed: ${reason}`],
    });
  });

  test("that does not exist fails", async () => {
    const hook: Hook = { on: new Set(["success"]), action: { command: ["/no/such/program"] }, timeoutMs: 1000 };
    const { failed, lines } = await run([hook]);
    expect(failed).toBe(1);
    expect(lines[0]).toMatch(/^warn hook \/no\/such\/program for success failed: spawn .* ENOENT$/);
  });

  test("that takes too long is ended with all that it has started", async () => {
    const { failed, lines } = await run([command("sleep 600 & sleep 600", 200)]);
    expect(failed).toBe(1);
    expect(lines).toEqual(["warn hook /bin/sh for success failed: it took longer than 0.2 s"]);
  });

  test("need not read what it is told, and may leave something in the background", async () => {
    expect((await run([command("exec <&-; sleep 5 & echo done")])).lines).toEqual(["hook /bin/sh: done"]);
  });

  test("is called for its own events only", async () => {
    expect(await run([command("exit 1")], { ...MESSAGE, event: "failure" })).toEqual({ failed: 0, lines: [] });
  });
});

/** Answers with these codes, one after another. */
async function withServer(
  codes: readonly number[],
  work: (url: string, bodies: string[]) => Promise<void>,
): Promise<void> {
  const bodies: string[] = [];
  const read = async (request: IncomingMessage) => {
    let body = "";
    for await (const piece of request) body += String(piece);
    return body;
  };
  const server = createServer(async (request, response) => {
    bodies.push(await read(request));
    response.writeHead(codes[bodies.length - 1] ?? 200).end("answer");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}/secret/token?key=1`, bodies);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

describe("a webhook", () => {
  const hook = (webhook: string): Hook => ({ on: new Set(["success"]), action: { webhook }, timeoutMs: 10_000 });

  test("gets the event as JSON, and again when the server has trouble", async () => {
    await withServer([503, 500, 200], async (url, bodies) => {
      expect(await run([hook(url)])).toEqual({ failed: 0, lines: [] });
      expect(bodies.map((body) => JSON.parse(body) as unknown)).toEqual([MESSAGE, MESSAGE, MESSAGE]);
    });
  });

  test("that fails three times is given up, and its address is not in the log", async () => {
    await withServer([500, 500, 404], async (url, bodies) => {
      const { failed, lines } = await run([hook(url)]);
      expect(failed).toBe(1);
      expect(lines).toEqual([`warn hook ${new URL(url).origin}/**** for success failed: HTTP status 404`]);
      expect(bodies.length).toBe(3);
    });
  });

  test("that cannot be reached fails with the cause", async () => {
    const { failed, lines } = await run([hook("http://127.0.0.1:9/secret")]);
    expect(failed).toBe(1);
    expect(lines[0]).toMatch(/^warn hook http:\/\/127\.0\.0\.1:9\/\*\*\*\* for success failed: /);
    expect(lines[0]).not.toContain("secret");
  });

  test("is not called by an agent that is being stopped", async () => {
    expect(await run([hook("http://127.0.0.1:9/")], MESSAGE, AbortSignal.abort())).toEqual({ failed: 0, lines: [] });
  });

  test("is shown without path and query", () => {
    expect(maskedWebhook("https://hooks.example.com/services/T0/B0/secret?x=1")).toBe("https://hooks.example.com/****");
    expect(maskedWebhook("not an address")).toBe("****");
  });
});
