// The indices of the process by id, and the lookup that joins an index with the overlay.
#pragma once

#include "prefix_index/prefix_index.h"

namespace warmpath {

// A new index; 0 when INDEXES_MAX were made. Ids start at 1 and are never used twice.
uint32_t index_create(uint32_t block_size, uint64_t bytes_max, const OrphanLimits& limits);
// Any thread; null for 0 and for ids that were never given. Indices live as long as the process.
PrefixIndex* index_find(uint32_t id);

// For each slot the deeper of index and prediction, and the index's depth alone beside it.
uint32_t match_prefix(const PrefixIndex* index, const uint64_t* keys, uint32_t count,
                      uint64_t now_ms, uint32_t* out_slots, uint32_t* out_depths,
                      uint32_t* out_index_depths);

}  // namespace warmpath
