/** Limits that TypeScript and C++ share; each has its twin under native/. */

/** Slots of (node, rank) at once: one bit, one load line and one coverage row each. */
export const SLOTS_MAX = 1024
