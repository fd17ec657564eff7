#pragma once

#include <cstdint>

namespace bench {

// Builds chains of several lengths, `blocks` distinct ones in all, and times lookups of them in
// the flat map and in the index; prints one JSON object.
void run_lookups(uint64_t blocks, uint32_t samples);

}  // namespace bench
