import { expect } from "vitest";
import { EngineError } from "../../src/base/errors.ts";
import { type ProxyFault, TcpProxy } from "./tcp-proxy.ts";

/** What `work` throws, undefined when it succeeds. */
export async function errorOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** Throws what is no error of an engine; its code must match. */
export function expectEngineError(error: unknown, code: RegExp): void {
  if (!(error instanceof EngineError)) throw error ?? new Error("expected a failure");
  expect(error.code).toMatch(code);
}

/** Runs `work` on a server's port behind a proxy that breaks connections as told. */
export async function throughProxy<T>(
  port: number,
  fault: ProxyFault | undefined,
  work: (port: number, proxy: TcpProxy) => Promise<T>,
): Promise<T> {
  const proxy = await TcpProxy.start(port, fault);
  try {
    return await work(proxy.port, proxy);
  } finally {
    proxy.close();
  }
}
