import { readFileSync, writeFileSync } from "node:fs";
import { request as requestPlain } from "node:http";
import { request as requestSecure } from "node:https";
import { join } from "node:path";
import { text as readText } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";

interface Pair {
  readonly key: Buffer;
  readonly value: Buffer;
}

interface RangeAnswer {
  readonly kvs?: readonly { key: string; value?: string }[];
}

const PUTS_PER_REQUEST = 100;

/** How long a cluster may take to choose a leader, and to find itself healthy. */
const LEADER_TIMEOUT_MS = 30_000;

/** Keys and values of an etcd server by the JSON gateway on its port: another way to it than the code under test. */
export class EtcdGateway {
  readonly #base: string;
  readonly #tls: { ca: Buffer; cert: Buffer; key: Buffer } | undefined;

  constructor(base: string, tlsDirectory?: string) {
    const file = (name: string): Buffer => readFileSync(join(tlsDirectory!, name));
    this.#base = base;
    this.#tls =
      tlsDirectory === undefined
        ? undefined
        : { ca: file("ca.crt"), cert: file("client.crt"), key: file("client.key") };
  }

  async isReady(): Promise<boolean> {
    try {
      await this.call("/v3/kv/range", { key: base64(Buffer.from("\0")), limit: 1 });
      return true;
    } catch {
      return false;
    }
  }

  /** One call of the gateway, again while the server has no leader yet: all of them may be made twice. Throws what it says. */
  async call(path: string, body: object): Promise<object> {
    for (const deadline = Date.now() + LEADER_TIMEOUT_MS; ; await sleep(100)) {
      const { status, text } = await this.#ask(path, body);
      if (status === 200) return JSON.parse(text) as object;
      if (status !== 503 || Date.now() > deadline) throw new Error(`etcd answers ${status}: ${text}`);
    }
  }

  #ask(path: string, body: object): Promise<{ status: number; text: string }> {
    return new Promise<{ status: number; text: string }>((resolve, reject) => {
      const options = { method: "POST", agent: false, timeout: 30_000 } as const;
      const url = `${this.#base}${path}`;
      const request =
        this.#tls === undefined ? requestPlain(url, options) : requestSecure(url, { ...options, ...this.#tls });
      request.on("error", reject);
      request.on("timeout", () => request.destroy(new Error("etcd does not answer")));
      request.on("response", (response) => {
        readText(response).then((text) => resolve({ status: response.statusCode ?? 0, text }), reject);
      });
      request.end(JSON.stringify(body));
    });
  }

  /** Pairs whose keys begin with the bytes, ascending. */
  async read(prefix: Buffer): Promise<Pair[]> {
    const range = { key: base64(prefix), range_end: base64(above(prefix)) };
    const { kvs = [] } = (await this.call("/v3/kv/range", range)) as RangeAnswer;
    return kvs.map(({ key, value }) => ({ key: bytes(key), value: bytes(value ?? "") }));
  }

  async write(pairs: readonly Pair[]): Promise<void> {
    for (let first = 0; first < pairs.length; first += PUTS_PER_REQUEST) {
      const some = pairs.slice(first, first + PUTS_PER_REQUEST);
      const success = some.map(({ key, value }) => ({ request_put: { key: base64(key), value: base64(value) } }));
      await this.call("/v3/kv/txn", { success });
    }
  }

  async remove(prefix: Buffer): Promise<void> {
    await this.call("/v3/kv/deleterange", { key: base64(prefix), range_end: base64(above(prefix)) });
  }

  /** The volume of a .etcd.jsonl file, under another prefix than the one it was made with. */
  async restore(file: string, prefix: string): Promise<void> {
    const start = volumePrefix(prefix);
    await this.write(readPairs(file).map(({ key, value }) => ({ key: Buffer.concat([start, key]), value })));
  }

  /** A volume as lines of key and value in hex, without the prefix: equal lines are equal volumes. */
  async readLines(prefix: string): Promise<string[]> {
    const start = volumePrefix(prefix);
    return (await this.read(start)).map(({ key, value }) => {
      return `${key.subarray(start.length).toString("hex")} ${value.toString("hex")}`;
    });
  }

  /** How many keys a volume has. */
  async count(prefix: string): Promise<number> {
    const start = volumePrefix(prefix);
    const range = { key: base64(start), range_end: base64(above(start)), count_only: true };
    return Number(((await this.call("/v3/kv/range", range)) as { count?: string }).count ?? 0);
  }

  /** Writes such a file, as the scripts of the fixtures do. */
  async export(file: string, prefix: string): Promise<void> {
    const lines = (await this.read(volumePrefix(prefix))).map(({ key, value }) => {
      return `{"key_b64": "${base64(key)}", "value_b64": "${base64(value)}"}\n`;
    });
    writeFileSync(file, lines.join(""));
  }
}

/** In front of the keys of a volume whose address ends with this path. */
export function volumePrefix(path: string): Buffer {
  return Buffer.concat([Buffer.from(path), Buffer.of(0xfd)]);
}

/** The pairs of a .etcd.jsonl file (test/fixtures/golden/README.md), keys without the prefix of its volume. */
export function readPairs(file: string): Pair[] {
  const lines = readFileSync(file, "utf8").split("\n");
  const parsed = lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, string>);
  return parsed.map((line) => {
    const key = bytes(line.key_b64!);
    return { key: key.subarray(key.indexOf(0xfd) + 1), value: bytes(line.value_b64!) };
  });
}

function above(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  end[end.length - 1]!++;
  return end;
}

function base64(value: Buffer): string {
  return value.toString("base64");
}

function bytes(text: string): Buffer {
  return Buffer.from(text, "base64");
}
