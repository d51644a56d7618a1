import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { openBackupPlace, openVolumeStorage, storeOf } from "../../../../src/operations/backups/backup-place.ts";
import { createContext } from "../../../../src/operations/context.ts";
import { EMPTY_SETTING, type Setting } from "../../../../src/volume/setting.ts";
import { encryptSecrets } from "../../../../src/volume/setting-secrets.ts";
import { fixture } from "../../../support/repository.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";

const UUID = "21207cb7-c244-48a0-838a-c21a5b5a3850";
const KEY_FILE = fixture("encrypted/key-plain.pem");
const CONTEXT = createContext({ env: {} });
const { signal } = CONTEXT;

function setting(parts: Partial<Setting>): Setting {
  const bucket = `${temporaryDirectory()}/`;
  return { ...EMPTY_SETTING, name: "vol", uuid: UUID, storage: "file", bucket, ...parts };
}

describe("the object storage of a volume", () => {
  test("is opened when it is empty, and when it belongs to the volume", async () => {
    const own = setting({});
    const storage = await openVolumeStorage(own, CONTEXT);
    expect(storage.displayName).toBe(`file://${own.bucket}vol/`);
    await storage.put("juicefs_uuid", Buffer.from(UUID), signal);
    await expect(openVolumeStorage(own, CONTEXT)).resolves.toBeDefined();
  });

  test("is refused when it belongs to another volume, whose backups would be cleaned up", async () => {
    const own = setting({});
    const storage = await openVolumeStorage(own, CONTEXT);
    await storage.put("juicefs_uuid", Buffer.from("30cf368f-503a-4a83-8f25-748d92ffcef5"), signal);
    await expect(openVolumeStorage(own, CONTEXT)).rejects.toMatchObject({
      code: "DECANT_E_OTHER_VOLUME",
      message: `Object storage file://${own.bucket}vol/ belongs to volume 30cf368f-503a-4a83-8f25-748d92ffcef5, not to ${UUID}`,
    });
  });

  test("is refused when nobody can tell whose it is, as when it is encrypted and no key is given", async () => {
    const own = setting({});
    const storage = await openVolumeStorage(own, CONTEXT);
    await storage.put("juicefs_uuid", Buffer.from([1, 0, 12, 0x1b, 0x5b]), signal);
    const place = { storage: "file", bucket: own.bucket, name: "vol" };
    for (const open of [() => openVolumeStorage(own, CONTEXT), () => openBackupPlace({ volume: place }, CONTEXT)]) {
      await expect(open()).rejects.toMatchObject({
        code: "DECANT_E_OWNER",
        message: `Object file://${own.bucket}vol/juicefs_uuid does not name a volume`,
      });
    }
  });

  test("needs no secret of a server when it is a directory", async () => {
    for (const keyEncrypted of [false, true]) {
      const removed = setting({ secretKey: "removed", sessionToken: "removed", keyEncrypted });
      await expect(openVolumeStorage(removed, CONTEXT)).resolves.toBeDefined();
    }
  });

  test("says which secret a dump has removed, and what to do", async () => {
    for (const keyEncrypted of [false, true]) {
      const removed = setting({
        storage: "s3",
        bucket: "https://b.s3.eu-west-1.amazonaws.com",
        secretKey: "removed",
        keyEncrypted,
      });
      await expect(openVolumeStorage(removed, CONTEXT)).rejects.toMatchObject({
        code: "DECANT_E_SECRET",
        message: "SecretKey of volume vol was removed by a dump",
        hint: "Store it again with decant config --secret-key, or set the environment variable SECRET_KEY",
      });
    }
    const damaged = setting({
      storage: "s3",
      bucket: "https://b.s3.eu-west-1.amazonaws.com",
      sessionToken: "!",
      keyEncrypted: true,
    });
    await expect(openVolumeStorage(damaged, CONTEXT)).rejects.toThrow(
      "SessionToken of volume vol is damaged: decode key: not the base64 text of an encrypted secret",
    );
  });

  test("of an encrypted volume takes its key from the setting, or from a file when it was removed", async () => {
    const encryptKey = readFileSync(KEY_FILE, "utf8");
    const own = encryptSecrets(setting({ encryptKey, encryptAlgo: "chacha20-rsa" }));
    const storage = await openVolumeStorage(own, CONTEXT);
    await storage.put("juicefs_uuid", Buffer.from(UUID), signal);
    expect(storage.displayName).toBe(`file://${own.bucket}vol/(encrypted)`);
    const removed = { ...own, encryptKey: "removed" };
    await expect(openVolumeStorage(removed, CONTEXT)).rejects.toMatchObject({
      code: "DECANT_E_SECRET",
      hint: "Give the volume's private key with --encrypt-rsa-key",
    });
    const given = { pem: encryptKey, algorithm: "chacha20-rsa" };
    const again = await openVolumeStorage(removed, CONTEXT, given);
    expect((await again.get("juicefs_uuid", signal)).toString()).toBe(UUID);
  });

  test("is given by its bucket alone, whose UUID tells the volume", async () => {
    const own = setting({});
    const storage = await openVolumeStorage(own, CONTEXT);
    await storage.put("juicefs_uuid", Buffer.from(UUID), signal);
    const place = await openBackupPlace({ volume: { storage: "FILE", bucket: own.bucket, name: "vol" } }, CONTEXT);
    expect([place.volume, place.store]).toEqual([{ name: "vol", uuid: UUID }, undefined]);
    expect(() => storeOf(place)).toThrow("This needs the database of the volume, not its bucket alone");
    await place.close();
  });
});
