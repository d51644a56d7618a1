import net from "node:net";
import { ACCOUNT_LENGTH, ACCOUNTS, attributeOf, inodesOf, PAIRS } from "./redis-model.ts";

/**
 * A process that changes the model (redis-model.ts) until its input ends:
 *
 *     node redis-model-writer.ts <port> <number of the writer> <prefix of keys> <transactions on their way> <pause in ms>
 *
 * It says `ready` when its part of the model is there, and at the end how many transactions were done.
 */
const [port, writer, prefix = "", depth = "4", pauseMs = "0"] = process.argv.slice(2);
const inodes = inodesOf(Number(writer));
const socket = net.connect(Number(port), "127.0.0.1");
const lengths = Array.from({ length: ACCOUNTS }, () => ACCOUNT_LENGTH);
const pairs = new Set<number>();
let sequence = 0;
let done = 0;
let isEnding = false;

type Command = readonly (string | number | Buffer)[];

function encode(commands: readonly Command[]): Buffer {
  const parts: Buffer[] = [];
  for (const command of commands) {
    parts.push(Buffer.from(`*${command.length}\r\n`));
    for (const argument of command) {
      const bytes = Buffer.isBuffer(argument) ? argument : Buffer.from(String(argument));
      parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from("\r\n"));
    }
  }
  return Buffer.concat(parts);
}

const k = (name: string): string => prefix + name;

function number64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

function entry(inode: number): Buffer {
  return Buffer.concat([Buffer.of(1), number64(inode)]);
}

function transfer(): Command[] {
  const [a, b] = [Math.floor(Math.random() * ACCOUNTS), Math.floor(Math.random() * ACCOUNTS)];
  const amount = Math.floor(Math.random() * 10);
  if (a === b || lengths[a]! < amount) return [];
  lengths[a] = lengths[a]! - amount;
  lengths[b] = lengths[b]! + amount;
  return [a, b].map((i) => ["SET", k(`i${inodes.account(i)}`), attributeOf(lengths[i]!)]);
}

function advance(): Command[] {
  const n = ++sequence;
  const at = inodes.sequence;
  const slice = Buffer.concat([Buffer.alloc(4), number64(n), Buffer.alloc(12)]);
  const limits = Buffer.concat([number64(n), number64(n)]);
  return [
    ["SET", k(`i${at}`), attributeOf(n)],
    ["HSET", k(`x${at}`), "sequence", number64(n)],
    ["DEL", k(`c${at}_0`), k(`c${at}_40`), k(`session${at}`), k(`d${at}`)],
    ["RPUSH", k(`c${at}_0`), slice],
    ["RPUSH", k(`c${at}_40`), slice],
    ["SADD", k(`session${at}`), n],
    ["HSET", k(`d${at}`), `at ${n}`, entry(n)],
    ["SET", k(`s${at}`), n],
    ["HSET", k(`p${at}`), 1, n],
    ...["dirDataLength", "dirUsedSpace", "dirUsedInodes", "dirQuotaUsedSpace", "dirQuotaUsedInodes"].map((name) => [
      "HSET",
      k(name),
      at,
      n,
    ]),
    ["HSET", k("dirQuota"), at, limits],
    ["ZADD", k("delfiles"), n, `${at}:1`],
    ["HSET", k("sliceRef"), `k${at}_1`, n],
    ["HSET", k("acl"), at, limits.subarray(4)],
    ["INCR", k("usedSpace")],
    ["INCR", k("nextchunk")],
  ];
}

function togglePair(): Command[] {
  const i = Math.floor(Math.random() * PAIRS);
  const inode = inodes.pair(i);
  if (pairs.delete(i)) {
    return [
      ["DEL", k(`i${inode}`), k(`x${inode}`)],
      ["HDEL", k(`d${inodes.directory}`), `pair ${i}`],
    ];
  }
  pairs.add(i);
  return [
    ["HSET", k(`d${inodes.directory}`), `pair ${i}`, entry(inode)],
    ["SET", k(`i${inode}`), attributeOf(i)],
    ["HSET", k(`x${inode}`), "pair", "x"],
  ];
}

let replies = "";
let waiting = 0;

function send(commands: readonly Command[]): void {
  waiting++;
  socket.write(encode([["MULTI"], ...commands, ["EXEC"], ["ECHO", "=done="]]));
}

function next(): void {
  const roll = Math.random();
  send(roll < 0.5 ? transfer() : roll < 0.7 ? advance() : togglePair());
}

function finish(): void {
  if (waiting > 0) return;
  process.stdout.write(`${done}\n`, () => process.exit(0));
}

socket.on("data", (chunk) => {
  replies = (replies + chunk.toString("latin1")).slice(-1_000_000);
  if (/^-|\r\n-/.test(replies)) {
    console.error(replies.slice(0, 500));
    process.exit(1);
  }
  const parts = replies.split("=done=");
  replies = parts.pop()!;
  for (const _ of parts) {
    waiting--;
    if (done++ === 0) process.stdout.write("ready\n");
    if (isEnding) finish();
    else if (Number(pauseMs) > 0) setTimeout(next, Number(pauseMs));
    else next();
  }
  if (waiting === 0 && !isEnding && Number(pauseMs) === 0) next();
});

send([...lengths.map((length, i): Command => ["SET", k(`i${inodes.account(i)}`), attributeOf(length)]), ...advance()]);
for (let i = 1; i < Number(depth); i++) next();
process.stdin.resume();
process.stdin.on("end", () => {
  isEnding = true;
  finish();
});
