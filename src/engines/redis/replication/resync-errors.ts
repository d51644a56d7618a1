import { EngineError } from "../../../base/errors.ts";
import { replyError } from "../redis-errors.ts";

/** What a server says that gives no full resync, by how it begins. */
const MEANINGS: readonly { begins: RegExp; hint: string; retryable: boolean }[] = [
  {
    begins: /^NOMASTERLINK/,
    hint: "It is a replica that has lost its master: take the address of the master, or wait until the link is back",
    retryable: true,
  },
  {
    begins: /^(ERR unknown command|ERR unsupported command|ERR command .* not allowed)/i,
    hint: "Managed services keep PSYNC to themselves: dump without --snapshot replica",
    retryable: false,
  },
  {
    begins: /BGSAVE|fork/i,
    hint: "It could not fork or write: its log says why. --snapshot tracking needs neither",
    retryable: true,
  },
];

/** An error reply to `command`, which is part of the handshake of a replica. */
export function resyncError(reply: string, where: string, command: string): EngineError {
  const meaning = MEANINGS.find(({ begins }) => begins.test(reply));
  if (meaning === undefined) return replyError(reply, where, command);
  return new EngineError(
    "DECANT_E_REDIS_RESYNC",
    `The Redis server at ${where} gives no full resync (${command}): ${reply}`,
    { hint: meaning.hint, retryable: meaning.retryable },
  );
}

/** An answer that no replica gets. */
export function unexpectedAnswer(answer: string, where: string, command: string): EngineError {
  return new EngineError(
    "DECANT_E_REDIS_PROTOCOL",
    `The Redis server at ${where} answered ${command} by ${JSON.stringify(answer.slice(0, 200))}`,
    { hint: "Dump without --snapshot replica" },
  );
}
