// Copies and hashes chunks on threads of its own.
//
//   source fd --pread--> bounce buffer (4 MiB, one a thread) --pwrite--> store fd
//                               `-- xxh3-128 --> the answering event
//
// The bounce buffer is on purpose: reading straight into a mapping of the store faults page by
// page and zeroes what is about to be overwritten (1.9 to 12 GB/s); a pwrite of whole huge pages
// zeroes nothing (10 to 15 GB/s by one thread), and the hash reads from cache.
//
// A source that hangs (a stalled network file system) holds its thread until the system call
// returns; nothing can call it back. So a pool of n threads serves n - 1 files beside it. The
// caller gives up by its own clock and ignores the late answer.
#pragma once

#include <cstdint>

namespace warmpath::model_cache {

// Chunks that wait for a thread; past it a call fails with EAGAIN. 64 Ki chunks are 256 GiB.
inline constexpr std::uint32_t CHUNK_JOBS_MAX = 65536;
// Threads of the pool: enough to keep a fast network source busy, few enough to be cheap.
inline constexpr std::uint32_t CHUNK_THREADS_MAX = 64;

struct ChunkJob {
  std::uint32_t token;
  std::int32_t from;
  // Below 0: hash only.
  std::int32_t to;
  std::uint32_t length;
  std::uint64_t offset;
};

// Makes the pool as large as this; it never shrinks. Without a call it has 2 threads.
void chunk_threads(std::uint32_t count);
// Answers with EVENT_COPIED: error (ENODATA: the source ended early) and hash. False: full.
bool chunk_submit(const ChunkJob& job);

}  // namespace warmpath::model_cache
