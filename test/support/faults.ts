/** What a faulty object throws. It is no error of decant: whoever wraps it must keep it as the cause or pass it on. */
export class InjectedFault extends Error {
  constructor(call: string) {
    super(`Injected fault in ${call}`);
    this.name = "InjectedFault";
  }
}

/** Counts the calls of the objects that share it, and lets one of them fail. */
export class FaultPlan {
  /** Names of the calls so far. */
  readonly calls: string[] = [];
  readonly #failAt: number;

  /** `failAt` is the index of the call that fails, from 0; Infinity for none. */
  constructor(failAt: number) {
    this.#failAt = failAt;
  }

  get hasFailed(): boolean {
    return this.calls.length > this.#failAt;
  }

  /** Notes a call; throws when it is the one that fails. */
  enter(name: string): void {
    this.calls.push(name);
    if (this.calls.length - 1 === this.#failAt) throw new InjectedFault(name);
  }
}

/** What cleans up must not fail by contract, and what answers at once asks nobody. */
const SPARED = new Set(["close", "abort", "valueLimits"]);

/**
 * The same object, whose calls fail as planned: each method call counts, each step of a stream that a method returns, and
 * the calls of what `open...` methods give. Values and getters pass.
 */
export function faulty<T extends object>(target: T, plan: FaultPlan): T {
  return new Proxy(target, {
    get(_, name) {
      const value = Reflect.get(target, name, target) as unknown; // private members want the object itself
      if (typeof value !== "function" || typeof name === "symbol" || SPARED.has(name)) {
        return typeof value === "function" ? value.bind(target) : value;
      }
      return (...args: unknown[]): unknown => {
        // What an `open...` that fails has opened would never be closed: it fails before.
        if (name.startsWith("open")) return open(() => value.apply(target, args) as unknown, name, plan);
        const result: unknown = value.apply(target, args);
        if (isAsyncIterable(result)) return faultySteps(result, name, plan);
        return settle(result, name, plan);
      };
    },
  });
}

/** Fails after the call was made: what it did is done, as when an answer is lost. */
async function settle(result: unknown, name: string, plan: FaultPlan): Promise<unknown> {
  const value: unknown = await result;
  plan.enter(name);
  return value;
}

async function open(call: () => unknown, name: string, plan: FaultPlan): Promise<unknown> {
  plan.enter(name);
  return faulty((await call()) as object, plan);
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

async function* faultySteps(source: AsyncIterable<unknown>, name: string, plan: FaultPlan): AsyncGenerator<unknown> {
  for await (const item of source) {
    plan.enter(`${name}[]`);
    yield item;
  }
}
