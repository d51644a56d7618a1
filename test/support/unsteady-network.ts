import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";

/** How what passes is slowed down, over all connections. */
export interface Pace {
  readonly bytesPerSecond?: number;
  /** No more at a time than this, as of a network with tiny segments. */
  readonly segmentBytes?: number;
}

interface Link {
  readonly client: Socket;
  readonly server: Socket;
  /** The server is not told that the client has gone. */
  isLost: boolean;
}

/** The network between clients and servers on this machine: what goes through its ports may be cut, stand still or be slow. */
export class UnsteadyNetwork {
  readonly #listeners: Server[] = [];
  /** By which port each one is reached. */
  readonly #ports: Map<number, number> = new Map();
  readonly #links: Set<Link> = new Set();
  #isRefusing = false;
  #isStalled = false;
  #mended: Promise<void> = Promise.resolve();
  #mend: () => void = () => undefined;
  #pace: Pace = {};
  #passed = 0;
  /** After so many bytes in all, the action. */
  #point: { readonly at: number; readonly act: () => void } | undefined;

  /** The same address, reached through this network: the first `host:port` in it is replaced. */
  async addressBefore(address: string): Promise<string> {
    const [own, port] = /127\.0\.0\.1:(\d+)/.exec(address)!;
    return address.replace(own, `127.0.0.1:${await this.#before(Number(port))}`);
  }

  async #before(port: number): Promise<number> {
    const known = this.#ports.get(port);
    if (known !== undefined) return known;
    const listener = createServer((client) => this.#accept(client, port));
    this.#listeners.push(listener);
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    const before = (listener.address() as AddressInfo).port;
    this.#ports.set(port, before);
    return before;
  }

  /** Bytes that have passed, in both directions and over all connections. */
  get passed(): number {
    return this.#passed;
  }

  /** Acts once, when so many more bytes have passed. */
  after(bytes: number, act: () => void): void {
    this.#point = { at: this.#passed + bytes, act };
  }

  /** Resets all connections, and every new one until `mend`. */
  cut(): void {
    this.#isRefusing = true;
    for (const { client, server } of this.#links) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
  }

  /** Like `cut`, but servers hear nothing of it: for them, connections stay until `close`. */
  lose(): void {
    this.#isRefusing = true;
    for (const link of this.#links) {
      link.isLost = true;
      link.client.resetAndDestroy();
    }
  }

  /** Nothing passes, neither bytes nor the end of a connection, until `mend`. Connections can be made. */
  stall(): void {
    this.#isStalled = true;
    this.#mended = new Promise((resolve) => {
      this.#mend = resolve;
    });
  }

  /** Everything passes as it should, from now on. */
  mend(): void {
    this.#isRefusing = false;
    this.#isStalled = false;
    this.#pace = {};
    this.#point = undefined;
    this.#mend();
  }

  slow(pace: Pace): void {
    this.#pace = pace;
  }

  close(): void {
    for (const listener of this.#listeners) listener.close();
    this.mend();
    for (const { client, server } of this.#links) {
      client.destroy();
      server.destroy();
    }
  }

  #accept(client: Socket, port: number): void {
    client.on("error", () => undefined);
    if (this.#isRefusing) return void client.resetAndDestroy();
    const server = connect(port, "127.0.0.1");
    server.on("error", () => undefined);
    const link: Link = { client, server, isLost: false };
    this.#links.add(link);
    for (const socket of [client, server]) socket.setNoDelay(true);
    client.on("close", () => this.#whenPassing(() => (link.isLost ? undefined : server.destroy())));
    server.on("close", () => {
      this.#links.delete(link);
      this.#whenPassing(() => client.destroy());
    });
    void this.#forward(client, server, link);
    void this.#forward(server, client, link);
  }

  #whenPassing(act: () => void): void {
    void this.#mended.then(act);
  }

  async #forward(from: Socket, to: Socket, link: Link): Promise<void> {
    try {
      for await (const bytes of from.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        for (let at = 0; at < bytes.length && !link.isLost; ) {
          while (this.#isStalled) await this.#mended;
          const size = this.#sizeOfNext(bytes.length - at);
          await this.#pass(to, bytes.subarray(at, at + size));
          at += size;
        }
      }
      this.#whenPassing(() => (link.isLost ? undefined : to.end()));
    } catch {
      // it was cut: what is behind it hears of that by the end of this socket
    }
  }

  #sizeOfNext(rest: number): number {
    const { bytesPerSecond, segmentBytes } = this.#pace;
    const most = segmentBytes ?? (bytesPerSecond === undefined ? rest : Math.ceil(bytesPerSecond / 50));
    return Math.min(rest, most, Math.max(1, (this.#point?.at ?? Number.POSITIVE_INFINITY) - this.#passed));
  }

  async #pass(to: Socket, bytes: Buffer): Promise<void> {
    if (!to.destroyed && !to.write(bytes)) await writable(to);
    this.#passed += bytes.length;
    if (this.#point !== undefined && this.#passed >= this.#point.at) {
      const { act } = this.#point;
      this.#point = undefined;
      act();
    }
    const { bytesPerSecond, segmentBytes } = this.#pace;
    if (bytesPerSecond !== undefined) await sleep((bytes.length / bytesPerSecond) * 1000);
    else if (segmentBytes !== undefined) await nextTurn();
  }
}

/** Resolves when the socket takes more, or nothing any more. */
function writable(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off("drain", done).off("close", done);
      resolve();
    };
    socket.on("drain", done).on("close", done);
  });
}
