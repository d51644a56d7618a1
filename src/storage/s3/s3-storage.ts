import { setTimeout as sleep } from "node:timers/promises";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  type StorageClass,
} from "@aws-sdk/client-s3";
import { abortable } from "../../base/abortable.ts";
import { crc32c } from "../../base/crc32c.ts";
import { DataError, NotFoundError, StorageError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { effectiveTiers, type Setting } from "../../volume/setting.ts";
import {
  firstForeignObject,
  type GetStreamOptions,
  type ListedObject,
  type ObjectInfo,
  type ObjectStorage,
  readWhole,
} from "../object-storage.ts";
import { type UploadTarget, uploadParts } from "./multipart-upload.ts";
import { FIRST_PART_BYTES, fillParts } from "./part-buffers.ts";
import { parseS3Address, type S3Type } from "./s3-address.ts";
import { S3Bucket } from "./s3-bucket.ts";
import { createS3Client, S3_TIMING, type S3Timing } from "./s3-client.ts";
import { isWorthRepeating } from "./s3-errors.ts";

export interface S3StorageOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly logger: Logger;
  readonly timing?: Partial<S3Timing>;
}

/** How often reading is taken up again without a single byte in between. */
const MAX_FRUITLESS = 4;

/** User metadata with the CRC-32C of what is stored, in decimal digits (docs/spec/object-storage.md §4). */
const CHECKSUM = "crc32c";

/**
 * The bucket of a volume whose secrets are in clear, on a server that speaks the protocol of S3. Throws `UsageError` for an
 * address or keys that cannot be used. Nothing is asked of the server yet.
 */
export async function openS3Storage(type: S3Type, setting: Setting, options: S3StorageOptions): Promise<ObjectStorage> {
  const address = parseS3Address(type, setting.bucket, options.env);
  const timing = { ...S3_TIMING, ...options.timing };
  const client = await createS3Client(type, address, setting, { env: options.env, timing });
  const bucket = new S3Bucket(client, {
    bucket: address.bucket,
    prefix: `${setting.name}/`,
    displayName: `${type}://${address.shown}/${setting.name}/`,
    timing,
    secrets: [setting.secretKey, setting.sessionToken],
  });
  const tier = effectiveTiers(setting).get("0");
  const written = {
    ...(tier?.storageClass ? { StorageClass: tier.storageClass as StorageClass } : {}),
    ...(tier?.tag ? { Tagging: escapedTag(tier.tag) } : {}),
  };
  return new S3Storage(bucket, written, !address.parameters.noChecksum, options.logger);
}

/** `key=value` as a part of a URL. */
function escapedTag(tag: string): string {
  const end = tag.indexOf("=");
  const parts = end < 0 ? [tag, ""] : [tag.slice(0, end), tag.slice(end + 1)];
  return parts.map(encodeURIComponent).join("=");
}

class S3Storage implements ObjectStorage {
  readonly displayName: string;
  readonly #bucket: S3Bucket;
  readonly #written: UploadTarget["options"];
  readonly #hasChecksums: boolean;
  readonly #logger: Logger;

  constructor(bucket: S3Bucket, written: UploadTarget["options"], hasChecksums: boolean, logger: Logger) {
    this.displayName = bucket.displayName;
    this.#bucket = bucket;
    this.#written = written;
    this.#hasChecksums = hasChecksums;
    this.#logger = logger;
  }

