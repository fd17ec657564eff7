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
// returns; nothing can call it back. So a job that finds no idle thread gets a new one: there are
// as many as jobs were under way at once, and the caller bounds those (source_lane.ts). It gives
// up by its own clock and ignores the late answer. A thread costs its buffer, 4 MiB, and stays.
#pragma once

#include <cstdint>

namespace warmpath::model_cache {

// Chunks that wait for a thread; past it a call fails with EAGAIN. 64 Ki chunks are 256 GiB.
inline constexpr std::uint32_t CHUNK_JOBS_MAX = 65536;
// Threads of the pool: all slots of a lane at their most (32), and as many reads that hang.
inline constexpr std::uint32_t CHUNK_THREADS_MAX = 64;

// Status of an answer whose error is of the file that was written, not of the one that was read.
inline constexpr std::uint32_t COPY_NOT_WRITTEN = 1;

struct ChunkJob {
  std::uint32_t token;
  std::int32_t from;
  // Below 0: hash only.
  std::int32_t to;
  std::uint32_t length;
  std::uint64_t offset;
};

// Answers with EVENT_COPIED: error (ENODATA: the source ended early), status and hash. False: full.
bool chunk_submit(const ChunkJob& job);

}  // namespace warmpath::model_cache
