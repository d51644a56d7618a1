import { expect, it } from "vitest";
import { DirectoryNames } from "../../../../src/formats/json/decode-names.ts";

function add(names: DirectoryNames, name: string): string {
  const bytes = Buffer.from(name);
  return names.add(bytes, 0, bytes.length);
}

it("names in ascending order need no memory, however many there are", () => {
  const names = new DirectoryNames(10);
  names.enter();
  for (let i = 0; i < 1000; i++) expect(add(names, `name-${String(i).padStart(4, "0")}`)).toBe("new");
  expect(add(names, "name-0999")).toBe("duplicate");
});

it("a name out of order in a directory too large to look for it again is refused", () => {
  const names = new DirectoryNames(10);
  names.enter();
  for (let i = 0; i < 20; i++) add(names, `name-${String(i).padStart(4, "0")}`);
  expect(add(names, "a")).toBe("too-many");
});

it("the memory for names is free again when a directory is left", () => {
  const names = new DirectoryNames(10);
  names.enter();
  for (let directory = 0; directory < 100; directory++) {
    expect(add(names, `d${String(directory).padStart(3, "0")}`)).toBe("new");
    names.enter();
    for (const name of ["c", "b", "a", "e"]) expect(add(names, name)).toBe("new");
    expect(names.path(true)).toBe(`/d${String(directory).padStart(3, "0")}/e`);
    expect(names.path(false)).toBe(`/d${String(directory).padStart(3, "0")}`);
    expect(add(names, "b")).toBe("duplicate");
    names.leave();
  }
  expect(names.path(true)).toBe("/d099");
});

it("a hundred thousand unsorted names are told apart", () => {
  const names = new DirectoryNames();
  names.enter();
  for (let i = 100_000; i > 0; i--) if (add(names, `n${i * 7919}`) !== "new") throw new Error(`n${i * 7919}`);
  expect(add(names, `n${50_000 * 7919}`)).toBe("duplicate");
});
