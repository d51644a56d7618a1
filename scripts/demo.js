// `npm run demo`: installs everything, compiles, and runs the main job once on the sample volume of examples/: dump it, load
// the dump into a new database, dump that, and compare. The files stay in ./decant-demo/.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { bootstrap, fail, PINNED_NODE, ROOT } from "./bootstrap.js";

const SOURCE = join(ROOT, "decant-demo", "sample.db");
const COPY = join(ROOT, "decant-demo", "restored.db");
const FIRST_DUMP = join(ROOT, "decant-demo", "sample.json");
const SECOND_DUMP = join(ROOT, "decant-demo", "restored.json");

bootstrap();
prepareDirectory();

decant("1. Dump the sample volume", "dump", address(SOURCE), shown(FIRST_DUMP));
decant("2. Load the dump into a new, empty database", "load", address(COPY), shown(FIRST_DUMP));
decant("3. Dump what was loaded", "dump", address(COPY), shown(SECOND_DUMP));

title("4. Compare");
compare();

title("What the volume holds");
printTree(JSON.parse(readFileSync(SECOND_DUMP, "utf8")));

title("Files of this demo");
for (const [file, text] of [
  [SOURCE, "the sample volume (a copy of examples/sample.sqlite.db)"],
  [FIRST_DUMP, "its dump"],
  [COPY, "the volume loaded from that dump"],
  [SECOND_DUMP, "the dump of the loaded volume"],
]) {
  console.log(`  ${shown(file).padEnd(28)}${text}`);
}

function prepareDirectory() {
  mkdirSync(join(ROOT, "decant-demo"), { recursive: true });
  for (const file of [SOURCE, COPY, FIRST_DUMP, SECOND_DUMP]) {
    for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(file + suffix, { force: true });
  }
  copyFileSync(join(ROOT, "examples", "sample.sqlite.db"), SOURCE);
}

/** Runs decant as a user would, from the root of the repository. */
function decant(what, ...args) {
  title(what);
  console.log(`$ decant ${args.join(" ")}`);
  const result = spawnSync(PINNED_NODE, [join(ROOT, "dist", "cli", "main.js"), ...args], {
    cwd: ROOT,
    stdio: "inherit",
  });
  if (result.status !== 0) fail(`The demo stopped: decant ${args[0]} ended with ${result.status ?? result.signal}`);
}

/** A load recomputes the counters, as the reference does; everything else must come back byte for byte. */
function compare() {
  const [first, second] = [FIRST_DUMP, SECOND_DUMP].map((file) => splitCounters(readFileSync(file, "latin1")));
  if (first.rest !== second.rest) fail("The two dumps differ: this is a fault in decant");
  console.log(`  ${first.rest.length} bytes outside of the counters are equal, byte for byte.`);
  const [before, after] = [first, second].map(({ counters }) => JSON.parse(counters));
  for (const name of Object.keys(before)) {
    const note = before[name] === after[name] ? "" : "   (a load begins with new numbers)";
    console.log(
      `  ${name.padEnd(12)} ${String(before[name]).padStart(10)} -> ${String(after[name]).padStart(10)}${note}`,
    );
  }
}

function splitCounters(text) {
  const start = text.indexOf('  "Counters": {') + '  "Counters": '.length;
  const end = text.indexOf("}", start) + 1;
  return { counters: text.slice(start, end), rest: text.slice(0, start) + text.slice(end) };
}

function printTree(dump) {
  console.log(`  ${dump.Setting.Name} (${dump.Setting.UUID})`);
  printEntries(dump.FSTree.entries, "  ");
  console.log("  trash");
  printEntries(dump.Trash?.entries ?? {}, "  ");
}

function printEntries(entries, indent) {
  const names = Object.keys(entries);
  names.forEach((name, i) => {
    const isLast = i === names.length - 1;
    console.log(`${indent}${isLast ? "└─" : "├─"} ${decodeURIComponent(name)}${describe(entries[name])}`);
    printEntries(entries[name].entries ?? {}, `${indent}${isLast ? "   " : "│  "}`);
  });
}

function describe({ attr, symlink, xattrs, posix_acl_access: acl }) {
  if (attr.type === "directory") return "/";
  if (attr.type === "symlink") return ` -> ${decodeURIComponent(symlink)}`;
  if (attr.type !== "regular") return `  (${attr.type})`;
  const extras = [attr.nlink > 1 && `${attr.nlink} names`, xattrs && "extended attributes", acl && "ACL"].filter(
    Boolean,
  );
  return `  ${[`${attr.length} bytes`, ...extras].join(", ")}`;
}

function title(text) {
  console.log(`\n${text}`);
}

function address(file) {
  return `sqlite3://${shown(file)}`;
}

function shown(file) {
  return relative(ROOT, file);
}
