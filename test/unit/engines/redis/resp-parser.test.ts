import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EngineError } from "../../../../src/base/errors.ts";
import { describeCommand } from "../../../../src/engines/redis/command-pipe.ts";
import { encodeCommand } from "../../../../src/engines/redis/command-writer.ts";
import {
  decodeReply,
  type Reply,
  ReplyFailure,
  RespParser,
  TokenCursor,
} from "../../../../src/engines/redis/resp-parser.ts";

const WIRE = Buffer.from("+OK\r\n:-12\r\n$3\r\na\r\n\r\n$-1\r\n*2\r\n*-1\r\n*2\r\n$0\r\n\r\n:7\r\n-ERR no\r\n*0\r\n");
const REPLIES: Reply[] = [
  Buffer.from("OK"),
  -12n,
  Buffer.from("a\r\n"),
  null,
  [null, [Buffer.alloc(0), 7n]],
  new ReplyFailure("ERR no"),
  [],
];

/** All replies of a wire that comes in pieces, in blocks of at most `perBlock`. */
function parseAll(pieces: Buffer[], total: number, perBlock: number, capacity: number): Reply[] {
  const parser = new RespParser(capacity);
  const replies: Reply[] = [];
  while (replies.length < total) {
    parser.begin();
    let block = parser.parse(Math.min(perBlock, total - replies.length), Number.POSITIVE_INFINITY);
    while (block === undefined) {
      parser.push(pieces.shift()!);
      block = parser.parse(Math.min(perBlock, total - replies.length), Number.POSITIVE_INFINITY);
    }
    const cursor = new TokenCursor(block);
    for (let i = 0; i < block.replies; i++) replies.push(decodeReply(cursor));
  }
  return replies;
}

describe("Redis replies", () => {
  test("are the same however they are cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: WIRE.length - 1 }), { maxLength: 12 }),
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 1, max: 64 }),
        (cuts, perBlock, capacity) => {
          const edges = [0, ...new Set(cuts.sort((a, b) => a - b)), WIRE.length];
          const pieces = edges.slice(1).map((end, i) => WIRE.subarray(edges[i]!, end));
          expect(parseAll(pieces, REPLIES.length, perBlock, capacity)).toEqual(REPLIES);
        },
      ),
    );
  });

  test("end a block when it has bytes enough", () => {
    const parser = new RespParser();
    parser.push(WIRE);
    parser.begin();
    expect(parser.parse(100, 6)).toMatchObject({ replies: 2 });
    parser.begin();
    expect(parser.parse(100, 1)).toMatchObject({ replies: 1, tokenCount: 1 });
  });

  test("in use stay as they are, however much comes in behind them", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 200 }), { minLength: 1, maxLength: 40 }),
        fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 20 }),
        fc.integer({ min: 1, max: 64 }),
        (sizes, cuts, capacity) => {
          const texts = sizes.map((size, i) => Buffer.alloc(size, i + 1));
          const wire = Buffer.concat(texts.map((text) => encodeCommand([text])));
          const parser = new RespParser(capacity);
          let sent = 0;
          const push = (turn: number): void => {
            const end = Math.min(wire.length, sent + cuts[turn % cuts.length]!);
            parser.push(wire.subarray(sent, end));
            sent = end;
          };
          for (const [i, text] of texts.entries()) {
            parser.begin();
            let block = parser.parse(1, Number.POSITIVE_INFINITY);
            for (let turn = i; block === undefined; turn++) {
              push(turn);
              block = parser.parse(1, Number.POSITIVE_INFINITY);
            }
            for (let turn = 0; turn < 5; turn++) push(i + turn);
            expect(decodeReply(new TokenCursor(block))).toEqual([text]);
          }
        },
      ),
    );
  });

  test("of another protocol are an error that says so", () => {
    for (const wire of ["HTTP/1.1 400", "\x15\x03\x01\x00\x02\x02", "$5x\r\nhello\r\n\r\n"]) {
      const parser = new RespParser();
      parser.push(Buffer.from(wire, "latin1"));
      parser.begin();
      expect(() => parser.parse(1, 1)).toThrow(EngineError);
    }
  });

  test("name the command that failed", () => {
    const commands = [["SET", "i1", "v\r\n"], ["HSET", "d5", "n", "v"], ["PING"]].map((args) => encodeCommand(args));
    const bytes = Buffer.concat(commands);
    expect([0, 1, 2].map((index) => describeCommand(bytes, index))).toEqual(["SET i1", "HSET d5", "PING"]);
  });
});
