import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** What happens to a connection when so many bytes went that way, counted over all connections. */
export interface ProxyFault {
  readonly direction: "toServer" | "toClient";
  readonly afterBytes: number;
  /** `cut`: the connection is reset. `stall`: it stays, but nothing passes any more. */
  readonly action: "cut" | "stall";
  /** Also refuse every connection from then on. */
  readonly refuse?: boolean;
}

/** A TCP proxy of its own before a server on this machine, with at most one fault. */
export class TcpProxy {
  /** Bytes that have passed. */
  readonly passed: { toServer: number; toClient: number } = { toServer: 0, toClient: 0 };
  readonly #server: Server;
  readonly #sockets: Set<Socket> = new Set();
  readonly #fault: ProxyFault | undefined;
  #isFaulted = false;

  private constructor(targetPort: number, fault: ProxyFault | undefined) {
    this.#fault = fault;
    this.#server = createServer((client) => this.#accept(client, targetPort));
  }

  static async start(targetPort: number, fault?: ProxyFault): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort, fault);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Whether the fault has happened. */
  get isFaulted(): boolean {
    return this.#isFaulted;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #accept(client: Socket, targetPort: number): void {
    if (this.#isFaulted && this.#fault?.refuse === true) return void client.resetAndDestroy();
    const server = connect(targetPort, "127.0.0.1");
    this.#forward(client, server, "toServer");
    this.#forward(server, client, "toClient");
  }

  #forward(from: Socket, to: Socket, direction: ProxyFault["direction"]): void {
    this.#sockets.add(from);
    from.on("error", () => to.destroy());
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroy();
    });
    from.on("data", (bytes: Buffer) => {
      const left = this.#left(direction);
      if (bytes.length <= left) {
        this.passed[direction] += bytes.length;
        if (!to.write(bytes)) {
          from.pause();
          to.once("drain", () => from.resume());
        }
        return;
      }
      this.#isFaulted = true;
      this.passed[direction] += left;
      const fail = (): void => this.#fail(from, to);
      if (left > 0) to.write(bytes.subarray(0, left), fail);
      else fail();
    });
  }

  /** Bytes that may still pass. */
  #left(direction: ProxyFault["direction"]): number {
    const fault = this.#fault;
    if (this.#isFaulted || fault === undefined || fault.direction !== direction) return Number.POSITIVE_INFINITY;
    return fault.afterBytes - this.passed[direction];
  }

  #fail(from: Socket, to: Socket): void {
    if (this.#fault!.action === "stall") {
      for (const socket of [from, to]) socket.removeAllListeners("data").pause();
      return;
    }
    from.resetAndDestroy();
    to.resetAndDestroy();
  }
}
