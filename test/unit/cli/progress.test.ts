import { Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type PhaseProgress, Progress } from "../../../src/base/progress.ts";
import { ProgressDisplay } from "../../../src/cli/progress-display.ts";
import { phaseLine } from "../../../src/cli/progress-text.ts";
import { Terminal } from "../../../src/cli/terminal.ts";

function phase(parts: Partial<PhaseProgress>): PhaseProgress {
  return {
    name: "Reading nodes",
    records: 0,
    bytes: 0,
    totalRecords: undefined,
    totalBytes: undefined,
    startedAt: 1000,
    endedAt: undefined,
    ...parts,
  };
}

describe("the line of a phase", () => {
  test.each([
    [phase({}), 1100, "Reading nodes: 100 ms"],
    [phase({ records: 1234567 }), 6000, "Reading nodes: 1,234,567, 246,913/s, 5.0 s"],
    [
      phase({ records: 500, totalRecords: 2000 }),
      11_000,
      "Reading nodes: 500 of 2,000 (25%), 50/s, 10.0 s, about 30.0 s left",
    ],
    [
      phase({ bytes: 3 * 1024 * 1024, totalBytes: 4 * 1024 * 1024 }),
      4000,
      "Reading nodes: 3.0 MiB of 4.0 MiB (75%), 3.0 s, about 1.0 s left",
    ],
    [phase({ records: 10, bytes: 2048, endedAt: 1200 }), 99_000, "Reading nodes: 10, 2.0 KiB, 200 ms"],
    [phase({ records: 5, totalRecords: 3 }), 1100, "Reading nodes: 5 of 3 (100%), 100 ms"],
  ])("%#", (given, now, line) => {
    expect(phaseLine(given, now)).toBe(line);
  });
});

describe("the display", () => {
  let text = "";
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString().replaceAll("\u001b", "ESC");
      done();
    },
  });
  beforeEach(() => {
    text = "";
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test("redraws running phases below the log lines and leaves nothing behind", () => {
    const terminal = new Terminal(stream, { live: true, color: false, columns: 80 });
    const progress = new Progress();
    const display = new ProgressDisplay(progress, terminal);
    const first = progress.begin("One");
    display.start();
    vi.advanceTimersByTime(200);
    expect(text).toMatch(/^One: \d+ ms\n$/);
    terminal.print("decant: a warning");
    expect(text).toMatch(/\nESC\[1AESC\[Jdecant: a warning\nOne: \d+ ms\n$/);
    progress.end(first);
    vi.advanceTimersByTime(200);
    display.stop();
    expect(text).toMatch(/One: \d+ ms\nESC\[1AESC\[J$/);
  });

  test("without a terminal prints a line per phase every half minute", () => {
    const progress = new Progress();
    const display = new ProgressDisplay(progress, new Terminal(stream, { live: false, color: false, columns: 80 }));
    progress.begin("One", { records: 7 });
    display.start();
    vi.advanceTimersByTime(29_000);
    expect(text).toBe("");
    vi.advanceTimersByTime(31_000);
    display.stop();
    expect(text.match(/^decant: One: 0 of 7 \(0%\), /gm)).toHaveLength(2);
  });

  test("cuts lines to the width of the terminal", () => {
    const terminal = new Terminal(stream, { live: true, color: false, columns: 10 });
    terminal.setLive(["123456789012345"]);
    expect(text).toBe("123456789\n");
  });
});
