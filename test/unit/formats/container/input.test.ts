import { createCipheriv, createPublicKey, publicEncrypt, randomBytes } from "node:crypto";
import { closeSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { DataError, type DecantError, FileError, NotFoundError, UsageError } from "../../../../src/base/errors.ts";
import { type InputOptions, type InputSource, openInput } from "../../../../src/formats/container/input.ts";
import { makeNamedPipe, openPipeWriter, writePipe } from "../../../support/named-pipe.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";
import { decodeText, FIXTURES, fixture } from "../json/reading.ts";

const SIGNAL = new AbortController().signal;
const PASSPHRASE = fixture("encrypted/passphrase.txt").toString().trimEnd();

async function readAll(
  source: InputSource,
  options: Partial<InputOptions> = {},
): Promise<{ bytes: Buffer; description: string }> {
  const input = await openInput(source, { signal: SIGNAL, env: {}, ...options });
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of input.bytes) chunks.push(chunk);
    return { bytes: Buffer.concat(chunks), description: input.description };
  } finally {
    await input.close();
  }
}

async function failure(run: Promise<unknown>): Promise<DecantError> {
  return run.then(
    () => {
      throw new Error("it was accepted");
    },
    (error: DecantError) => error,
  );
}

/** The bytes in pieces, as a pipe brings them. */
function pipe(bytes: Buffer, size: number = 1000): { stream: Readable } {
  const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
    bytes.subarray(i * size, i * size + size),
  );
  return { stream: Readable.from(pieces, { objectMode: false }) };
}

describe("whoever watches an input", () => {
  it("sees every stored byte once, also where an encrypted file is read twice", async () => {
    const meta = "encrypted/objects/encaes/meta/";
    const encrypted = `${meta}${readdirSync(`${FIXTURES}${meta}`).sort()[0]}`;
    const decryption = { keyFile: `${FIXTURES}encrypted/key-pkcs8-encrypted.pem`, algorithm: "aes256gcm-rsa" };
    const cases: [file: string, options: Partial<InputOptions>][] = [
      ["golden/dumps/golden.json", {}],
      ["golden/dumps/golden.json.gz", {}],
      [encrypted, { decryption, env: { JFS_RSA_PASSPHRASE: PASSPHRASE } }],
    ];
    for (const [file, options] of cases) {
      const stored = fixture(file);
      for (const source of [{ file: `${FIXTURES}${file}` }, pipe(stored)]) {
        const seen: Buffer[] = [];
        await readAll(source, { ...options, onRead: (piece) => seen.push(Buffer.from(piece)) });
        expect(Buffer.concat(seen).equals(stored), file).toBe(true);
      }
    }
  });
});

