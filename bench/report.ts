import { cpus, loadavg, release, totalmem } from "node:os";
import type { Target } from "./cells.ts";
import { type Measurement, median, type Program } from "./measure.ts";

/** All runs of one program in one cell. */
export interface Series {
  readonly program: Program;
  readonly variant: string;
  readonly runs: readonly Measurement[];
  readonly target: Target | undefined;
}

export interface CellResult {
  readonly cell: string;
  readonly files: number;
  readonly documentBytes: number;
  readonly series: readonly Series[];
  /** Whether all programs gave the same result; undefined when that was not compared. */
  readonly sameResult: boolean | undefined;
}

/** The text of bench/results/: medians with ratios to the targets, then every single run. */
export function renderReport(results: readonly CellResult[], about: Readonly<Record<string, string>>): string {
  const facts = Object.entries({ ...machine(), ...about }).map(([name, value]) => `- ${name}: ${value}`);
  return `${[
    "# decant and the reference side by side",
    "",
    "Medians of runs by turns on the same volume. CPU is user + system of the client process, without the server's.",
    "Ratio = decant / reference; targets are for a million files. A floor is what the database's own client takes for the same",
    "tables, without making anything of them.",
    "",
    ...facts,
    "",
    ...summary(results),
    "",
    "## Single runs",
    "",
    ...details(results),
  ].join("\n")}\n`;
}

function machine(): Record<string, string> {
  const processors = cpus();
  return {
    machine: `${processors[0]?.model.trim() ?? "unknown"}, ${processors.length} cores, ${gigabytes(totalmem())} GB, Linux ${release()}`,
    "load average at the end": loadavg()
      .map((load) => load.toFixed(2))
      .join(", "),
  };
}

function summary(results: readonly CellResult[]): string[] {
  return [
    "| cell | files | against | CPU s | ref | ratio | target | | wall s | ref | ratio | target | | peak MB | ref | output |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ...results.flatMap(summaryRows),
  ];
}

function summaryRows(result: CellResult): string[] {
  const ours = result.series.find((series) => series.program === "decant");
  const others = result.series.filter((series) => series.program !== "decant");
  if (others.length === 0) return [row(result, ours, undefined)];
  return others.map((reference) => row(result, ours, reference));
}

function row(result: CellResult, ours: Series | undefined, reference: Series | undefined): string {
  const output = result.sameResult === undefined ? "" : result.sameResult ? "equal" : "**differs**";
  const cells = [
    result.cell,
    String(result.files),
    nameOf(reference),
    ...comparison(middle(ours, "cpuSeconds"), middle(reference, "cpuSeconds"), reference?.target?.cpu),
    ...comparison(middle(ours, "wallSeconds"), middle(reference, "wallSeconds"), reference?.target?.wall),
    figure(middle(ours, "peakMegabytes"), 0),
    figure(middle(reference, "peakMegabytes"), 0),
    output,
  ];
  return `| ${cells.join(" | ")} |`;
}

function nameOf(series: Series | undefined): string {
  if (series === undefined) return "";
  return series.program === "floor" ? `floor: ${series.variant}` : series.variant;
}

function comparison(ours: number | undefined, reference: number | undefined, target: number | undefined): string[] {
  const ratio = ours === undefined || reference === undefined ? undefined : ours / reference;
  const verdict = ratio === undefined || target === undefined ? "" : ratio <= target ? "ok" : "**over**";
  return [figure(ours, 2), figure(reference, 2), figure(ratio, 3), figure(target, 2), verdict];
}

function details(results: readonly CellResult[]): string[] {
  return [
    "| cell | files | program | CPU s | wall s | peak MB | MB/s | exit |",
    "|---|---|---|---|---|---|---|---|",
    ...results.flatMap((result) =>
      result.series.flatMap((series) =>
        series.runs.map((run) => {
          const program = `${series.program} ${series.variant}`.trimEnd();
          const speed = result.documentBytes / 1e6 / run.wallSeconds;
          const figures = [run.cpuSeconds, run.wallSeconds].map((value) => figure(value, 2)).join(" | ");
          return `| ${result.cell} | ${result.files} | ${program} | ${figures} | ${figure(run.peakMegabytes, 0)} | ${figure(speed, 1)} | ${run.exitCode} |`;
        }),
      ),
    ),
  ];
}

function middle(series: Series | undefined, member: keyof Measurement): number | undefined {
  const values = (series?.runs ?? []).map((run) => run[member]).filter((value) => value !== undefined);
  return values.length === 0 ? undefined : median(values);
}

function figure(value: number | undefined, digits: number): string {
  return value === undefined ? "" : value.toFixed(digits);
}

function gigabytes(bytes: number): string {
  return (bytes / 2 ** 30).toFixed(0);
}
