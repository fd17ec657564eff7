// Merging of runs; see below.
#include "prefix_index/prefix_index.h"

namespace warmpath {

void PrefixIndex::merge_some() {
  mergeable_.clear();
}

}  // namespace warmpath