describe("an input", () => {
  it("is taken for what it holds, whatever its name", async () => {
    const plain = fixture("malformed/base.json");
    const cases: [string, string][] = [
      ["malformed/base.json", "plain"],
      ["malformed/j22-gzip-named.json", "gzip"],
      ["malformed/j21-plain-named.json.gz", "plain"],
      ["malformed/j23-not-zstd.json.zstd", "plain"],
    ];
    for (const [file, description] of cases) {
      expect(await readAll({ file: `${FIXTURES}${file}` }), file).toEqual({ bytes: plain, description });
    }
  });

  it("gives the document of the reference's own compressed dumps", async () => {
    const plain = fixture("golden/dumps/golden.json");
    for (const [suffix, description] of [
      ["gz", "gzip"],
      ["zstd", "zstd"],
    ] as const) {
      const file = `${FIXTURES}golden/dumps/golden.json.${suffix}`;
      expect(await readAll({ file })).toEqual({ bytes: plain, description });
      expect(await readAll(pipe(readFileSync(file), 7))).toEqual({ bytes: plain, description });
    }
  });

  it("counts what it has read", async () => {
    const file = `${FIXTURES}golden/dumps/golden.json.gz`;
    const input = await openInput({ file }, { signal: SIGNAL, env: {} });
    for await (const _ of input.bytes) expect(input.readBytes()).toBeGreaterThan(0);
    const size = readFileSync(file).length;
    expect([input.readBytes(), input.totalBytes]).toEqual([size, size]);
    await input.close();
    const piped = await openInput(pipe(Buffer.alloc(5000)), { signal: SIGNAL, env: {} });
    for await (const _ of piped.bytes);
    expect([piped.readBytes(), piped.totalBytes]).toEqual([5000, undefined]);
  });

  it("may consist of several gzip members or zstd frames", async () => {
    const [a, b] = [randomBytes(100_000), Buffer.from("end")];
    const gzip = Buffer.concat([gzipSync(a), gzipSync(b)]);
    const zstd = Buffer.concat([zstdCompressSync(a), zstdCompressSync(b)]);
    for (const bytes of [gzip, zstd]) expect((await readAll(pipe(bytes))).bytes).toEqual(Buffer.concat([a, b]));
  });

  it("may be empty or shorter than any signature", async () => {
    expect(await readAll(pipe(Buffer.alloc(0)))).toEqual({ bytes: Buffer.alloc(0), description: "plain" });
    expect(await readAll(pipe(Buffer.from("{")))).toEqual({ bytes: Buffer.from("{"), description: "plain" });
  });

  it("that is compressed and cut off anywhere is a data error naming compression and file", async () => {
    for (const [compression, bytes] of [
      ["gzip", gzipSync(fixture("malformed/base.json"))],
      ["zstd", zstdCompressSync(fixture("malformed/base.json"))],
    ] as const) {
      for (let size = 4; size < bytes.length; size += 13) {
        const error = await failure(readAll(pipe(bytes.subarray(0, size))));
        expect(error).toBeInstanceOf(DataError);
        expect(error.message).toBe(`Cannot decompress the input stream (${compression}): it is cut off`);
      }
    }
    const cut = `${FIXTURES}malformed/j19-trunc.json.gz`;
    expect((await failure(readAll({ file: cut }))).message).toBe(`Cannot decompress ${cut} (gzip): it is cut off`);
  });

  it("that is compressed and damaged is a data error", async () => {
    const crc = `${FIXTURES}malformed/j20-crc.json.gz`;
    const error = await failure(readAll({ file: crc }));
    expect([error.code, error.message]).toEqual([
      "DECANT_E_COMPRESSION",
      `Cannot decompress ${crc} (gzip): incorrect data check`,
    ]);
    const garbage = Buffer.from("no compressed data");
    const gzip = Buffer.concat([gzipSync("x"), garbage]);
    expect((await failure(readAll(pipe(gzip)))).message).toMatch(/\(gzip\): incorrect header check$/);
    const zstd = Buffer.concat([zstdCompressSync("x"), garbage]);
    expect((await failure(readAll(pipe(zstd)))).message).toMatch(
      /\(zstd\): 18 bytes behind its end are not compressed data$/,
    );
  });

  it("comes through a named pipe, whatever pieces its writer makes", async () => {
    const plain = fixture("golden/dumps/golden.json");
    for (const [bytes, description] of [
      [plain, "plain"],
      [gzipSync(plain), "gzip"],
    ] as const) {
      const file = makeNamedPipe();
      const writer = openPipeWriter(file);
      const reading = readAll({ file });
      for (let at = 0; at < bytes.length; at += 50_000) await writePipe(writer, bytes.subarray(at, at + 50_000));
      // What nobody has opened when its writer closes it is lost.
      await sleep(100);
      closeSync(writer);
      expect(await reading).toEqual({ bytes: plain, description });
    }
  });

  it("that is not there or no file is named", async () => {
    const directory = temporaryDirectory();
    const missing = join(directory, "missing.json");
    const error = await failure(readAll({ file: missing }));
    expect(error).toBeInstanceOf(NotFoundError);
    expect(error.message).toBe(`Cannot read ${missing}: no such file or directory`);
    const noFile = await failure(readAll({ file: directory }));
    expect(noFile).toBeInstanceOf(FileError);
    expect(noFile.message).toMatch(/^Cannot read .*: illegal operation on a directory$/);
  });

  it("stops when it is aborted, also while a pipe gives nothing", async () => {
    const controller = new AbortController();
    const stream = new Readable({ read: () => undefined });
    stream.push("{");
    stream.push(Buffer.alloc(10));
    const input = await openInput({ stream }, { signal: controller.signal, env: {} });
    const reading = (async () => {
      for await (const _ of input.bytes);
    })();
    controller.abort();
    await expect(reading).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("an encrypted input", () => {
  const KEYS = ["key-plain.pem", "key-pkcs8-encrypted.pem", "key-traditional-encrypted.pem"];
  const keyFile = (name: string): string => `${FIXTURES}encrypted/${name}`;
  const backups = (volume: string): string[] => {
    const directory = `${FIXTURES}encrypted/objects/${volume}/meta`;
    return readdirSync(directory).map((name) => join(directory, name));
  };
  const env = { JFS_RSA_PASSPHRASE: PASSPHRASE };
  const plainKey = { keyFile: keyFile("key-plain.pem"), algorithm: "aes256gcm-rsa" };

  for (const [volume, algorithm] of [
    ["encaes", "aes256gcm-rsa"],
    ["encaes", ""],
    ["encchacha", "chacha20-rsa"],
  ] as const) {
    for (const key of KEYS) {
      it(`is decrypted and decompressed: ${volume} with algorithm "${algorithm}" and ${key}`, async () => {
        for (const file of backups(volume)) {
          const options = { env, decryption: { keyFile: keyFile(key), algorithm } };
          const fromFile = await readAll({ file }, options);
          expect(fromFile.description).toBe("encrypted gzip");
          expect((await decodeText(fromFile.bytes)).entries.length).toBeGreaterThan(5);
          expect(await readAll(pipe(readFileSync(file), 100), options)).toEqual(fromFile);
        }
      });
    }
  }

  /** An object as the reference writes it. */
  function encrypt(plain: Buffer, cipher: string, keyBytes: number): Buffer {
    const dataKey = randomBytes(keyBytes);
    const nonce = randomBytes(12);
    const publicKey = createPublicKey(readFileSync(plainKey.keyFile));
    const wrapped = publicEncrypt({ key: publicKey, oaepHash: "sha256", oaepLabel: Buffer.from("keys") }, dataKey);
    const encipher = createCipheriv(cipher as "aes-256-gcm", dataKey, nonce, { authTagLength: 16 });
    const body = Buffer.concat([encipher.update(plain), encipher.final(), encipher.getAuthTag()]);
    return Buffer.concat([
      Buffer.from([wrapped.length >> 8, wrapped.length & 255, nonce.length]),
      wrapped,
      nonce,
      body,
    ]);
  }

  it("may have any of the three ciphers, any size and come in pieces of any size", async () => {
    const ciphers = [
      ["aes256gcm-rsa", "aes-256-gcm", 32],
      ["chacha20-rsa", "chacha20-poly1305", 32],
      ["sm4gcm", "sm4-gcm", 16],
    ] as const;
    for (const [algorithm, cipher, keyBytes] of ciphers) {
      for (const size of [0, 1, 15, 16, 17, 1000, 300_000]) {
        const plain = randomBytes(size);
        const object = encrypt(plain, cipher, keyBytes);
        for (const pieces of size === 1000 ? [1, 5, 16, 10_000] : [1000]) {
          const { bytes } = await readAll(pipe(object, pieces), { decryption: { ...plainKey, algorithm } });
          expect(bytes, `${algorithm}, ${size} bytes in pieces of ${pieces}`).toEqual(plain);
        }
      }
    }
  });

  it("gives nothing of a file that was changed, and an error at the end of a pipe", async () => {
    const directory = temporaryDirectory();
    const object = encrypt(randomBytes(600_000), "aes-256-gcm", 32);
    object[300_000]! ^= 1;
    const file = join(directory, "changed");
    writeFileSync(file, object);
    const message = "Decrypt: cipher: message authentication failed";
    await expect(openInput({ file }, { signal: SIGNAL, env: {}, decryption: plainKey })).rejects.toMatchObject({
      message,
    });
    const error = await failure(readAll(pipe(object, 65536), { decryption: plainKey }));
    expect([error.code, error.message]).toEqual(["DECANT_E_DECRYPT", message]);
  });

  it("with the wrong algorithm, a plain file or a cut one is refused in the reference's words", async () => {
    const [file] = backups("encaes");
    const read = (bytes: Buffer, algorithm: string): Promise<DecantError> =>
      failure(readAll(pipe(bytes), { decryption: { ...plainKey, algorithm } }));
    const object = readFileSync(file!);
    expect((await read(object, "chacha20-rsa")).message).toBe(
      "Decrypt: chacha20poly1305: message authentication failed",
    );
    expect((await read(object, "sm4gcm")).message).toBe("Decrypt: the data key has 32 bytes, sm4-gcm needs 16");
    expect((await read(object.subarray(0, 2), "")).message).toBe(
      "received encrypted text length is less than 3, the object is corrupted",
    );
    expect((await read(object.subarray(0, 271), "")).message).toBe("malformed ciphertext: 256 12");
    expect((await read(object.subarray(0, 280), "")).message).toBe("Decrypt: cipher: message authentication failed");
    expect((await read(object.subarray(0, 400), "")).message).toBe("Decrypt: cipher: message authentication failed");
    expect((await read(fixture("malformed/base.json"), "")).message).toBe("malformed ciphertext: 31498 32");
    expect((await read(fixture("golden/dumps/golden.json"), "")).message).toBe(
      "Decrypt: decryt key: crypto/rsa: decryption error",
    );
    const unknown = await read(object, "foo");
    expect(unknown).toBeInstanceOf(UsageError);
    expect(unknown.message).toBe("unsupport cipher: foo");
    expect((await read(object, "toString")).message).toBe("unsupport cipher: toString");
  });

  it("is taken as it is when it is a gzip in clear, as large automatic backups are", async () => {
    const file = `${FIXTURES}golden/dumps/golden.json.gz`;
    const { bytes, description } = await readAll({ file }, { decryption: plainKey });
    expect([bytes.length, description]).toEqual([fixture("golden/dumps/golden.json").length, "gzip"]);
  });

  it("needs the right key and passphrase", async () => {
    const source = { file: backups("encaes")[0]! };
    const read = (name: string, environment: Record<string, string>): Promise<DecantError> =>
      failure(readAll(source, { env: environment, decryption: { keyFile: name, algorithm: "" } }));
    for (const name of KEYS.slice(1)) {
      const missing = await read(keyFile(name), {});
      expect([missing.code, missing.message]).toEqual([
        "DECANT_E_KEY_PASSPHRASE",
        `passphrase is required to private key: ${keyFile(name)}`,
      ]);
      const wrong = await read(keyFile(name), { JFS_RSA_PASSPHRASE: "battery staple" });
      expect(wrong.message).toBe("parse private key: x509: decryption password incorrect");
      expect(`${wrong.message} ${wrong.hint}`).not.toContain("battery");
    }
    expect((await read("/nowhere/key.pem", env)).message).toBe(
      "Cannot read the key file /nowhere/key.pem: no such file or directory",
    );
    expect((await read(`${FIXTURES}encrypted/passphrase.txt`, env)).message).toMatch(
      /^parse private key: .* holds no key/,
    );
  });
});
