// Gone ids: which ids named a kept log that is held no more, so that who comes back too late hears
// so (410) and not that there never was such a response (404).
//
//   key { low, high } --low--> set of 4 tags, newest first    [ high e | high b | high a | - ]
//   adding a key to a full set drops its oldest tag
//
// All ids of a dropped log are kept here, also those that no client knows (digests of requests).
// Only those are told whose tenant it was: the key is the directory's, of tenant and id together.
// Memory: 8 bytes an id, 512 KiB in all, taken when the first id goes. A tag is the 64 bits of the
// hash that do not choose the set, so an id that was never given is taken for a gone one once in
// 2^62 looks. What it does badly: the 65,536 places are not used evenly, so that of the ids
// that went 16,384 ids ago some 2 % are forgotten (Poisson of mean 1: four or more in one set).
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "response_log/directory.h"

namespace warmpath {

// Ids of dropped responses that are told apart from unknown ones, at most.
inline constexpr std::uint32_t GONE_IDS_MAX = 65536;

class GoneIds {
 public:
  void add(const DirectoryKey& key);
  bool has(const DirectoryKey& key) const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::uint64_t> tags_;  // an unused one is 0; a key whose tag is 0 is never found
};

}  // namespace warmpath
