// Makes a fresh clone ready to run: installs the packages and compiles. Plain JavaScript without dependencies, because it
// runs before anything is installed, on whatever Node (18 or newer) and npm the host has.
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, lstatSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** Root of the repository. */
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** The Node.js that the repository pins; everything but the scripts themselves runs on it. */
export const PINNED_NODE = join(ROOT, "node_modules", ".bin", "node");

const INSTALLED = join(ROOT, "node_modules", ".package-lock.json");
const COMPILED = join(ROOT, "dist", "cli", "main.js");

/** Installs what is missing or older than package-lock.json, and with `build` compiles what is older than src. */
export function bootstrap({ build = true } = {}) {
  if (!existsSync(PINNED_NODE) || mtime(INSTALLED) < mtime(join(ROOT, "package-lock.json"))) install();
  if (build && mtime(COMPILED) < newestSource()) compile();
}

/** Runs a program with the terminal of this process; ends this process when it fails. */
export function runOrExit(program, args, options = {}) {
  const result = spawnSync(program, args, { cwd: ROOT, stdio: "inherit", ...options });
  if (result.error) fail(`Cannot run ${program}: ${result.error.message}`);
  if (result.status !== 0) fail(`${[program, ...args].join(" ")} ended with ${result.status ?? result.signal}`);
  return result;
}

export function fail(message) {
  console.error(message);
  process.exit(1);
}

function install() {
  // npm ci empties the directory that a link leads to, and with it somebody else's clone.
  if (lstatSync(join(ROOT, "node_modules"), { throwIfNoEntry: false })?.isSymbolicLink()) {
    fail("node_modules is a symbolic link and out of date: update what it leads to, or remove the link");
  }
  console.log("Installing packages: npm ci");
  const npm = process.env.npm_execpath;
  const args = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  const options = { stdio: ["ignore", "inherit", "inherit"] };
  if (npm?.endsWith(".js")) runOrExit(process.execPath, [npm, ...args], options);
  else runOrExit("npm", args, options);
  // An npm that runs no install scripts leaves out the step that fetches the pinned Node
  if (!existsSync(PINNED_NODE) || spawnSync(PINNED_NODE, ["--version"]).status !== 0) {
    runOrExit(process.execPath, ["installArchSpecificPackage.js"], { cwd: join(ROOT, "node_modules", "node") });
  }
}

function compile() {
  console.log("Compiling: tsc");
  runOrExit(PINNED_NODE, [join(ROOT, "node_modules", "typescript", "bin", "tsc"), "-p", "tsconfig.build.json"]);
  chmodSync(COMPILED, 0o755); // `npx decant` in a clone runs the file itself
}

function newestSource() {
  const files = readdirSync(join(ROOT, "src"), { recursive: true }).map((name) => join(ROOT, "src", name));
  files.push(join(ROOT, "package.json"), join(ROOT, "tsconfig.json"), join(ROOT, "tsconfig.build.json"));
  return Math.max(...files.map(mtime));
}

/** Milliseconds; 0 for a file that is not there. */
function mtime(file) {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  bootstrap({ build: !process.argv.includes("--no-build") });
}
