import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/**
 * A TCP proxy before a server on this machine that keeps what comes with a text in it, once, and ends the connection to the client:
 * for that, the request is lost. The server gets it when it is told so, as from a server that stood still meanwhile.
 */
export class LateProxy {
  readonly #server: Server;
  readonly #text: string;
  readonly #sockets: Set<Socket> = new Set();
  #late: { readonly server: Socket; readonly bytes: Buffer } | undefined;

  private constructor(targetPort: number, text: string) {
    this.#text = text;
    this.#server = createServer((client) => this.#accept(client, connect(targetPort, "127.0.0.1")));
  }

  static async start(targetPort: number, text: string): Promise<LateProxy> {
    const proxy = new LateProxy(targetPort, text);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get keepsRequest(): boolean {
    return this.#late !== undefined;
  }

  release(): void {
    this.#late!.server.write(this.#late!.bytes);
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #accept(client: Socket, server: Socket): void {
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
    }
    server.on("data", (bytes: Buffer) => void client.write(bytes));
    server.on("close", () => client.destroy());
    client.on("data", (bytes: Buffer) => {
      if (this.#late?.server === server) return;
      if (this.#late === undefined && bytes.includes(this.#text)) {
        this.#late = { server, bytes };
        client.resetAndDestroy();
      } else server.write(bytes);
    });
    client.on("close", () => {
      if (this.#late?.server !== server) server.destroy();
    });
  }
}
