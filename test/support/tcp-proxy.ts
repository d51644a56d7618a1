import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** What happens to a connection at a certain point of what goes that way. */
export interface ProxyFault {
  readonly direction: "toServer" | "toClient";
  /** The point: when so many bytes have passed, counted over all connections. */
  readonly afterBytes?: number;
  /** The point: before this text, which comes in one piece. */
  readonly beforeText?: string;
  /**
   * `cut`: the connection is reset. `stall`: it stays, but nothing passes any more. `hold`: what goes in this direction is dropped, but
   * each side sees when the other one ends.
   */
  readonly action: "cut" | "stall" | "hold";
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
  #heldPort: number | undefined;

  private constructor(targetPort: number, fault: ProxyFault | undefined) {
    this.#fault = fault;
    this.#server = createServer((client) => this.#accept(client, targetPort));
  }

  static async start(targetPort: number, fault?: ProxyFault): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort, fault);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  /** From which port the server is spoken to by the connection that is held. */
  get heldPort(): number | undefined {
    return this.#heldPort;
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
      const left = this.#left(direction, bytes);
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

  /** How many of these bytes may still pass. */
  #left(direction: ProxyFault["direction"], bytes: Buffer): number {
    const fault = this.#fault;
    if (this.#isFaulted || fault === undefined || fault.direction !== direction) return Number.POSITIVE_INFINITY;
    const at = fault.beforeText === undefined ? -1 : bytes.indexOf(fault.beforeText);
    if (at >= 0) return at;
    return (fault.afterBytes ?? Number.POSITIVE_INFINITY) - this.passed[direction];
  }

  #fail(from: Socket, to: Socket): void {
    if (this.#fault!.action === "hold") {
      this.#heldPort = (this.#fault!.direction === "toClient" ? from : to).localPort;
      from.removeAllListeners("data").on("data", () => undefined); // who reads nothing does not see the end either
      return;
    }
    if (this.#fault!.action === "stall") {
      for (const socket of [from, to]) socket.removeAllListeners("data").pause();
      return;
    }
    from.resetAndDestroy();
    to.resetAndDestroy();
  }
}
