import { UsageError } from "../base/errors.ts";
import { FindingList } from "../volume/findings.ts";
import { ReportFile } from "./report-file.ts";

/** What to do with a source that is damaged (docs/salvage.md). */
export interface SalvageOptions {
  /** Take what can be read, and report the rest as losses. */
  readonly keepGoing?: boolean;
  /** With `keepGoing`: give what no directory leads to a place, in a new directory `lost+found` below the root. */
  readonly lostFound?: boolean;
  /** Where each loss is written, one JSON document per line (docs/json-output.md). */
  readonly lossReport?: string | undefined;
}

/** Throws `UsageError`. In a part of a volume, what no directory leads to is not lost: it may be in the rest. */
export function checkSalvage({ keepGoing, lostFound }: SalvageOptions, isPart: boolean): void {
  if (lostFound !== true) return;
  if (keepGoing !== true) throw new UsageError("DECANT_E_OPTION_VALUE", "--lost-found needs --keep-going");
  if (isPart) {
    throw new UsageError("DECANT_E_OPTION_VALUE", "--lost-found takes neither --subdir nor --skip-trash", {
      hint: "What the rest of the volume holds would be taken for lost",
    });
  }
}

/** Runs `work` with findings whose losses all go to the file, where there is one. */
export async function withLossReport<T>(
  file: string | undefined,
  work: (findings: FindingList) => Promise<T>,
): Promise<T> {
  if (file === undefined) return work(new FindingList());
  const report = new ReportFile(file, "--loss-report");
  try {
    const result = await work(
      new FindingList({
        loss: ({ kind, text }, place, count) => report.add({ kind, text, place: place ?? null, count }),
        clear: () => report.clear(),
      }),
    );
    report.flush();
    return result;
  } catch (error) {
    report.flush(); // says how far it came
    throw error;
  } finally {
    report.close();
  }
}
