/** Where operations and engines report what a user should read. The command line decides how it looks. */
export interface Logger {
  /** Details for `--verbose`. Build expensive messages only when `debugEnabled` is true. */
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  readonly debugEnabled: boolean;
}

/** Drops everything: for library users who pass no logger. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  debugEnabled: false,
};
