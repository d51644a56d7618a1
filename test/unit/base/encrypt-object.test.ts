import { generateKeyPairSync } from "node:crypto";
import { describe, expect, test } from "vitest";
import { cipherOf, decryptObject } from "../../../src/base/decrypt-object.ts";
import { Encryptor } from "../../../src/base/encrypt-object.ts";
import { pieces } from "../../support/volume-streams.ts";

const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

async function decrypt(object: Buffer, algorithm: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of decryptObject(pieces(object, 100), privateKey, cipherOf(algorithm))) parts.push(part);
  return Buffer.concat(parts);
}

describe.each(["aes256gcm-rsa", "chacha20-rsa", "sm4gcm"])("an object encrypted with %s", (algorithm) => {
  test.each([0, 1, 1000, 300_000])("gives its %i bytes again", async (size) => {
    const text = Buffer.alloc(size, "0123456789abc");
    const encryptor = new Encryptor(privateKey, cipherOf(algorithm));
    const object: Buffer[] = [];
    for await (const piece of pieces(text, 7919)) object.push(encryptor.update(piece));
    object.push(encryptor.end());
    expect((await decrypt(Buffer.concat(object), algorithm)).equals(text)).toBe(true);
  });

  test("is refused when one bit of it is another", async () => {
    const encryptor = new Encryptor(privateKey, cipherOf(algorithm));
    const object = Buffer.concat([encryptor.update(Buffer.from("text")), encryptor.end()]);
    object[object.length - 1]! ^= 1;
    await expect(decrypt(object, algorithm)).rejects.toMatchObject({ code: "DECANT_E_DECRYPT" });
  });
});

test("each object has a data key and a nonce of its own, wrapped for a key of that size", () => {
  const objects = [1, 2].map(() => {
    const encryptor = new Encryptor(privateKey, cipherOf(""));
    return Buffer.concat([encryptor.update(Buffer.from("text")), encryptor.end()]);
  });
  for (const object of objects) {
    expect([object.readUInt16BE(0), object[2]]).toEqual([256, 12]);
    expect(object.length).toBe(3 + 256 + 12 + 4 + 16);
  }
  expect(objects[0]!.subarray(3).equals(objects[1]!.subarray(3))).toBe(false);
});
