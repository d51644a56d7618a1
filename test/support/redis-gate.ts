import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const PONG = "+PONG\r\n";

/** What a test does before a command reaches the server. */
export interface GateStop {
  /** Text of the command, in capitals as clients of ours send it; it comes in one piece. */
  readonly before: string;
  /**
   * The command waits for its end. `sendNow` lets it pass at once; `answers` is what the server has answered since the stop before, on
   * the connection of that one.
   */
  readonly action: (sendNow: () => void, answers: Buffer) => Promise<void>;
}

/** A way to a Redis server on which commands can be held up, each stop once and in their order. */
export class RedisGate {
  /** Text of all commands that have passed. */
  commands = "";
  #answers: Buffer = Buffer.alloc(0);
  readonly #server: Server;
  readonly #sockets: Set<Socket> = new Set();
  readonly #stops: GateStop[];
  readonly #delayMs: number;
  #watched: Socket | undefined;

  private constructor(targetPort: number, stops: readonly GateStop[], delayMs: number) {
    this.#delayMs = delayMs;
    this.#stops = [...stops];
    this.#server = createServer((client) => this.#accept(client, targetPort));
  }

  /**
   * `delayMs`: what the server says on connections that have spoken RESP3 (HELLO) comes so much later, and what stands behind the
   * answer to a PING that much later again, as it may in a network.
   */
  static async start(targetPort: number, stops: readonly GateStop[] = [], delayMs: number = 0): Promise<RedisGate> {
    const gate = new RedisGate(targetPort, stops, delayMs);
    await new Promise<void>((resolve) => gate.#server.listen(0, "127.0.0.1", resolve));
    return gate;
  }

  url(db: number = 0): string {
    return `redis://127.0.0.1:${(this.#server.address() as AddressInfo).port}/${db}`;
  }

  /** Whether every stop has been reached. */
  get isPassed(): boolean {
    return this.#stops.length === 0;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #accept(client: Socket, targetPort: number): void {
    const server = connect(targetPort, "127.0.0.1").setNoDelay();
    this.#join(client, server);
    this.#join(server, client);
    let last = Promise.resolve();
    let delivered = Promise.resolve();
    let isDelayed = false;
    client.on("data", (bytes: Buffer) => {
      isDelayed ||= this.#delayMs > 0 && bytes.includes("HELLO");
      last = last.then(() => this.#pass(bytes, server));
    });
    server.on("data", (bytes: Buffer) => {
      if (server === this.#watched) this.#answers = Buffer.concat([this.#answers, bytes]);
      if (!isDelayed) client.write(bytes);
      else delivered = delivered.then(() => this.#deliverLate(bytes, client));
    });
  }

  async #deliverLate(bytes: Buffer, client: Socket): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const pong = bytes.indexOf(PONG, at);
      const end = pong < 0 ? bytes.length : pong + PONG.length;
      await sleep(this.#delayMs);
      client.write(bytes.subarray(at, end));
      at = end;
    }
  }

  #join(socket: Socket, other: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => other.destroy());
    socket.on("close", () => {
      this.#sockets.delete(socket);
      other.destroy();
    });
  }

  async #pass(bytes: Buffer, server: Socket): Promise<void> {
    let isSent = false;
    const sendNow = (): void => {
      if (!isSent) server.write(bytes);
      isSent = true;
    };
    const [stop] = this.#stops;
    if (stop !== undefined && bytes.includes(stop.before)) {
      this.#stops.shift();
      this.#watched = server;
      const answers = this.#answers;
      this.#answers = Buffer.alloc(0);
      await stop.action(sendNow, answers);
    }
    this.commands += bytes.toString("latin1");
    sendNow();
  }
}
