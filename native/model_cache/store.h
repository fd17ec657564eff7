// Files of the store: a private tmpfs on which whole model files lie in huge pages.
//
//   create: open O_EXCL, ftruncate, fallocate (admission: ENOSPC before a byte moves)
//   fill:   pwrite of 4 MiB chunks (chunk_copy, receiver)
//   seal:   read-only fd, mode 0444, immutable       from here on nobody can write
//   unlink: immutable off, unlink                    memory returns with the last reader
//
// `huge=within_size` gives huge pages to a file whose size was set before it is written, and
// leaves small files small; it does not depend on the machine's shmem_enabled. The mount is
// detached: it has no path, shows in no mountinfo and goes with its last descriptor or reader.
//
// The lease probe tells whether anybody but us reads or maps a sealed file: a write lease is
// granted only when our one read-only description is the only one. It is wrong when this process
// opens the file a second time (a dup is fine), hence one descriptor a file.
//
// Whether huge pages were to be had is not said by anybody: the kernel takes small ones silently
// when memory is fragmented. So a whole file is mapped once, touched at one byte in 2 MiB, and
// PAGEMAP_SCAN (Linux 6.7; ENOTTY before) says how much of it was mapped by huge entries: some
// 50 us for 160 MiB. smaps says the same of any kernel, but walks the whole heap first, and the
// 5 ms that this took for each file were a tenth of the time to load a model from a peer.
#pragma once

#include <cstdint>

namespace warmpath::model_cache {

// Bytes of a huge page; the store counts in no other size.
inline constexpr std::uint64_t HUGE_PAGE_BYTES = 2 << 20;

// All return a descriptor or 0, or a negative errno.
int store_make(std::uint64_t bytes, bool has_huge_pages);
int store_create(int folder, const char* name, std::uint64_t size);
int store_seal(int folder, const char* name);
int store_unlink(int folder, const char* name);
// Modification time of a file or folder, to the nanosecond (Node keeps some hundred of them).
int store_stamp(const char* path, std::int64_t seconds, std::int64_t nanoseconds);
// 1: nobody else has it open or mapped, 0: somebody has.
int store_is_idle(int file);
// Bytes of the file that lie in huge pages, or a negative errno.
std::int64_t store_huge_bytes(int file);

}  // namespace warmpath::model_cache
