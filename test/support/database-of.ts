/** The name of the database in an address of a SQL server. */
export function databaseOf(url: string): string {
  return /\/([^/?]*)(?:\?|$)/.exec(url)![1]!;
}
