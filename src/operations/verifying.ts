/** The phase of the progress during which the target of a load is a volume already. */
export const VERIFYING = "Verifying";
