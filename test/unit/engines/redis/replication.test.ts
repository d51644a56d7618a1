import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { EngineError } from "../../../../src/base/errors.ts";
import { ResyncConnection } from "../../../../src/engines/redis/replication/resync-connection.ts";
import { rdbEntry, rdbFile, rdbString } from "../../../support/rdb-builder.ts";
import { readContents } from "../../../support/rdb-contents.ts";

const FILE = rdbFile([rdbEntry(0, "string", rdbString("value"))]);
const MARK = Buffer.from("0123456789abcdef0123456789abcdef01234567");
const LATER = Buffer.from("*1\r\n$4\r\nPING\r\n");
const RESYNC = "+FULLRESYNC 8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb 4711\r\n";

let server: Server | undefined;
afterEach(() => server?.close());

/** Answers each command by one of the texts, and then sends what follows, in pieces of so many bytes. */
async function listen(answers: readonly string[], follows: Buffer, perPiece: number): Promise<number> {
  server = createServer((socket: Socket) => {
    const left = [...answers];
    socket.setNoDelay().on("error", () => undefined);
    socket.on("data", async (bytes: Buffer) => {
      for (const _ of bytes.toString("latin1").matchAll(/\*[0-9]+\r\n\$/g)) {
        socket.write(left.shift() ?? "");
        if (left.length > 0) continue;
        for (let at = 0; at < follows.length; at += perPiece) {
          socket.write(follows.subarray(at, at + perPiece));
          if (perPiece < 100) await sleep(0);
        }
        socket.end();
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

function open(port: number): Promise<ResyncConnection> {
  const node = {
    printable: "redis://test",
    socket: { host: "127.0.0.1", port },
    tls: undefined,
    user: undefined,
    password: undefined,
    db: 0,
    connectTimeoutMs: 5000,
    readTimeoutMs: 5000,
  };
  return ResyncConnection.open(node, new AbortController().signal);
}

async function receive(answers: readonly string[], follows: Buffer, perPiece: number): Promise<string[]> {
  const connection = await open(await listen(answers, follows, perPiece));
  try {
    const { keys } = await readContents(connection, [0], { checksum: true, trailer: () => connection.trailer });
    return keys.map(({ key, parts }) => `${key} ${parts}`);
  } finally {
    connection.close();
  }
}

const READY = ["+OK\r\n", "+OK\r\n", "+OK\r\n", RESYNC];

describe("the data of a full resync", () => {
  const forms: [string, Buffer][] = [
    ["with a size", Buffer.concat([Buffer.from(`\n\n\n$${FILE.length}\r\n`), FILE])],
    ["with a size, and commands behind them", Buffer.concat([Buffer.from(`$${FILE.length}\r\n`), FILE, LATER])],
    ["with a mark", Buffer.concat([Buffer.from("\n\n$EOF:"), MARK, Buffer.from("\r\n"), FILE, MARK])],
    [
      "with a mark, and commands behind it",
      Buffer.concat([Buffer.from("$EOF:"), MARK, Buffer.from("\r\n"), FILE, MARK, LATER]),
    ],
  ]; // prettier-ignore
  describe.each(forms)("%s", (_, follows) => {
    test.each([1, 7, 100_000])("are cut out exactly when they come in pieces of %d bytes", async (perPiece) => {
      expect(await receive(READY, follows, perPiece)).toEqual(["string value"]);
    });

    test("that end too soon are a lost connection", async () => {
      const end = follows.length - (follows.indexOf(LATER) > 0 ? LATER.length : 0);
      for (let size = 0; size < end; size += 5) {
        const error = await receive(READY, follows.subarray(0, size), 100_000).catch((e) => e);
        expect([size, error]).toEqual([size, expect.any(EngineError)]);
        expect(error).toMatchObject({ code: "DECANT_E_REDIS_LOST", retryable: true });
      }
    });
  });

  test("that are larger or smaller than their size are damaged", async () => {
    const sized = (size: number): Buffer => Buffer.concat([Buffer.from(`$${size}\r\n`), FILE, LATER]);
    await expect(receive(READY, sized(FILE.length + 3), 100_000)).rejects.toMatchObject({
      code: "DECANT_E_RDB_TRAILING",
    });
    await expect(receive(READY, sized(FILE.length - 3), 100_000)).rejects.toMatchObject({ code: "DECANT_E_RDB_CUT" });
  });

  test("whose end is not the announced one are damaged", async () => {
    const wrong = Buffer.concat([Buffer.from("$EOF:"), MARK, Buffer.from("\r\n"), FILE, Buffer.from(MARK).fill("0")]);
    await expect(receive(READY, wrong, 100_000)).rejects.toMatchObject({ code: "DECANT_E_RDB_DAMAGED" });
  });

  test("are taken from a server that knows no rdb-only", async () => {
    const [form] = forms;
    const answers = ["+OK\r\n", "+OK\r\n", "-ERR Unrecognized REPLCONF option: rdb-only\r\n", RESYNC];
    expect(await receive(answers, form![1], 100_000)).toEqual(["string value"]);
  });
});

describe("an answer that leads to no full resync", () => {
  test.each([
    ["another protocol", ["HTTP/1.1 400 Bad Request\r\n"], /answered REPLCONF by "HTTP/, "DECANT_E_REDIS_PROTOCOL"],
    [
      "a partial resync",
      ["+OK\r\n", "+OK\r\n", "+OK\r\n", "+CONTINUE\r\n"],
      /answered PSYNC by "\+CONTINUE"/,
      "DECANT_E_REDIS_PROTOCOL",
    ],
    [
      "a password is wanted",
      ["-NOAUTH Authentication required.\r\n"],
      /wants a password \(REPLCONF\)/,
      "DECANT_E_REDIS_AUTH",
    ],
    [
      "loading",
      ["+OK\r\n", "+OK\r\n", "+OK\r\n", "-LOADING Redis is loading\r\n"],
      /still loading/,
      "DECANT_E_REDIS_LOADING",
    ],
    [
      "no master",
      ["+OK\r\n", "+OK\r\n", "+OK\r\n", "-NOMASTERLINK Can't SYNC\r\n"],
      /gives no full resync \(PSYNC\)/,
      "DECANT_E_REDIS_RESYNC",
    ],
  ])("%s", async (_, answers, message, code) => {
    const error = await receive(answers, Buffer.alloc(0), 1).catch((e) => e);
    expect(error).toBeInstanceOf(EngineError);
    expect(error).toMatchObject({ message: expect.stringMatching(message), code });
  }); // prettier-ignore

  test("a fork that failed comes instead of the data", async () => {
    const follows = Buffer.from("\n-BGSAVE failed, replication can't continue\r\n");
    await expect(receive(READY, follows, 100_000)).rejects.toMatchObject({
      code: "DECANT_E_REDIS_RESYNC",
      hint: expect.stringMatching(/could not fork/),
    });
  });
});
