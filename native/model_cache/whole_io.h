// Small things of the operating system that several files here need in exactly one way: whole
// reads and writes, a bounce buffer, a thread that takes no signals.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warmpath::model_cache {

// 0, or a negative errno; -ENODATA when the file ends before `length` bytes.
int read_whole(int file, std::uint8_t* out, std::size_t length, std::uint64_t offset);
int write_whole(int file, const std::uint8_t* data, std::size_t length, std::uint64_t offset);

// CHUNK_BYTES_MAX bytes on huge pages where the system gives them; munmap of as many frees them.
std::uint8_t* map_bounce();

// A detached thread with all signals blocked: those are for the thread of JavaScript.
void start_thread(void (*run)());

// Keeps the signals of the thread that calls it away from it.
void block_signals();

}  // namespace warmpath::model_cache
