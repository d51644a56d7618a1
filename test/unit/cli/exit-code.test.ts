import { expect, test } from "vitest";
import {
  ConflictError,
  DataError,
  EngineError,
  FileError,
  InternalError,
  MissingDependencyError,
  NotFoundError,
  UsageError,
} from "../../../src/base/errors.ts";
import { Interruption } from "../../../src/cli/cli-io.ts";
import { exitCodeOf } from "../../../src/cli/exit-code.ts";

const RUNNING = new AbortController().signal;

test.each([
  [UsageError, 2],
  [NotFoundError, 4],
  [ConflictError, 5],
  [DataError, 6],
  [EngineError, 7],
  [FileError, 7],
  [MissingDependencyError, 7],
  [InternalError, 1],
])("%o ends with %i", (ErrorClass, code) => {
  expect(exitCodeOf(new ErrorClass("DECANT_E_TEST", "test"), RUNNING)).toBe(code);
});

test("anything else ends with 1", () => {
  expect(exitCodeOf(new Error("x"), RUNNING)).toBe(1);
  expect(exitCodeOf("x", RUNNING)).toBe(1);
});

test("an abort ends with the code of its signal, a real error after it keeps its own", () => {
  for (const [name, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    const abort = new AbortController();
    abort.abort(new Interruption(name));
    expect(exitCodeOf(abort.signal.reason, abort.signal)).toBe(code);
    expect(exitCodeOf(new DOMException("aborted", "AbortError"), abort.signal)).toBe(code);
    expect(exitCodeOf(new EngineError("DECANT_E_TEST", "test"), abort.signal)).toBe(7);
  }
});
