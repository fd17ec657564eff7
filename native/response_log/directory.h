// The directory: response ids to the names of logs, for clients that come back on any thread.
//
//   id "resp_68a1..", tenant 3 --xxh3 128, secret seed--> key --> { slot 17, generation 4 }
//
// A table with linear probing, kept at most half full; the key of an entry is the 128-bit hash of
// tenant and id together, so another tenant's id is simply not there: unknown and foreign look the
// same, also in time. The seed is random, hence nobody can prepare ids that collide.
//
//   cells   [ . | a | b | . | c | . | . | . ]    removing a: b is moved back if its own place
//   ideal         1   1       4                  allows it, so no tombstones pile up
//
// A log has at most DIRECTORY_IDS_PER_LOG_MAX ids (its response id, the key under which identical
// requests find it, ...), and takes them along when it goes. One mutex guards the table: it is
// taken once per published response, not per token. Memory: 32 bytes a cell, grown by doubling.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

namespace warmpath {

// Ids that one log may have.
inline constexpr std::uint32_t DIRECTORY_IDS_PER_LOG_MAX = 4;
// Bytes of an id; longer ones are refused by the face.
inline constexpr std::uint32_t DIRECTORY_ID_BYTES_MAX = 64;

// A log's name. Generation 0 names nothing.
struct LogName {
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
};

struct DirectoryKey {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  bool operator==(const DirectoryKey&) const = default;
};

class Directory {
 public:
  Directory();
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  DirectoryKey key_of(std::uint32_t tenant, const std::uint8_t* id, std::size_t size) const;
  // False when the key is there already.
  bool add(const DirectoryKey& key, LogName name);
  bool find(const DirectoryKey& key, LogName* name) const;
  void remove(const DirectoryKey& key);
  std::uint32_t count() const;

 private:
  struct Cell {
    DirectoryKey key;
    LogName name;
    bool is_used() const { return name.generation != 0; }
  };

  std::uint32_t place_of(const DirectoryKey& key) const;
  void grow();

  mutable std::mutex mutex_;
  std::uint64_t seed_;
  Cell* cells_;
  std::uint32_t mask_;
  std::uint32_t count_ = 0;
};

}  // namespace warmpath
