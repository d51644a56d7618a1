import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { PassThrough, Writable } from "node:stream";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { FileError } from "../../../../src/base/errors.ts";
import { type CompressionName, openOutput } from "../../../../src/formats/container/output.ts";
import { makeNamedPipe } from "../../../support/named-pipe.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";

const SIGNAL = new AbortController().signal;
const PIECE = Buffer.from("0123456789abcdef".repeat(4096));

describe("the hash of an output", () => {
  it.each(["dump.json", "dump.json.gz"])("is that of the bytes in the file: %s", async (name) => {
    const file = join(temporaryDirectory(), name);
    const output = await openOutput({ file }, { signal: SIGNAL, hash: true });
    for (let i = 0; i < 100; i++) await output.write(PIECE);
    expect(output.sha256).toBeUndefined();
    await output.commit();
    expect(output.sha256).toBe(createHash("sha256").update(readFileSync(file)).digest("hex"));
  });

  it("is not there when nobody asks for it", async () => {
    const output = await openOutput({ file: join(temporaryDirectory(), "dump.json") }, { signal: SIGNAL });
    await output.write(PIECE);
    await output.commit();
    expect(output.sha256).toBeUndefined();
  });
});

describe("an output file", () => {
  const suffixes: [string, CompressionName, (bytes: Buffer) => Buffer][] = [
    ["dump.json", "none", (bytes) => bytes],
    ["dump.json.gz", "gzip", gunzipSync],
    ["dump.json.zstd", "zstd", zstdDecompressSync],
    ["dump.json.zst", "zstd", zstdDecompressSync],
    ["dump.json.GZ", "none", (bytes) => bytes],
  ];
  for (const [name, compression, decompress] of suffixes) {
    it(`is compressed by its suffix: ${name} with ${compression}`, async () => {
      const directory = temporaryDirectory();
      const file = join(directory, name);
      const output = await openOutput({ file }, { signal: SIGNAL });
      for (let i = 0; i < 100; i++) await output.write(PIECE);
      await output.commit();
      const bytes = readFileSync(file);
      expect(output.compression).toBe(compression);
      expect(output.writtenBytes).toBe(bytes.length);
      expect(decompress(bytes).equals(Buffer.concat(Array.from({ length: 100 }, () => PIECE)))).toBe(true);
      expect(readdirSync(directory)).toEqual([name]);
    });
  }

  it("appears under its name only when it is complete", async () => {
    const directory = temporaryDirectory();
    const file = join(directory, "dump.json");
    writeFileSync(file, "the old one");
    const output = await openOutput({ file }, { signal: SIGNAL });
    await output.write(PIECE);
    expect(readFileSync(file, "utf8")).toBe("the old one");
    expect(readdirSync(directory)).toHaveLength(2);
    await output.commit();
    expect(readFileSync(file)).toEqual(PIECE);
    expect(readdirSync(directory)).toEqual(["dump.json"]);
  });

  for (const name of ["dump.json", "dump.json.gz", "dump.json.zst"]) {
    it(`leaves nothing behind when it is aborted: ${name}`, async () => {
      const directory = temporaryDirectory();
      const file = join(directory, name);
      writeFileSync(file, "the old one");
      const output = await openOutput({ file }, { signal: SIGNAL });
      for (let i = 0; i < 50; i++) await output.write(PIECE);
      await output.abort();
      await output.abort();
      expect(readFileSync(file, "utf8")).toBe("the old one");
      expect(readdirSync(directory)).toEqual([name]);
    });
  }

  it("can be written twice at the same time: the last one to be complete stays", async () => {
    const file = join(temporaryDirectory(), "dump.json");
    const outputs = [await openOutput({ file }, { signal: SIGNAL }), await openOutput({ file }, { signal: SIGNAL })];
    await outputs[0]!.write(Buffer.from("first"));
    await outputs[1]!.write(Buffer.from("second"));
    await outputs[1]!.commit();
    await outputs[0]!.commit();
    expect(readFileSync(file, "utf8")).toBe("first");
  });

  it("replaces the file behind a symbolic link and keeps the link", async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, "backups"));
    writeFileSync(join(directory, "backups/today.json"), "the old one");
    symlinkSync("backups/today.json", join(directory, "latest.json"));
    const output = await openOutput({ file: join(directory, "latest.json") }, { signal: SIGNAL });
    await output.write(Buffer.from("the new one"));
    await output.commit();
    expect(readlinkSync(join(directory, "latest.json"))).toBe("backups/today.json");
    expect(readFileSync(join(directory, "backups/today.json"), "utf8")).toBe("the new one");
  });

  it("keeps the permissions of the file it replaces", async () => {
    const file = join(temporaryDirectory(), "dump.json");
    writeFileSync(file, "", { mode: 0o600 });
    const output = await openOutput({ file }, { signal: SIGNAL });
    await output.commit();
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it("may be a device, which is not replaced", async () => {
    const output = await openOutput({ file: "/dev/null" }, { signal: SIGNAL });
    await output.write(PIECE);
    await output.commit();
    expect(statSync("/dev/null").isCharacterDevice()).toBe(true);
  });

  it("on a full disk is a file error that names it", async () => {
    for (const compression of ["none", "gzip", "zstd"] as const) {
      const output = await openOutput({ file: "/dev/full" }, { signal: SIGNAL, compression });
      const error: unknown = await (async () => {
        for (let i = 0; i < 1000; i++) await output.write(PIECE);
        await output.commit();
      })().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(FileError);
      expect(error).toMatchObject({
        code: "DECANT_E_FILE",
        message: "Cannot write /dev/full: no space left on device",
        hint: "Make room, or write to another file system or to stdout",
      });
      await output.abort();
    }
  });

  it("in a directory that is not there, or with the name of a directory, is a file error", async () => {
    const directory = temporaryDirectory();
    const missing = join(directory, "missing/dump.json");
    await expect(openOutput({ file: missing }, { signal: SIGNAL })).rejects.toMatchObject({
      name: "FileError",
      message: `Cannot write ${missing}: no such file or directory`,
    });
    await expect(openOutput({ file: directory }, { signal: SIGNAL })).rejects.toMatchObject({
      name: "FileError",
      message: `Cannot write ${directory}: illegal operation on a directory`,
    });
    writeFileSync(join(directory, "file"), "");
    await expect(openOutput({ file: join(directory, "file/dump.json") }, { signal: SIGNAL })).rejects.toThrow(
      FileError,
    );
    expect(existsSync(missing)).toBe(false);
  });
});

