import { join } from "node:path";

/** Root of the repository. */
export const REPOSITORY: string = join(import.meta.dirname, "..", "..");

/** What test runs install and may keep; not in version control. */
export const CACHE: string = join(REPOSITORY, ".cache");

/** Path of a fixture by its name below test/fixtures. */
export function fixture(name: string): string {
  return join(REPOSITORY, "test", "fixtures", name);
}
