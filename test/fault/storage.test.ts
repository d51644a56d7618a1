import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { describe, expect, test } from "vitest";
import { type DecantError, NotFoundError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";
import { probeStorage } from "../../src/storage/probe-storage.ts";
import { openS3Storage } from "../../src/storage/s3/s3-storage.ts";
import type { Setting } from "../../src/volume/setting.ts";
import { listed, PART_BYTES, randomPieces, sha256 } from "../conformance/storage-suite.ts";
import { freePort } from "../support/guarded-process.ts";
import { S3Proxy, type S3Rule } from "../support/s3-proxy.ts";
import { requireS3Server } from "../support/s3-server.ts";

const SIGNAL: AbortSignal = new AbortController().signal;
const server = await requireS3Server();

/** A server that is merely slow must not look like one that stalls. */
const TIMING = { idleTimeoutMs: 3000, maxAttempts: 3, resumePauseMs: 1 };

const SLOW_DOWN = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
const INTERNAL = "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>";

interface Play {
  /** Through the proxy. */
  readonly storage: ObjectStorage;
  /** Past it. */
  readonly plain: ObjectStorage;
  readonly proxy: S3Proxy;
  readonly warnings: readonly string[];
  /** Keys of uploads that have neither been completed nor taken back. */
  unfinished(): Promise<string[]>;
}

async function withFaults(
  rules: readonly S3Rule[],
  work: (play: Play) => Promise<void>,
  parts: Partial<Setting> = {},
): Promise<void> {
  const bucket = await server!.createBucket();
  const proxy = await S3Proxy.start(server!.port, rules);
  const warnings: string[] = [];
  const logger = { ...silentLogger, warn: (message: string): void => void warnings.push(message) };
  const open = (port: number) =>
    openS3Storage("minio", server!.setting(bucket, { ...parts, port }), { env: {}, logger, timing: TIMING });
  const storage = await open(proxy.port);
  const plain = await open(server!.port);
  const client = server!.client();
  const unfinished = async (): Promise<string[]> => {
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
    return Uploads.map(({ Key = "" }) => Key);
  };
  try {
    await work({ storage, plain, proxy, warnings, unfinished });
  } finally {
    for (const used of [storage, plain]) await used.close();
    client.destroy();
    proxy.close();
  }
}

async function failureOf(work: Promise<unknown>): Promise<DecantError> {
  return (await work.then(
    () => {
      throw new Error("expected a failure");
    },
    (error: unknown) => error,
  )) as DecantError;
}

const SIZE = 2 * PART_BYTES + 1000;
const PUT = /^PUT .*meta\/x/;
const PART_2 = /^PUT .*partNumber=2/;
const COMPLETE = /^POST .*uploadId=/;
const GET = /^GET .*meta\/x/;

describe.skipIf(server === undefined)("writing an object through a bad connection", () => {
  test.each<[string, number, S3Rule]>([
    ["a request that is cut", 100_000, { on: PUT, times: 1, fault: { kind: "cut-request", afterBytes: 50_000 } }],
    ["an answer that is lost", 100_000, { on: PUT, times: 1, fault: { kind: "lose-answer" } }],
    ["a server that stalls once", 100_000, { on: PUT, times: 1, fault: { kind: "stall", afterBytes: 0 } }],
    ["a busy server", 100_000, { on: PUT, times: 2, fault: { kind: "answer", status: 503, body: SLOW_DOWN } }],
    ["a part that is cut", SIZE, { on: PART_2, times: 1, fault: { kind: "cut-request", afterBytes: 1_000_000 } }],
    ["a part whose answer is lost", SIZE, { on: PART_2, times: 1, fault: { kind: "lose-answer" } }],
    [
      "a busy server between parts",
      SIZE,
      { on: PART_2, times: 2, fault: { kind: "answer", status: 503, body: SLOW_DOWN } },
    ],
    ["a late answer", SIZE, { on: PART_2, times: 1, fault: { kind: "delay", ms: 300 } }],
    [
      "an error behind 200 OK",
      SIZE,
      { on: COMPLETE, times: 1, fault: { kind: "answer", status: 200, body: INTERNAL } },
    ],
    ["the last answer lost", SIZE, { on: COMPLETE, times: 1, fault: { kind: "lose-answer" } }],
    ["the last answer lost, and no other", SIZE, { on: COMPLETE, fault: { kind: "lose-answer" } }],
  ])("succeeds in spite of %s", async (_, size, rule) => {
    await withFaults([rule], async ({ storage, plain, unfinished }) => {
      const source = randomPieces(size);
      expect(await storage.putStream("meta/x", source.pieces, { signal: SIGNAL })).toEqual({ bytes: size });
      expect(await sha256(plain.getStream("meta/x", { signal: SIGNAL }))).toBe(source.hash());
      expect(await unfinished()).toEqual([]);
    });
  });

  test.each<[string, number, S3Rule, string]>([
    [
      "requests that are always cut",
      100_000,
      { on: PUT, fault: { kind: "cut-request", afterBytes: 50_000 } },
      "UNREACHABLE",
    ],
    ["a server that stays busy", 100_000, { on: PUT, fault: { kind: "answer", status: 503, body: SLOW_DOWN } }, "BUSY"],
    ["a server that stalls for good", 1000, { on: PUT, fault: { kind: "swallow" } }, "UNREACHABLE"],
    [
      "parts that are always cut",
      SIZE,
      { on: PART_2, fault: { kind: "cut-request", afterBytes: 50_000 } },
      "UNREACHABLE",
    ],
    [
      "parts that a server is too busy for",
      SIZE,
      { on: PART_2, fault: { kind: "answer", status: 503, body: SLOW_DOWN } },
      "BUSY",
    ],
    [
      "errors behind 200 OK, always",
      SIZE,
      { on: COMPLETE, fault: { kind: "answer", status: 200, body: INTERNAL } },
      "BUSY",
    ],
  ])("fails without a trace because of %s", (_, size, rule, code) =>
    withFaults([rule], async ({ storage, plain, unfinished, warnings }) => {
      await plain.put("meta/x", Buffer.from("old"), SIGNAL);
      const error = await failureOf(storage.putStream("meta/x", randomPieces(size).pieces, { signal: SIGNAL }));
      expect(error).toMatchObject({ name: "StorageError", code: `DECANT_E_STORAGE_${code}`, retryable: true });
      expect(error.message).toMatch(/^Cannot write minio:\/\/127\.0\.0\.1:\d+\/bucket-[\d-]+\/vol\/meta\/x: /);
      expect(error.hint).not.toBe("");
      expect((await plain.get("meta/x", SIGNAL)).toString()).toBe("old");
      expect(await unfinished()).toEqual([]);
      expect(warnings).toEqual([]);
    }),
  );

  test.skipIf(server?.kind === "moto").each([100_000, SIZE])(
    "is refused by the server when a byte of %i changes, which the signature covers",
    (size) =>
      withFaults([{ on: PUT, fault: { kind: "corrupt-request", at: 70_000 } }], async (play) => {
        const { storage, plain, unfinished } = play;
        const error = await failureOf(storage.putStream("meta/x", randomPieces(size).pieces, { signal: SIGNAL }));
        expect(error).toMatchObject({ name: "StorageError", retryable: true });
        expect(await listed(plain, "")).toEqual([]);
        expect(await unfinished()).toEqual([]);
      }),
  );

  test("does not believe a server that says it has everything, and has not", () =>
    withFaults(
      [{ on: COMPLETE, fault: { kind: "answer", status: 200, body: completed() } }],
      async ({ storage, plain, unfinished }) => {
        const error = await failureOf(storage.putStream("meta/x", randomPieces(SIZE).pieces, { signal: SIGNAL }));
        expect(error.message).toMatch(/: the server said that it is complete, but it is not there$/);
        expect(await plain.head("meta/x", SIGNAL)).toBeUndefined();
        expect(await unfinished()).toEqual([]);
      },
    ));

  test("tells when the parts of a failed upload could not be taken back", () =>
    withFaults(
      [
        { on: PART_2, fault: { kind: "answer", status: 403, body: denied() } },
        { on: /^DELETE .*uploadId=/, fault: { kind: "answer", status: 403, body: denied() } },
      ],
      async ({ storage, warnings, unfinished }) => {
        const error = await failureOf(storage.putStream("meta/x", randomPieces(SIZE).pieces, { signal: SIGNAL }));
        expect(error.code).toBe("DECANT_E_STORAGE_ACCESS");
        expect(warnings).toHaveLength(1);
        expect(warnings[0]).toMatch(/^Parts of the unfinished object minio:.*meta\/x may take up space in the bucket/);
        expect(await unfinished()).toEqual(["vol/meta/x"]);
      },
    ));
});

describe.skipIf(server === undefined)("reading an object through a bad connection", () => {
  const LARGE = 3_000_000;

  test.each<[string, S3Rule]>([
    ["a connection that is cut", { on: GET, times: 1, fault: { kind: "cut-answer", afterBytes: 1_234_567 } }],
    ["one that is cut again and again", { on: GET, times: 4, fault: { kind: "cut-answer", afterBytes: 300_000 } }],
    ["one that is cut before the first byte", { on: GET, times: 2, fault: { kind: "cut-answer", afterBytes: 0 } }],
    ["one that stalls", { on: GET, times: 1, fault: { kind: "stall", afterBytes: 2_000_000 } }],
    ["an end that comes too early", { on: GET, times: 1, fault: { kind: "truncate", afterBytes: 2_000_000 } }],
    ["a busy server", { on: GET, times: 2, fault: { kind: "answer", status: 503, body: SLOW_DOWN } }],
  ])("goes on after %s", (_, rule) =>
    withFaults([rule], async ({ storage, plain }) => {
      const source = randomPieces(LARGE);
      await plain.putStream("meta/x", source.pieces, { signal: SIGNAL });
      expect(await sha256(storage.getStream("meta/x", { signal: SIGNAL }))).toBe(source.hash());
    }),
  );

  test("goes on only with the same object", () =>
    withFaults([{ on: GET, times: 1, fault: { kind: "cut-answer", afterBytes: 1_000_000 } }], async (play) => {
      await play.plain.putStream("meta/x", randomPieces(LARGE).pieces, { signal: SIGNAL });
      const reading = async (): Promise<void> => {
        let isFirst = true;
        for await (const _ of play.storage.getStream("meta/x", { signal: SIGNAL })) {
          if (isFirst) await play.plain.putStream("meta/x", randomPieces(LARGE).pieces, { signal: SIGNAL });
          isFirst = false;
        }
      };
      expect((await failureOf(reading())).message).toContain("PreconditionFailed (HTTP 412)");
    }));

  test.each<[string, S3Rule, string]>([
    ["always stalls", { on: GET, fault: { kind: "stall", afterBytes: 0 } }, "DECANT_E_STORAGE_UNREACHABLE"],
    ["is always cut", { on: GET, fault: { kind: "cut-answer", afterBytes: 0 } }, "DECANT_E_STORAGE_UNREACHABLE"],
    ["has another byte", { on: GET, fault: { kind: "corrupt-answer", at: 2_000_000 } }, "DECANT_E_OBJECT_CHECKSUM"],
    ["ends too early", { on: GET, fault: { kind: "truncate", afterBytes: 0 } }, "DECANT_E_STORAGE_UNREACHABLE"],
  ])("fails when what comes %s", (_, rule, code) =>
    withFaults([rule], async ({ storage, plain, proxy }) => {
      await plain.putStream("meta/x", randomPieces(LARGE).pieces, { signal: SIGNAL });
      const error = await failureOf(sha256(storage.getStream("meta/x", { signal: SIGNAL })));
      expect(error).toMatchObject({ code, retryable: true });
      expect(error.message).toMatch(/^Cannot read minio:\/\/127\.0\.0\.1:\d+\/bucket-[\d-]+\/vol\/meta\/x: /);
      expect(proxy.requests.length).toBeLessThan(20);
    }),
  );

  test("an early end gives the connection back", () =>
    withFaults([{ on: GET, fault: { kind: "stall", afterBytes: 2_000_000 } }], async ({ storage, plain, proxy }) => {
      await plain.putStream("meta/x", randomPieces(LARGE).pieces, { signal: SIGNAL });
      for await (const _ of storage.getStream("meta/x", { signal: SIGNAL })) break;
      while ((await proxy.connections()) > 0) await sleep(10);
    }));

  test("an abort ends a call that waits for a server", () =>
    withFaults([{ on: GET, fault: { kind: "stall", afterBytes: 0 } }], async ({ storage, plain, proxy }) => {
      await plain.put("meta/x", Buffer.from("x"), SIGNAL);
      const abort = new AbortController();
      const reason = new Error("enough");
      const reading = storage.get("meta/x", abort.signal).catch((error: unknown) => error);
      while (proxy.requests.length === 0) await sleep(5);
      abort.abort(reason);
      expect(await reading).toBe(reason);
      while ((await proxy.connections()) > 0) await sleep(10);
    }));
});

describe("errors of an S3 storage", () => {
  const SECRET = "very-secret-key-of-nobody";
  const open = (bucket: string, parts: Partial<Setting> = {}, env: Record<string, string> = {}) =>
    openS3Storage(
      "s3",
      { ...server!.setting("bk"), storage: "s3", bucket, ...parts },
      { env, logger: silentLogger, timing: { ...TIMING, maxAttempts: 1 } },
    );

  test("name what nobody listens on", async () => {
    const port = await freePort();
    const storage = await open(`http://127.0.0.1:${port}/bk`);
    const error = await failureOf(storage.get("x", SIGNAL));
    expect(error.code).toBe("DECANT_E_STORAGE_UNREACHABLE");
    expect(error.message).toBe(`Cannot read s3://127.0.0.1:${port}/bk/vol/x: connect ECONNREFUSED 127.0.0.1:${port}`);
    await storage.close();
  });

  test("name a server that is none of this kind", async () => {
    const web = createServer((_, answer) => answer.end("<html><body>Welcome</body></html>"));
    await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
    const { port } = web.address() as AddressInfo;
    const storage = await open(`http://127.0.0.1:${port}/bk`);
    const error = await failureOf(listed(storage, ""));
    expect(error.name).toBe("StorageError");
    expect(error.message).toContain(`Cannot list s3://127.0.0.1:${port}/bk/vol/: `);
    await storage.close();
    web.close();
  });

  test.skipIf(server === undefined || server.kind === "moto")(
    "say that keys are wrong, and never the keys",
    async () => {
      const bucket = `http://127.0.0.1:${server!.port}/${await server!.createBucket()}`;
      const storage = await open(bucket, { secretKey: SECRET });
      const errors = [
        await failureOf(storage.get("x", SIGNAL)),
        await failureOf(storage.head("x", SIGNAL)),
        await failureOf(probeStorage(storage, { logger: silentLogger, signal: SIGNAL, pausesMs: [0] })),
      ];
      expect(errors[0]).toMatchObject({ code: "DECANT_E_STORAGE_ACCESS", retryable: false });
      expect(errors[0]!.message).toContain("the server answered SignatureDoesNotMatch (HTTP 403): ");
      expect(errors[1]!.message).toMatch(/^Cannot look at s3:.*\/vol\/x: the server answered HTTP 403$/);
      expect(errors[2]!.code).toBe("DECANT_E_STORAGE_PROBE");
      for (const { message, hint } of errors) expect(`${message} ${hint}`).not.toContain(SECRET);
      await storage.close();
    },
  );

  test("mask keys that a server repeats", () =>
    withFaults(
      [
        {
          on: /./,
          fault: { kind: "answer", status: 400, body: `<Error><Code>Bad</Code><Message>${SECRET}!</Message></Error>` },
        },
      ],
      async ({ storage }) => {
        const error = await failureOf(storage.get("x", SIGNAL));
        expect(error.message).toContain(": ****!");
      },
      { secretKey: SECRET },
    ));

  test("tell a missing object from a missing bucket", () =>
    withFaults([], async ({ storage }) => {
      expect(await failureOf(storage.get("x", SIGNAL))).toBeInstanceOf(NotFoundError);
      const other = await open(`http://127.0.0.1:${server!.port}/none-${process.pid}`);
      expect(await failureOf(other.get("x", SIGNAL))).toMatchObject({ code: "DECANT_E_NO_BUCKET" });
      await other.close();
    }));
});

function completed(): string {
  return '<CompleteMultipartUploadResult><ETag>"0123456789abcdef0123456789abcdef-3"</ETag></CompleteMultipartUploadResult>';
}

function denied(): string {
  return "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
}
