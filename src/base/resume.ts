/** What was taken from an iterator already, and then the rest of it. The iterator is told when nobody wants that any more. */
export async function* resume<T>(taken: readonly T[], iterator: AsyncIterator<T>): AsyncGenerator<T> {
  try {
    yield* taken;
    for (;;) {
      const next = await iterator.next();
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await iterator.return?.();
  }
}
