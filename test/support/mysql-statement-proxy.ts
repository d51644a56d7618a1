import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** What is done with a statement in the server's place; undefined leaves it to the server. */
export type Answer = (statement: string) => "close" | Buffer | undefined;

const HEAD_BYTES = 4;
const COM_QUERY = 3;

/**
 * Stands between a client and a MySQL server and answers some statements itself: what a proxy, or a server that means harm,
 * could do. The client must send each statement in one piece.
 */
export class MysqlStatementProxy {
  /** What clients have sent after an answer that was not the server's, by statement. */
  readonly sentAfter: { statement: string; bytes: Buffer }[] = [];
  readonly #server: Server;
  readonly #sockets: Set<Socket> = new Set();
  readonly #answer: Answer;

  private constructor(targetPort: number, answer: Answer) {
    this.#answer = answer;
    this.#server = createServer((client) => this.#accept(client, targetPort));
  }

  static async start(targetPort: number, answer: Answer): Promise<MysqlStatementProxy> {
    const proxy = new MysqlStatementProxy(targetPort, answer);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  url(database: string): string {
    return `mysql://root@(127.0.0.1:${(this.#server.address() as AddressInfo).port})/${database}`;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #accept(client: Socket, targetPort: number): void {
    const server = connect(targetPort, "127.0.0.1");
    let answered: { statement: string; bytes: Buffer } | undefined;
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
    server.on("data", (bytes: Buffer) => client.write(bytes));
    client.on("data", (bytes: Buffer) => {
      if (answered !== undefined) {
        answered.bytes = Buffer.concat([answered.bytes, bytes]);
        if (answered.bytes.readUIntLE(0, 3) === 0) client.resetAndDestroy(); // an empty file, which nobody waits for
        return;
      }
      const statement = bytes[HEAD_BYTES] === COM_QUERY ? bytes.toString("latin1", HEAD_BYTES + 1) : "";
      const answer = statement === "" ? undefined : this.#answer(statement);
      if (answer === undefined) server.write(bytes);
      else if (answer === "close") client.resetAndDestroy();
      else {
        answered = { statement, bytes: Buffer.alloc(0) };
        this.sentAfter.push(answered);
        client.write(answer);
      }
    });
  }
}

/** The first packet of an answer. */
function packet(payload: Buffer): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUIntLE(payload.length, 0, 3);
  head[3] = 1;
  return Buffer.concat([head, payload]);
}

/** Refuses a statement with a number and a text of the server's kind. */
export function refusal(errno: number, message: string): Buffer {
  return packet(Buffer.concat([Buffer.from([0xff, errno & 0xff, errno >> 8]), Buffer.from(`#42000${message}`)]));
}

/** Asks the client for a file of its machine, as an answer to `LOAD DATA LOCAL INFILE` does. */
export function fileRequest(name: string): Buffer {
  return packet(Buffer.concat([Buffer.from([0xfb]), Buffer.from(name)]));
}
