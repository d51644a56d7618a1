import type { S3Client } from "@aws-sdk/client-s3";
import { UsageError } from "../../base/errors.ts";
import type { S3Timing } from "./s3-client.ts";
import { s3Error } from "./s3-errors.ts";

export interface S3BucketOptions {
  readonly bucket: string;
  /** `<volume>/`. */
  readonly prefix: string;
  readonly displayName: string;
  readonly timing: S3Timing;
  /** Texts that must never appear in a message. */
  readonly secrets: readonly string[];
}

/** What requests to one bucket have in common: the volume's prefix, the signal, and errors in words. */
export class S3Bucket {
  readonly name: string;
  readonly displayName: string;
  readonly timing: S3Timing;
  readonly #client: S3Client;
  readonly #prefix: string;
  readonly #secrets: readonly string[];

  constructor(client: S3Client, options: S3BucketOptions) {
    this.#client = client;
    this.name = options.bucket;
    this.displayName = options.displayName;
    this.timing = options.timing;
    this.#prefix = options.prefix;
    this.#secrets = options.secrets;
  }

  /** Bucket and key of a request. Throws `UsageError` for a key that servers and directories could understand differently. */
  place(key: string): { readonly Bucket: string; readonly Key: string } {
    const parts = key.split("/");
    if (key === "" || key.startsWith("/") || key.includes("\0") || parts.includes("..") || parts.includes(".")) {
      throw new UsageError("DECANT_E_OBJECT_KEY", `${JSON.stringify(key)} is no key of an object`);
    }
    return { Bucket: this.name, Key: this.#prefix + key };
  }

  /** Prefix of keys for a listing, and the part of it that they are given without. */
  get prefix(): string {
    return this.#prefix;
  }

  /** The key for people. */
  nameOf(key: string): string {
    return this.displayName + key;
  }

  /** Makes a request. `doing` and the object, or whatever it is about, are for the message of an error. */
  async run<T>(
    doing: string,
    key: string,
    signal: AbortSignal,
    request: (client: S3Client, options: { readonly abortSignal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    signal.throwIfAborted();
    try {
      return await request(this.#client, { abortSignal: signal });
    } catch (error) {
      signal.throwIfAborted();
      throw this.error(doing, key, error);
    }
  }

  error(doing: string, key: string, error: unknown): unknown {
    return s3Error(`${doing} ${this.nameOf(key)}`, error, this.#secrets);
  }

  close(): void {
    this.#client.destroy();
  }
}
