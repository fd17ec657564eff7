// The stored part of one response log: its bytes in blocks, and where its events end.
//
//   position   base                          bytes_end
//                |                               |
//   blocks    [ 2 KB ][ 4 KB      ][ 8 KB ....   )      doubling up to STORED_BLOCK_BYTES_MAX
//   ends         .    .  .      .        .    .         low 32 bits of each position in (base, end]
//
// Bytes never move once stored: appending adds blocks, freeing from the front drops whole blocks,
// so base is the reader's floor while the memory of its block lives on until the block is passed.
// A short answer costs one block of 2 KB, a long one wastes at most one block of 64 KB.
//
// An end is stored as 32 bits. The stored span is shorter than 4 GiB (asserted), so the whole
// position is base plus the wrapped difference: base 0x1_0000_0010, end word 0x30 -> base + 0x20.
//
// Every block is charged to one process-wide budget before it is allocated; ends are charged as
// their array grows, without asking (4 bytes an event, beside some 200 of the event itself).
// Not synchronised: the log's mutex guards it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace warmpath {

// Bytes of a log's first block: a short answer must not cost a long one's memory.
inline constexpr std::size_t STORED_BLOCK_BYTES_MIN = 2048;
// Bytes of its largest blocks: what a long answer wastes at most.
inline constexpr std::size_t STORED_BLOCK_BYTES_MAX = 65536;
// The span of one log's stored bytes, so that ends fit into 32 bits.
inline constexpr std::uint64_t STORED_SPAN_BYTES_MAX = UINT32_MAX;

// Bytes that all logs of the process may store.
class StoreBudget {
 public:
  void set_max(std::uint64_t bytes_max) { bytes_max_.store(bytes_max, std::memory_order_relaxed); }
  std::uint64_t held() const { return held_.load(std::memory_order_relaxed); }
  // False when it would pass the limit, or when the fault seam says so.
  bool take(std::uint64_t bytes);
  void force(std::uint64_t bytes) { held_.fetch_add(bytes, std::memory_order_relaxed); }
  void give(std::uint64_t bytes);
  // For tests: the takes after the next `count` ones fail as if memory had run out; -1: never.
  void fail_after(std::int64_t count) { faults_.store(count, std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> held_{0};
  std::atomic<std::uint64_t> bytes_max_{256ull << 20};
  std::atomic<std::int64_t> faults_{-1};
};

// The one budget of the process.
StoreBudget& store_budget();

class StoredBytes {
 public:
  StoredBytes() = default;
  ~StoredBytes() { clear(0, 0); }
  StoredBytes(const StoredBytes&) = delete;
  StoredBytes& operator=(const StoredBytes&) = delete;

  // Drops everything; the next byte to be stored is at `position`, after `events` events.
  void clear(std::uint64_t position, std::uint64_t events);
  // All of the bytes or, when the budget refuses, none.
  bool append(const std::uint8_t* bytes, std::size_t size);
  void add_end(std::uint64_t position);
  // Bytes before `position` may go.
  void free_before(std::uint64_t position);
  // Copies from `position` on, up to `size` bytes or what is stored.
  std::size_t copy(std::uint64_t position, std::uint8_t* out, std::size_t size) const;
  // Length of the part of [position, position + size) up to the last event's end; 0 if none ends.
  std::size_t whole_length(std::uint64_t position, std::size_t size) const;
  // The position just after event number `event` (the first is 1), if its end is stored.
  bool end_of_event(std::uint64_t event, std::uint64_t* position) const;

  std::uint64_t base() const { return base_; }
  std::uint64_t bytes_end() const { return bytes_end_; }

 private:
  struct Block {
    std::uint8_t* bytes;
    std::uint32_t capacity;
    std::uint32_t first_low;  // low 32 bits of the position of its first byte
  };
  static_assert(sizeof(Block) == 16);

  std::uint32_t block_of(std::uint64_t position) const;
  std::uint64_t position_of(std::uint32_t low) const { return base_ + (low - low_of(base_)); }
  static std::uint32_t low_of(std::uint64_t position) {
    return static_cast<std::uint32_t>(position);
  }
  bool add_block(std::size_t wanted);
  void drop_last_blocks(std::uint32_t count);
  std::uint32_t ends_not_after(std::uint64_t position) const;

  std::uint64_t base_ = 0;
  std::uint64_t bytes_end_ = 0;
  std::uint64_t capacity_end_ = 0;   // position where the last block ends
  std::uint64_t events_before_ = 0;  // events that had ended before the first stored end

  Block* blocks_ = nullptr;
  std::uint32_t blocks_first_ = 0;
  std::uint32_t blocks_count_ = 0;  // up to and with the last one, dropped ones included
  std::uint32_t blocks_room_ = 0;

  std::uint32_t* ends_ = nullptr;
  std::uint32_t ends_first_ = 0;
  std::uint32_t ends_count_ = 0;
  std::uint32_t ends_room_ = 0;
};

}  // namespace warmpath
