// What a sender may send: blobs, and of each the chunks that are there, with their hashes.
//
//   file id (16 bytes) --> generation, descriptor, size
//                          chunk   0     1     2
//                          state  HAVE  HAVE  WANTED   <- somebody waits, JavaScript was told
//                          hash   ..    ..    -
//
// A file id has one generation at a time: a request for another is a conflict (409), so bytes of
// two generations never meet. The descriptor is a duplicate, shared by the sends under way, and
// closed with the last of them. Not safe for threads by itself: the sender has the lock.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace warmpath::model_cache {

using Id = std::array<std::uint8_t, 16>;

// A descriptor that closes itself.
struct SharedFile {
  int file = -1;
  ~SharedFile();
};

enum class ChunkState : std::uint8_t { ABSENT, WANTED, HAVE };

struct Blob {
  Id generation;
  std::uint64_t size = 0;
  std::shared_ptr<SharedFile> file;
  std::vector<ChunkState> states;
  std::vector<Id> hashes;
};

class Shelf {
 public:
  // Also replaces the descriptor of a known blob, keeping its chunks. Duplicates `file`.
  int put(const Id& file_id, const Id& generation, int file, std::uint64_t size);
  bool put_chunk(const Id& file_id, const Id& generation, std::uint64_t chunk, const Id& hash);
  void drop(const Id& file_id, const Id& generation);
  Blob* find(const Id& file_id);
  Blob* find(const Id& file_id, const Id& generation);

 private:
  struct IdHash {
    std::size_t operator()(const Id& id) const;
  };
  std::unordered_map<Id, Blob, IdHash> blobs_;
};

// 32 hex digits; false when they are not.
bool read_hex(std::string_view text, Id* out);
std::string hex_of(const Id& id);

}  // namespace warmpath::model_cache
