/** Limits that other rooms keep to before they call a native structure. */

/** Slots of (node, rank) at once: one bit, one load line, one coverage row each; so in C++, too. */
export const SLOTS_MAX = 1024

/** Tokens (or bytes of text) that one key covers, and so a block: what is larger is no block size. */
export const BLOCK_TOKENS_MAX = 1 << 20

/** Blocks that one slot may be said to have room for: engines number them in 32 bits. */
export const SLOT_BLOCKS_MAX = 2 ** 32 - 1
