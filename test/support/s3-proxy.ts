import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import type { AddressInfo } from "node:net";

/** What goes wrong with one request. Sizes are bytes of the body. */
export type S3Fault =
  /** The connection is reset when so much of the request has passed; the server never sees the rest. */
  | { readonly kind: "cut-request"; readonly afterBytes: number }
  /** The connection is reset when so much of the answer has passed. */
  | { readonly kind: "cut-answer"; readonly afterBytes: number }
  /** Nothing more of the answer passes, with 0 not even its head, and the connection stays. */
  | { readonly kind: "stall"; readonly afterBytes: number }
  /** The answer comes late. */
  | { readonly kind: "delay"; readonly ms: number }
  /** One bit of the answer's byte at this place is another. */
  | { readonly kind: "corrupt-answer"; readonly at: number }
  /** One bit of the request's byte at this place is another. */
  | { readonly kind: "corrupt-request"; readonly at: number }
  /** The answer ends properly after so many bytes, and does not tell its size. */
  | { readonly kind: "truncate"; readonly afterBytes: number }
  /** The server does what was asked for, and its answer is lost. */
  | { readonly kind: "lose-answer" }
  /** The server is not asked, and nothing is answered. */
  | { readonly kind: "swallow" }
  /** The server is not asked. */
  | { readonly kind: "answer"; readonly status: number; readonly body: string }
  /** The server is not asked; `serve` gets the body of the request, and tells what is answered. */
  | { readonly kind: "serve"; readonly serve: (path: string, body: Buffer) => Promise<ServedAnswer> };

export interface ServedAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
}

export interface S3Rule {
  /** `PUT /bucket/vol/key?partNumber=2` matches a part of that text. */
  readonly on: RegExp;
  readonly fault: S3Fault;
  /** How many requests it happens to; all when not given. */
  readonly times?: number;
  /** Called when it happens. */
  readonly onHit?: () => void;
}

/** An HTTP proxy of its own before a server on this machine that spoils what the rules say. */
export class S3Proxy {
  /** Requests that came, as `METHOD path?query`. */
  readonly requests: string[] = [];
  /** Headers of the requests, in the same order. */
  readonly headers: IncomingMessage["headers"][] = [];
  #rules: { rule: S3Rule; left: number }[] = [];
  readonly #server: Server;
  readonly #agent: Agent = new Agent({ keepAlive: false });
  readonly #targetPort: number;

  private constructor(targetPort: number, rules: readonly S3Rule[], tls: ServerOptions | undefined) {
    this.#targetPort = targetPort;
    this.setRules(rules);
    const handle = (incoming: IncomingMessage, answer: ServerResponse): void => this.#handle(incoming, answer);
    this.#server = tls === undefined ? createServer(handle) : createTlsServer(tls, handle);
  }

  /** With `tls` it is spoken to by TLS. */
  static async start(targetPort: number, rules: readonly S3Rule[] = [], tls?: ServerOptions): Promise<S3Proxy> {
    const proxy = new S3Proxy(targetPort, rules, tls);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** From now on these, in place of those before. */
  setRules(rules: readonly S3Rule[]): void {
    this.#rules = rules.map((rule) => ({ rule, left: rule.times ?? Number.POSITIVE_INFINITY }));
  }

  /** Connections that are open now. */
  connections(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
    });
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
    this.#agent.destroy();
  }

  #faultFor(text: string): S3Fault | undefined {
    const found = this.#rules.find(({ rule, left }) => left > 0 && rule.on.test(text));
    if (found === undefined) return undefined;
    found.left--;
    found.rule.onHit?.();
    return found.rule.fault;
  }

  #handle(incoming: IncomingMessage, answer: ServerResponse): void {
    const text = `${incoming.method} ${incoming.url}`;
    this.requests.push(text);
    this.headers.push(incoming.headers);
    const fault = this.#faultFor(text);
    incoming.on("error", () => undefined);
    answer.on("error", () => undefined);
    if (fault?.kind === "swallow") return void incoming.resume();
    if (fault?.kind === "answer") {
      incoming.resume().on("end", () => {
        answer.writeHead(fault.status, { "content-type": "application/xml" });
        answer.end(fault.body);
      });
      return;
    }
    if (fault?.kind === "serve") {
      const pieces: Buffer[] = [];
      incoming.on("data", (piece: Buffer) => pieces.push(piece));
      incoming.on("end", async () => {
        const { status, headers } = await fault.serve(incoming.url ?? "", Buffer.concat(pieces));
        answer.writeHead(status, headers).end();
      });
      return;
    }
    const { method, url, headers } = incoming;
    const outgoing = request({
      host: "127.0.0.1",
      port: this.#targetPort,
      method,
      path: url,
      headers,
      agent: this.#agent,
    });
    outgoing.on("error", () => answer.destroy());
    outgoing.on("response", (response) => this.#answer(response, answer, fault));
    answer.on("close", () => outgoing.destroy());
    let passed = 0;
    incoming.on("data", (piece: Buffer) => {
      const before = passed;
      passed += piece.length;
      if (fault?.kind === "cut-request" && passed > fault.afterBytes) {
        outgoing.destroy();
        incoming.socket.resetAndDestroy();
        return;
      }
      const sent = fault?.kind === "corrupt-request" ? withOtherBit(piece, fault.at - before) : piece;
      if (outgoing.write(sent)) return;
      incoming.pause();
      outgoing.once("drain", () => incoming.resume());
    });
    incoming.on("end", () => outgoing.end());
  }

  #answer(response: IncomingMessage, answer: ServerResponse, fault: S3Fault | undefined): void {
    const cut = (): void => void answer.socket?.resetAndDestroy();
    response.on("error", () => answer.destroy());
    if (fault?.kind === "lose-answer") {
      response.resume().on("end", cut);
      return;
    }
    if (fault?.kind === "delay") {
      response.pause();
      setTimeout(() => this.#answer(response, answer, undefined), fault.ms);
      return;
    }
    if (fault?.kind === "stall" && fault.afterBytes === 0) return;
    const headers = { ...response.headers };
    if (fault?.kind === "truncate") delete headers["content-length"];
    answer.writeHead(response.statusCode ?? 500, headers);
    answer.flushHeaders();
    let passed = 0;
    response.on("data", (piece: Buffer) => {
      const before = passed;
      passed += piece.length;
      const isOver = fault !== undefined && "afterBytes" in fault && passed > fault.afterBytes;
      if (isOver) {
        response.removeAllListeners("data").removeAllListeners("end").pause();
        answer.write(piece.subarray(0, fault.afterBytes - before), () => {
          if (fault.kind === "cut-answer") cut();
          if (fault.kind === "truncate") answer.end();
        });
        return;
      }
      const sent = fault?.kind === "corrupt-answer" ? withOtherBit(piece, fault.at - before) : piece;
      if (answer.write(sent)) return;
      response.pause();
      answer.once("drain", () => response.resume());
    });
    response.on("end", () => answer.end());
  }
}

function withOtherBit(piece: Buffer, at: number): Buffer {
  if (at < 0 || at >= piece.length) return piece;
  const copy = Buffer.from(piece);
  copy[at]! ^= 1;
  return copy;
}
