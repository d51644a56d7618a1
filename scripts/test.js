// `npm test`: installs everything, then runs format and lint, the type check and all tests, servers and the reference
// client included. Arguments go to vitest. The last line of the output is "N passed, N failed, N skipped".
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bootstrap, PINNED_NODE, ROOT } from "./bootstrap.js";

const MODULES = join(ROOT, "node_modules");
/** What servers, volumes and dumps of a whole run take at one time. On a full disk mounts hang, and this log breaks off. */
const NEEDED_MIB = 3072;

const vitestArguments = process.argv.slice(2);
bootstrap({ build: vitestArguments.length > 0 }); // else compiling is one of the checks
const scratch = mkdtempSync(join(tmpdir(), "decant-test-run-"));
const totals = { passed: 0, failed: 0, skipped: 0 };
const failures = [];
const flaky = [];

try {
  if (hasRoom()) {
    if (vitestArguments.length === 0) runChecks();
    runTests();
    printSkips();
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
for (const test of flaky) console.log(`FLAKY: ${test}`);
for (const failure of failures) console.log(`FAILED: ${failure}`);
console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exitCode = totals.failed === 0 ? 0 : 1;

function hasRoom() {
  const { bavail, bsize } = statfsSync(tmpdir());
  const freeMib = Math.floor((bavail * bsize) / (1024 * 1024));
  if (freeMib >= NEEDED_MIB) return true;
  console.log(`${tmpdir()} has ${freeMib} MiB of free space, the tests need ${NEEDED_MIB}: make room there`);
  totals.failed++;
  failures.push("free space");
  return false;
}

/** Each check counts as one test, so that the last line tells the whole. */
function runChecks() {
  runCheck("format and lint", [
    join(MODULES, "@biomejs", "biome", "bin", "biome"),
    "check",
    "--error-on-warnings",
    ".",
  ]);
  const compiler = join(MODULES, "typescript", "bin", "tsc");
  runCheck("types", [compiler, "--noEmit"]);
  runCheck("build", [compiler, "-p", "tsconfig.build.json"]);
}

function runCheck(name, args) {
  console.log(`\n== ${name}`);
  const { status } = spawnSync(PINNED_NODE, args, { cwd: ROOT, stdio: "inherit" });
  if (status === 0) totals.passed++;
  else {
    totals.failed++;
    failures.push(name);
  }
}

function runTests() {
  console.log("\n== tests");
  const report = join(scratch, "report.json");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const { status } = spawnSync(
    PINNED_NODE,
    [join(MODULES, "vitest", "vitest.mjs"), "run", ...reporters, ...vitestArguments],
    {
      cwd: ROOT,
      stdio: "inherit",
      // the pinned Node first, also for programs that tests start
      env: { ...process.env, PATH: `${join(MODULES, ".bin")}:${process.env.PATH}`, DECANT_TEST_SKIPS: skipFile() },
    },
  );
  const failedBefore = totals.failed;
  countTests(report);
  // an error outside of any test: an unhandled rejection, a worker that died, no report at all
  if (status !== 0 && totals.failed === failedBefore) {
    totals.failed++;
    failures.push(`vitest ended with ${status}`);
  }
}

function countTests(report) {
  let results = [];
  try {
    results = JSON.parse(readFileSync(report, "utf8")).testResults;
  } catch (error) {
    console.log(`No test report: ${error.message}`);
  }
  for (const file of results) {
    for (const test of file.assertionResults) {
      if (test.status === "passed") totals.passed++;
      else if (test.status === "failed") totals.failed++;
      else totals.skipped++;
      const name = `${relative(file.name)}: ${test.fullName}`;
      if (test.status === "failed") failures.push(name);
      if (test.status === "passed" && test.failureMessages.length > 0) {
        flaky.push(`${name}, which failed at first: ${test.failureMessages[0].split("\n")[0]}`);
      }
    }
    const hasFailedTest = file.assertionResults.some((test) => test.status === "failed");
    if (file.status === "failed" && !hasFailedTest) {
      totals.failed++; // the file itself could not be run
      failures.push(relative(file.name));
    }
  }
}

/** What test files said about things that this machine cannot test. */
function printSkips() {
  try {
    for (const line of new Set(readFileSync(skipFile(), "utf8").trimEnd().split("\n"))) console.log(line);
  } catch {
    // nothing was skipped
  }
}

function skipFile() {
  return join(scratch, "skips.txt");
}

function relative(file) {
  return file.startsWith(ROOT) ? file.slice(ROOT.length + 1) : file;
}
