import { defineConfig, type TestProjectInlineConfiguration, type ViteUserConfig } from "vitest/config";

/** `unit` needs nothing but Node; the other projects use real servers, spawned commands or the real client. */
const project = (name: string, include: string[]): TestProjectInlineConfiguration => ({
  test: {
    name,
    include,
    globalSetup: "test/support/global-setup.ts",
    testTimeout: 120_000,
    hookTimeout: 180_000,
    environment: "node",
  },
});

const config: ViteUserConfig = defineConfig({
  test: {
    projects: [
      project("unit", ["test/unit/**/*.test.ts"]),
      project("golden", ["test/golden/**/*.test.ts"]),
      project("property", ["test/property/**/*.test.ts"]),
      project("conformance", ["test/conformance/**/*.test.ts"]),
      project("fault", ["test/fault/**/*.test.ts"]),
      project("cli", ["test/cli/**/*.test.ts"]),
      project("interop", ["test/interop/**/*.test.ts"]),
    ],
  },
});

export default config;
