import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  type StorageClass,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { DecantError, errorText, NotFoundError, StorageError } from "../../base/errors.ts";
import { MAX_PARTS, wholeOf } from "./part-buffers.ts";
import type { S3Bucket } from "./s3-bucket.ts";

/** Parts on their way while another is being filled; large ones go one at a time. */
const MAX_IN_FLIGHT = 2;
const LARGE_PART_BYTES = 32 * 1024 * 1024;

/** User metadata by which an upload whose answer was lost is found again. */
const MARK = "decant-upload";

const CLEAN_UP_TIMEOUT_MS = 30_000;
/** Before each try; the last ones are only needed while a server does not say that there is no such upload any more. */
const TAKE_BACK_PAUSES_MS = [0, 100, 1000, 3000];

export interface UploadTarget {
  readonly key: string;
  /** Storage class, tag and the like. */
  readonly options: { readonly StorageClass?: StorageClass; readonly Tagging?: string };
  /** Where the memory of parts goes that have arrived. */
  readonly free: Buffer[];
  readonly warn: (message: string) => void;
}

/**
 * Uploads `parts` (fillParts) and returns the size. On any error the upload is taken back: nothing of it stays.
 */
export async function uploadParts(
  bucket: S3Bucket,
  target: UploadTarget,
  parts: AsyncIterable<Buffer>,
  signal: AbortSignal,
): Promise<number> {
  const mark = randomUUID();
  const place = bucket.place(target.key);
  const head = { ...place, ...target.options, ContentType: "application/octet-stream", Metadata: { [MARK]: mark } };
  const created = await bucket.run("write", target.key, signal, (client, options) =>
    client.send(new CreateMultipartUploadCommand(head), options),
  );
  if (created.UploadId === undefined) {
    throw new StorageError("DECANT_E_OBJECT_STORAGE", `Cannot write ${bucket.nameOf(target.key)}: no upload was begun`);
  }
  const upload = { ...place, UploadId: created.UploadId };
  try {
    const sent = await sendParts(bucket, target, upload, parts, signal);
    await complete(bucket, target.key, upload, sent.etags, signal).catch(async (error: unknown) => {
      // The server may have done it, and its answer was lost; a repetition then finds no such upload.
      const found = await findOwn(bucket, target.key, mark, signal).catch(() => undefined);
      if (found === undefined) throw error;
    });
    await verify(bucket, target.key, mark, sent.bytes, signal);
    return sent.bytes;
  } catch (error) {
    await takeBack(bucket, target, upload);
    throw error;
  }
}

interface Upload {
  readonly Bucket: string;
  readonly Key: string;
  readonly UploadId: string;
}

/** Tags of the parts, and the size of them all. The first part that fails ends the others. */
async function sendParts(
  bucket: S3Bucket,
  { key, free }: UploadTarget,
  upload: Upload,
  parts: AsyncIterable<Buffer>,
  signal: AbortSignal,
): Promise<{ etags: string[]; bytes: number }> {
  const failure = new AbortController();
  const ended = AbortSignal.any([signal, failure.signal]);
  const etags: string[] = [];
  const inFlight = new Set<Promise<void>>();
  let bytes = 0;
  let count = 0;
  const send = async (index: number, body: Buffer): Promise<void> => {
    const part = { ...upload, PartNumber: index + 1, Body: body, ContentLength: body.length };
    const { ETag } = await bucket.run("write", key, ended, (client, options) =>
      client.send(new UploadPartCommand(part), options),
    );
    if (ETag === undefined) {
      throw new StorageError("DECANT_E_OBJECT_STORAGE", `Cannot write ${bucket.nameOf(key)}: a part got no ETag`);
    }
    etags[index] = ETag;
    free.push(wholeOf(body));
  };
  try {
    for await (const body of parts) {
      if (count === MAX_PARTS) throw tooLarge(bucket.nameOf(key));
      const sending = send(count++, body).finally(() => inFlight.delete(sending));
      sending.catch((error: unknown) => failure.abort(error));
      inFlight.add(sending);
      bytes += body.length;
      const limit = body.length >= LARGE_PART_BYTES ? 1 : MAX_IN_FLIGHT;
      while (inFlight.size >= limit) await Promise.race(inFlight);
    }
    await Promise.all(inFlight);
    return { etags, bytes };
  } catch (error) {
    await Promise.allSettled(inFlight); // a part that arrives after the upload was taken back would stay
    throw failure.signal.aborted ? failure.signal.reason : error;
  }
}

async function complete(
  bucket: S3Bucket,
  key: string,
  upload: Upload,
  etags: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const Parts = etags.map((ETag, index) => ({ ETag, PartNumber: index + 1 }));
  const command = new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } });
  await bucket.run("write", key, signal, (client, options) => client.send(command, options));
}

const VERIFY_TRIES = 3;

/** What is to be seen afterwards must be what was sent: an answer alone proves little. */
async function verify(bucket: S3Bucket, key: string, mark: string, bytes: number, signal: AbortSignal): Promise<void> {
  for (let i = 1; ; i++) {
    const found = await findOwn(bucket, key, mark, signal);
    if (found?.size === bytes) return;
    if (found !== undefined || i === VERIFY_TRIES) {
      const seen = found === undefined ? "it is not there" : `it has ${found.size} bytes instead of ${bytes}`;
      throw new StorageError(
        "DECANT_E_OBJECT_STORAGE",
        `Cannot write ${bucket.nameOf(key)}: the server said that it is complete, but ${seen}`,
        { retryable: true, hint: "Another program may write the same object; if not, the server cannot be trusted" },
      );
    }
    await sleep(bucket.timing.resumePauseMs * i, undefined, { signal });
  }
}

/** The object of that key when it was made by the upload with this mark. */
async function findOwn(
  bucket: S3Bucket,
  key: string,
  mark: string,
  signal: AbortSignal,
): Promise<{ size: number } | undefined> {
  try {
    const { ContentLength, Metadata } = await bucket.run("look at", key, signal, (client, options) =>
      client.send(new HeadObjectCommand(bucket.place(key)), options),
    );
    return Metadata?.[MARK] === mark ? { size: ContentLength ?? 0 } : undefined;
  } catch (error) {
    if (error instanceof NotFoundError) return undefined;
    throw error;
  }
}

/** Parts whose requests were ended may still be on their way into the upload, so that taking it back once is not enough. */
async function takeBack(bucket: S3Bucket, target: UploadTarget, upload: Upload): Promise<void> {
  // The signal of the caller may be what ended it.
  const signal = AbortSignal.timeout(CLEAN_UP_TIMEOUT_MS);
  let failure: unknown;
  for (const pauseMs of TAKE_BACK_PAUSES_MS) {
    try {
      await sleep(pauseMs, undefined, { signal });
      failure = undefined;
      await bucket.run("take back the upload of", target.key, signal, (client, options) =>
        client.send(new AbortMultipartUploadCommand(upload), options),
      );
    } catch (error) {
      if (isGone(error)) return;
      failure = error;
    }
  }
  if (failure === undefined) return;
  target.warn(
    `Parts of the unfinished object ${bucket.nameOf(target.key)} may take up space in the bucket until its upload is aborted: ${errorText(failure)}`,
  );
}

function isGone(error: unknown): boolean {
  return error instanceof DecantError && (error.cause as Error | undefined)?.name === "NoSuchUpload";
}

function tooLarge(name: string): StorageError {
  return new StorageError("DECANT_E_OBJECT_SIZE", `Cannot write ${name}: it has more than 523 GiB, which is too large`);
}
