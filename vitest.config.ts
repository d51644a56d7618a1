import { defineConfig, type TestProjectInlineConfiguration, type ViteUserConfig } from "vitest/config";

/**
 * `unit` needs nothing but Node; the other projects use real servers, spawned commands or the real client. Those that start, stop and
 * kill programs depend on the machine: what fails is tried a second time, and `npm test` names it in its last lines even when it
 * passed then. Properties are not: a case that was found once would not be found again.
 */
const project = (name: string, include: string[], retry = 0): TestProjectInlineConfiguration => ({
  test: {
    name,
    include,
    retry,
    globalSetup: "test/support/global-setup.ts",
    setupFiles: "test/support/file-teardown.ts",
    testTimeout: 120_000,
    hookTimeout: 180_000,
    environment: "node",
  },
});

const config: ViteUserConfig = defineConfig({
  test: {
    // Most of the time goes to waiting for servers and for the periods of agents, also where a machine has but two cores.
    maxWorkers: 2,
    teardownTimeout: 60_000,
    projects: [
      project("unit", ["test/unit/**/*.test.ts"]),
      project("golden", ["test/golden/**/*.test.ts"], 1),
      project("property", ["test/property/**/*.test.ts"]),
      project("conformance", ["test/conformance/**/*.test.ts"], 1),
      project("fault", ["test/fault/**/*.test.ts"], 1),
      project("cli", ["test/cli/**/*.test.ts"], 1),
      project("interop", ["test/interop/**/*.test.ts"], 1),
    ],
  },
});

export default config;
