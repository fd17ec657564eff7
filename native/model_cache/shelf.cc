#include "model_cache/shelf.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "model_cache/chunk_hash.h"

namespace warmpath::model_cache {

namespace {

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

SharedFile::~SharedFile() {
  if (file >= 0) close(file);
}

std::size_t Shelf::IdHash::operator()(const Id& id) const {
  std::size_t out;
  std::memcpy(&out, id.data(), sizeof out);
  return out;
}

int Shelf::put(const Id& file_id, const Id& generation, int file, std::uint64_t size) {
  auto shared = std::make_shared<SharedFile>();
  shared->file = fcntl(file, F_DUPFD_CLOEXEC, 0);
  if (shared->file < 0) return -errno;
  Blob& blob = blobs_[file_id];
  if (blob.file == nullptr || blob.generation != generation || blob.size != size) {
    const std::size_t chunks = (size + CHUNK_BYTES_MAX - 1) / CHUNK_BYTES_MAX;
    blob = Blob{.generation = generation,
                .size = size,
                .file = nullptr,
                .states = std::vector<ChunkState>(chunks, ChunkState::ABSENT),
                .hashes = std::vector<Id>(chunks)};
  }
  blob.file = std::move(shared);
  return 0;
}

bool Shelf::put_chunk(const Id& file_id, const Id& generation, std::uint64_t chunk,
                      const Id& hash) {
  Blob* blob = find(file_id, generation);
  if (blob == nullptr || chunk >= blob->states.size()) return false;
  blob->states[chunk] = ChunkState::HAVE;
  blob->hashes[chunk] = hash;
  return true;
}

void Shelf::drop(const Id& file_id, const Id& generation) {
  if (find(file_id, generation) != nullptr) blobs_.erase(file_id);
}

Blob* Shelf::find(const Id& file_id) {
  const auto found = blobs_.find(file_id);
  return found == blobs_.end() ? nullptr : &found->second;
}

Blob* Shelf::find(const Id& file_id, const Id& generation) {
  Blob* blob = find(file_id);
  return blob != nullptr && blob->generation == generation ? blob : nullptr;
}

bool read_hex(std::string_view text, Id* out) {
  if (text.size() != out->size() * 2) return false;
  for (std::size_t i = 0; i < out->size(); i++) {
    const int high = digit(text[i * 2]);
    const int low = digit(text[i * 2 + 1]);
    if (high < 0 || low < 0) return false;
    (*out)[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return true;
}

std::string hex_of(const Id& id) {
  constexpr char DIGITS[] = "0123456789abcdef";
  std::string out;
  for (const std::uint8_t byte : id) {
    out.push_back(DIGITS[byte >> 4]);
    out.push_back(DIGITS[byte & 15]);
  }
  return out;
}

}  // namespace warmpath::model_cache
