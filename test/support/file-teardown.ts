import { afterAll } from "vitest";
import { removeTemporaryDirectories } from "./temporary-directory.ts";

/** Runs for each test file: else the data of all servers would stay on the disk until the whole run has ended, tens of gigabytes. */
afterAll(removeTemporaryDirectories);
