import { volumePrefix } from "../support/etcd-gateway.ts";
import { type EtcdServer, requireEtcd } from "../support/etcd-server.ts";
import type { EngineHarness } from "./engine-harness.ts";
import { describeEngine } from "./engine-suite.ts";

let count = 0;

function harness({ url, gateway }: Pick<EtcdServer, "url" | "gateway">): EngineHarness {
  const pathOf = (address: string): string => /^[a-z]+:\/\/[^/]*([^?]*)/.exec(address)![1]!;
  return {
    createsDatabase: false,
    pointInTime: true,
    hasChangeLog: false, // docs/spec/kv.md §5.13
    emptyAddress: async () => {
      const path = `/conformance-${process.pid}-${count++}`;
      await gateway.remove(volumePrefix(path));
      return url(path);
    },
    fingerprint: (address) => gateway.readLines(pathOf(address)),
    changeLog: async () => [],
    occupy: async (address) => {
      const key = Buffer.concat([volumePrefix(pathOf(address)), Buffer.from("something else")]);
      await gateway.write([{ key, value: Buffer.from("1") }]);
    },
  };
}

const server = await requireEtcd();
describeEngine("etcd", server && harness(server));
