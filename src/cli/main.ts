#!/usr/bin/env node
// Nothing is imported before the check: an older Node.js fails at the import of what it lacks, in words that nobody understands.
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

if (major > 22 || (major === 22 && minor >= 15)) {
  if (process.argv.includes("agent")) (await import("./lean-process.ts")).restartLean(process);
  await import("./start.ts").catch((error: unknown) => {
    process.stderr.write(`decant: error: ${error instanceof Error ? error.message : String(error)}\n`);
    // Not 1, which is an answer of `diff`.
    process.exitCode = 70;
  });
} else {
  process.stderr.write(
    `decant: error: Node.js ${process.versions.node} is too old: decant needs 22.15 or newer\n` +
      "  hint: Install a newer Node.js; in a clone of the repository `npx decant` brings its own\n",
  );
  process.exitCode = 2;
}

export {};
