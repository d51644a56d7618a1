import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { UsageError } from "../base/errors.ts";
import { distinctLabels, metricsText } from "./metrics.ts";
import { healthOf, type VolumeStatus } from "./volume-status.ts";

export interface StatusSource {
  statuses(): readonly VolumeStatus[];
  now(): Date;
}

/**
 * `GET /metrics` for Prometheus and `GET /healthz`, 200 or 503 with the reasons as JSON. It tells what the agent knows; a request
 * reaches neither database nor bucket.
 */
export class StatusServer {
  readonly #source: StatusSource;
  readonly #server: Server;

  constructor(source: StatusSource) {
    this.#source = source;
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.requestTimeout = 10_000;
  }

  /** Returns the port: that of the system's choice for 0. Throws `UsageError` where it cannot listen. */
  async listen(host: string, port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) =>
        reject(
          new UsageError("DECANT_E_LISTEN", `Cannot listen on ${host}:${port}: ${error.code ?? error.message}`, {
            cause: error,
            hint: "Give --listen an address of this host and a port that is free",
          }),
        ),
      );
      this.#server.listen({ port, ...(host === "" ? {} : { host }) }, resolve);
    });
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? "").split("?", 1)[0];
    if (request.method !== "GET" && request.method !== "HEAD") return send(response, 405, "text/plain", "GET only\n");
    const { statuses, now } = { statuses: this.#source.statuses(), now: this.#source.now() };
    if (path === "/metrics") {
      return send(response, 200, "text/plain; version=0.0.4; charset=utf-8", metricsText(statuses, now));
    }
    if (path === "/healthz") {
      const { healthy, volumes } = healthJson(statuses, now);
      const body = `${JSON.stringify({ healthy, volumes }, undefined, 2)}\n`;
      return send(response, healthy ? 200 : 503, "application/json", body);
    }
    send(response, 404, "text/plain", "There are /metrics and /healthz\n");
  }
}

function send(response: ServerResponse, code: number, type: string, body: string): void {
  response.writeHead(code, { "content-type": type, "content-length": Buffer.byteLength(body) });
  response.end(body);
}

export interface HealthReport {
  readonly healthy: boolean;
  readonly volumes: readonly {
    readonly volume: string;
    readonly uuid: string | null;
    readonly healthy: boolean;
    readonly reasons: readonly string[];
    /** ISO 8601, UTC. */
    readonly lastSuccess: string | null;
    readonly ageSeconds: number | null;
  }[];
}

/** The document of `/healthz`: members are added, never changed or removed. */
export function healthJson(statuses: readonly VolumeStatus[], now: Date): HealthReport {
  const names = distinctLabels(statuses);
  const volumes = statuses.map((status, i) => {
    const last = status.bucket?.lastGood?.time;
    return {
      volume: names[i]!,
      uuid: status.uuid ?? null,
      ...healthOf(status, now),
      lastSuccess: last?.toISOString() ?? null,
      ageSeconds: last === undefined ? null : Math.round((now.getTime() - last.getTime()) / 1000),
    };
  });
  return { healthy: volumes.every(({ healthy }) => healthy), volumes };
}
