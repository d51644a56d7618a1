import { expect, test } from "vitest";
import { type Logger, silentLogger } from "../../../../src/base/logger.ts";
import { Outages } from "../../../../src/engines/tikv/outages.ts";

function recorded(): { lines: string[]; outages: Outages } {
  const lines: string[] = [];
  const logger: Logger = {
    ...silentLogger,
    info: (text) => void lines.push(`info: ${text}`),
    warn: (text) => void lines.push(`warn: ${text}`),
  };
  return { lines, outages: new Outages(logger) };
}

test("a server that is away is told of once, and once when it is back", () => {
  const { lines, outages } = recorded();
  outages.failed("store 1", "127.0.0.1:1: no answer", 12_400);
  outages.failed("store 1", "127.0.0.1:1: no answer", 11_000);
  outages.answered("store 1", "127.0.0.1:2");
  outages.answered("store 1", "127.0.0.1:2");
  expect(lines).toEqual([
    "warn: TiKV: store 1 does not answer, trying again for 12 s: 127.0.0.1:1: no answer",
    "info: TiKV: store 1 answers again at 127.0.0.1:2",
  ]);
});

test("nothing is told of trying again when there is no time left for it", () => {
  const { lines, outages } = recorded();
  outages.failed("store 1", "127.0.0.1:1: no answer", -20_000);
  outages.answered("store 1", "127.0.0.1:1");
  expect(lines).toEqual([]);
});

test("a lock that may last is told of once, with the time after which a dead client's locks end", () => {
  const { lines, outages } = recorded();
  outages.locked(7n, 1_000);
  outages.locked(8n, 20_100);
  outages.locked(8n, 19_000);
  expect(lines).toEqual([
    "info: TiKV: waiting for transaction 8 of another client; if that has died, its locks end in 21 s",
  ]);
});