describe("an output stream", () => {
  it("gets the bytes as they are, at the pace of its reader", async () => {
    const received: Buffer[] = [];
    const stream = new PassThrough({ highWaterMark: 1024 });
    const output = await openOutput({ stream }, { signal: SIGNAL });
    let written = 0;
    const writing = (async () => {
      for (; written < 20; written++) await output.write(PIECE);
      await output.commit();
    })();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(written).toBeLessThan(3);
    stream.on("data", (chunk: Buffer) => received.push(chunk));
    await writing;
    expect(Buffer.concat(received)).toEqual(Buffer.concat(Array.from({ length: 20 }, () => PIECE)));
    expect([output.compression, output.writtenBytes]).toEqual(["none", 20 * PIECE.length]);
  });

  it("that is closed by its reader is reported as such", async () => {
    const child = spawn("head", ["-c", "10"], { stdio: ["pipe", "ignore", "ignore"] });
    const output = await openOutput({ stream: child.stdin }, { signal: SIGNAL });
    const error: unknown = await (async () => {
      for (let i = 0; i < 1000; i++) await output.write(PIECE);
    })().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: "FileError", code: "DECANT_E_PIPE_CLOSED" });
    await output.abort();
    if (child.exitCode === null) await once(child, "exit");
  });

  it("may be a named pipe, which is opened once somebody reads it", async () => {
    const pipe = makeNamedPipe();
    const opening = openOutput({ file: pipe }, { signal: SIGNAL });
    await new Promise((resolve) => setTimeout(resolve, 120));
    const reader = spawn("cat", [pipe], { stdio: ["ignore", "pipe", "ignore"] });
    const received: Buffer[] = [];
    reader.stdout.on("data", (chunk: Buffer) => received.push(chunk));
    const output = await opening;
    for (let i = 0; i < 20; i++) await output.write(PIECE);
    await output.commit();
    if (reader.exitCode === null) await once(reader, "close");
    expect(Buffer.concat(received)).toEqual(Buffer.concat(Array.from({ length: 20 }, () => PIECE)));
    expect(statSync(pipe).isFIFO()).toBe(true);
  });

  it("that is a named pipe and loses its reader is reported as such", async () => {
    const pipe = makeNamedPipe();
    spawn("head", ["-c", "10", pipe], { stdio: "ignore" });
    const output = await openOutput({ file: pipe }, { signal: SIGNAL });
    const error: unknown = await (async () => {
      for (let i = 0; i < 1000; i++) await output.write(PIECE);
    })().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: "FileError", code: "DECANT_E_PIPE_CLOSED" });
    await output.abort();
  });

  for (const compression of ["none", "gzip"] as const) {
    it(`can be aborted while its reader does not read: ${compression}`, async () => {
      const controller = new AbortController();
      const stream = new Writable({ write: () => undefined });
      const output = await openOutput({ stream }, { signal: controller.signal, compression });
      const writing = (async () => {
        for (let i = 0; i < 1000; i++)
          await output.write(Buffer.from(PIECE.map((byte) => byte ^ (Math.random() * 256))));
      })();
      setTimeout(() => controller.abort(), 50);
      await expect(writing).rejects.toMatchObject({ name: "AbortError" });
      await output.abort();
    });
  }
});
