/** Why nothing may be deleted now. */
export interface Refusal {
  /** Stable word for programs: `frozen`, `unverified`, `clock`, `unreachable`. */
  readonly cause: "frozen" | "unverified" | "clock" | "unreachable";
  /** One sentence, and what to do. */
  readonly reason: string;
  readonly hint: string;
}
