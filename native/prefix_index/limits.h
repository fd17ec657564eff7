// Bounds that all parts of the index share.
#pragma once

#include <cstdint>

namespace warmpath {

// Slots, that is (node, rank) pairs, of the process: sizes the tables by slot and the outputs of
// a match. `src/native/limits.ts` says the same number; a test compares them.
constexpr uint32_t SLOTS_MAX = 1024;

// Indices, one for each (model, block size): their ids are never used twice.
constexpr uint32_t INDEXES_MAX = 4096;

// Stores whose parent is unknown: a lost batch leaves the rest of its chains here. Past it the
// oldest are dropped.
constexpr uint32_t ORPHANS_MAX = 4096;

// Bytes of parked stores, so that a node that sends only orphans cannot fill memory.
constexpr uint64_t ORPHAN_BYTES_MAX = uint64_t{16} << 20;

// Age of a parked store in operations of the index: what no replay brought by then never comes.
constexpr uint64_t ORPHAN_AGE_OPS_MAX = uint64_t{1} << 22;

// Stores stop at 1 - 1/32 of the byte budget: removals may still need memory (bitmaps of holes).
constexpr uint64_t BUDGET_RESERVE_SHARE = 32;

// Times that a lookup starts again because the writer changed what it had read; then the first run
// alone answers, so that a lookup ends whatever the writer does.
constexpr uint32_t MATCH_TRIES_MAX = 8;

}  // namespace warmpath
