import { type ClientDuplexStream, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { ProtobufWriter } from "../../base/protobuf.ts";
import { CallError, type GrpcConnection } from "./grpc-connection.ts";
import { answerError, readAnswer } from "./tikv-errors.ts";
import { composeTimestamp } from "./tikv-messages.ts";

interface Waiter {
  resolve(timestamp: bigint): void;
  reject(error: unknown): void;
}

/** Timestamps from one placement driver. Those asked for while an answer is out come together with the next one. */
export class TimestampStream {
  readonly connection: GrpcConnection;
  readonly #clusterId: bigint;
  readonly #timeoutMs: number;
  #stream: ClientDuplexStream<Buffer, Buffer> | undefined;
  #asked: Waiter[] = [];
  #waiting: Waiter[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(connection: GrpcConnection, clusterId: bigint, timeoutMs: number) {
    this.connection = connection;
    this.#clusterId = clusterId;
    this.#timeoutMs = timeoutMs;
  }

  /** Throws `CallError`. */
  next(): Promise<bigint> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      if (this.#asked.length === 0) this.#ask();
    });
  }

  /** Those who wait get a `CallError`, as from a connection that was lost. */
  close(): void {
    this.#fail(this.#error(status.UNAVAILABLE, "the connection was given up"));
  }

  #error(code: status, details: string): CallError {
    const error = Object.assign(new Error(details), { code, details, metadata: new Metadata() });
    return new CallError(this.connection.address, error, this.#timeoutMs);
  }

  #ask(): void {
    const stream = this.#open();
    this.#asked = this.#waiting;
    this.#waiting = [];
    const header = new ProtobufWriter(16).number(1, this.#clusterId);
    this.#timer = setTimeout(() => {
      this.#fail(this.#error(status.DEADLINE_EXCEEDED, "no timestamp in time"));
    }, this.#timeoutMs);
    stream.write(Buffer.from(new ProtobufWriter(32).message(1, header).number(2, this.#asked.length).written()));
  }

  #open(): ClientDuplexStream<Buffer, Buffer> {
    if (this.#stream !== undefined) return this.#stream;
    const stream = this.connection.stream("/pdpb.PD/Tso");
    this.#stream = stream;
    const isCurrent = (): boolean => this.#stream === stream;
    stream.on("data", (bytes: Buffer) => {
      if (isCurrent()) this.#answered(bytes);
    });
    stream.on("error", (error: ServiceError) => {
      if (isCurrent()) this.#fail(new CallError(this.connection.address, error, this.#timeoutMs));
    });
    stream.on("end", () => {
      if (isCurrent()) this.#fail(this.#error(status.UNAVAILABLE, "the stream of timestamps has ended"));
    });
    return stream;
  }

  #answered(bytes: Buffer): void {
    clearTimeout(this.#timer);
    const asked = this.#asked;
    this.#asked = [];
    try {
      const { count, last } = readTimestamps(this.connection.address, bytes);
      if (count !== asked.length) throw answerError(this.connection.address, `${count} timestamps for ${asked.length}`);
      // what is told is the last one of a row
      for (const [i, waiter] of asked.entries()) waiter.resolve(last - BigInt(asked.length - 1 - i));
    } catch (error) {
      for (const waiter of asked) waiter.reject(error);
    }
    if (this.#waiting.length > 0) this.#ask();
  }

  #fail(error: unknown): void {
    clearTimeout(this.#timer);
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.on("error", () => undefined).cancel();
    const failed = [...this.#asked, ...this.#waiting];
    this.#asked = [];
    this.#waiting = [];
    for (const waiter of failed) waiter.reject(error);
  }
}

/** pdpb.TsoResponse. */
function readTimestamps(address: string, bytes: Buffer): { count: number; last: bigint } {
  return readAnswer(address, bytes, (reader) => {
    let count = 0;
    let last = 0n;
    while (reader.next()) {
      if (reader.field === 2) count = reader.number();
      if (reader.field !== 3) continue;
      let [physical, logical] = [0n, 0n];
      const timestamp = reader.message();
      while (timestamp.next()) {
        if (timestamp.field === 1) physical = timestamp.int64();
        else if (timestamp.field === 2) logical = timestamp.int64();
      }
      last = composeTimestamp(physical, logical);
    }
    return { count, last };
  });
}