  async create(signal: AbortSignal): Promise<void> {
    try {
      await this.#bucket.run("create the bucket of", "", signal, (client, options) =>
        client.send(new CreateBucketCommand({ Bucket: this.#bucket.name }), options),
      );
    } catch (error) {
      const { name = "" } = ((error as Error).cause ?? {}) as Error;
      if (!["BucketAlreadyExists", "BucketAlreadyOwnedByYou"].includes(name)) throw error;
    }
  }

  async put(key: string, data: Buffer, signal: AbortSignal): Promise<void> {
    const head = {
      ...this.#bucket.place(key),
      ...this.#written,
      ContentType: "application/octet-stream",
      ...(this.#hasChecksums ? { Metadata: { [CHECKSUM]: String(crc32c(data)) } } : {}),
    };
    await this.#bucket.run("write", key, signal, (client, options) =>
      client.send(new PutObjectCommand({ ...head, Body: data, ContentLength: data.length }), options),
    );
  }

  async putStream(
    key: string,
    pieces: AsyncIterable<Buffer>,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<{ bytes: number }> {
    const free: Buffer[] = [];
    const parts = fillParts(abortable(pieces, signal), free);
    try {
      const first = await nextPart(parts);
      const second = first.length < FIRST_PART_BYTES ? NOTHING : await nextPart(parts);
      if (second.length === 0) {
        await this.put(key, first, signal);
        return { bytes: first.length };
      }
      const target = {
        key,
        options: this.#written,
        free,
        warn: (message: string): void => this.#logger.warn(message),
      };
      return { bytes: await uploadParts(this.#bucket, target, chain([first, second], parts), signal) };
    } finally {
      await parts.return(undefined); // the source learns that nothing more is wanted
    }
  }

  get(key: string, signal: AbortSignal): Promise<Buffer> {
    return readWhole(this, key, signal);
  }

  /** A connection that breaks or stalls is replaced, and reading goes on where it was, if the object is still the same. */
  async *getStream(key: string, { signal }: GetStreamOptions): AsyncGenerator<Buffer> {
    const reading: Reading = { offset: 0, checksum: 0, etag: undefined, size: undefined, expected: undefined };
    for (let fruitless = 0; ; fruitless++) {
      const before = reading.offset;
      try {
        yield* this.#readOn(key, reading, signal);
        break;
      } catch (error) {
        signal.throwIfAborted();
        if (reading.offset > before) fruitless = 0;
        if (reading.etag === undefined || !isWorthRepeating(error) || fruitless >= MAX_FRUITLESS) throw error;
        await sleep(this.#bucket.timing.resumePauseMs * 2 ** fruitless, undefined, { signal });
      }
    }
    if (reading.expected !== undefined && reading.expected !== reading.checksum) {
      throw new DataError(
        "DECANT_E_OBJECT_CHECKSUM",
        `Cannot read ${this.#bucket.nameOf(key)}: its CRC-32C is ${reading.checksum}, and was ${reading.expected} when it was written`,
        { hint: "It was damaged in the bucket or on its way; read it again, or take another one", retryable: true },
      );
    }
  }

  async head(key: string, signal: AbortSignal): Promise<ObjectInfo | undefined> {
    try {
      const { ContentLength, LastModified } = await this.#bucket.run("look at", key, signal, (client, options) =>
        client.send(new HeadObjectCommand(this.#bucket.place(key)), options),
      );
      return { size: ContentLength ?? 0, modified: LastModified ?? new Date(0) };
    } catch (error) {
      if (error instanceof NotFoundError) return undefined;
      throw error;
    }
  }

  async *list(prefix: string, { signal }: { readonly signal: AbortSignal }): AsyncGenerator<ListedObject> {
    const { name, prefix: own } = this.#bucket;
    let token: string | undefined;
    do {
      const request = {
        Bucket: name,
        Prefix: own + prefix,
        ...(token === undefined ? {} : { ContinuationToken: token }),
      };
      const page: ListObjectsV2CommandOutput = await this.#bucket.run("list", prefix, signal, (client, options) =>
        client.send(new ListObjectsV2Command(request), options),
      );
      if (page.Name === undefined && page.KeyCount === undefined && page.IsTruncated === undefined) {
        throw new StorageError(
          "DECANT_E_OBJECT_STORAGE",
          `Cannot list ${this.#bucket.nameOf(prefix)}: what the server answers is no listing`,
          { hint: "Check the address of the bucket: it may be that of another kind of server" },
        );
      }
      for (const { Key = "", Size = 0, LastModified = new Date(0) } of page.Contents ?? []) {
        const isOwn = Key.startsWith(own + prefix) && !Key.endsWith("/");
        if (isOwn) yield { key: Key.slice(own.length), size: Size, modified: LastModified };
      }
      const next = page.IsTruncated === true ? page.NextContinuationToken : undefined;
      if (page.IsTruncated === true && (next === undefined || next === token)) {
        throw new StorageError(
          "DECANT_E_OBJECT_STORAGE",
          `Cannot list ${this.#bucket.nameOf(prefix)}: the server says that there is more, but not where to go on`,
        );
      }
      token = next;
    } while (token !== undefined);
  }

  /** Servers of this kind have no folders that could stay. */
  async delete(key: string, signal: AbortSignal): Promise<void> {
    const place = this.#bucket.place(key);
    if (key.endsWith("/")) return;
    try {
      await this.#bucket.run("delete", key, signal, (client, options) =>
        client.send(new DeleteObjectCommand(place), options),
      );
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
  }

  findForeignObject(signal: AbortSignal): Promise<string | undefined> {
    return firstForeignObject(this, signal);
  }

  async close(): Promise<void> {
    this.#bucket.close();
  }

  /** Reads from `reading.offset` to the end. Throws `StorageError` when the connection ends before. */
  async *#readOn(key: string, reading: Reading, signal: AbortSignal): AsyncGenerator<Buffer> {
    const { offset, etag } = reading;
    const isAgain = etag !== undefined;
    // A range from the end on would be refused.
    if (isAgain && offset === reading.size) return;
    const request = {
      ...this.#bucket.place(key),
      ...(isAgain ? { IfMatch: etag } : {}),
      ...(offset > 0 ? { Range: `bytes=${offset}-` } : {}),
    };
    const answer = await this.#bucket.run("read", key, signal, (client, options) =>
      client.send(new GetObjectCommand(request), options),
    );
    const body = answer.Body as AsyncIterable<Buffer> & { destroy(): void };
    try {
      if (!isAgain) {
        reading.etag = answer.ETag;
        reading.size = answer.ContentLength ?? (await this.head(key, signal))?.size;
        reading.expected = this.#hasChecksums ? checksumOf(answer.Metadata) : undefined;
      } else if (offset > 0 && !answer.ContentRange?.startsWith(`bytes ${offset}-`)) {
        throw this.#broken(key, reading, "the server does not go on where it was asked to", false);
      }
      for await (const piece of abortable(body, signal)) {
        reading.offset += piece.length;
        reading.checksum = reading.expected === undefined ? 0 : crc32c(piece, reading.checksum);
        yield piece;
      }
    } catch (error) {
      throw this.#bucket.error("read", key, error);
    } finally {
      body.destroy();
    }
    const { size } = reading;
    if (size !== undefined && reading.offset !== size) throw this.#broken(key, reading, "the connection ended", true);
  }

  #broken(key: string, { offset, size }: Reading, reason: string, retryable: boolean): StorageError {
    const message = `Cannot read ${this.#bucket.nameOf(key)}: ${reason} after ${offset} of ${size ?? "?"} bytes`;
    return new StorageError("DECANT_E_STORAGE_UNREACHABLE", message, {
      retryable,
      hint: "Check the network and the server, and repeat",
    });
  }
}

/** How far an object was read. */
interface Reading {
  offset: number;
  checksum: number;
  etag: string | undefined;
  size: number | undefined;
  /** The checksum that it must have; undefined when there is none. */
  expected: number | undefined;
}

function checksumOf(metadata: Readonly<Record<string, string>> | undefined): number | undefined {
  const text = metadata?.[CHECKSUM] ?? "";
  return /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}

const NOTHING: Buffer = Buffer.alloc(0);

async function nextPart(parts: AsyncGenerator<Buffer>): Promise<Buffer> {
  const next = await parts.next();
  return next.done === true ? NOTHING : next.value;
}

async function* chain(first: readonly Buffer[], rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield* first;
  yield* rest;
}
