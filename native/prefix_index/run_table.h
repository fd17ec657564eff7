// What the writer knows of a run beside its head: where it hangs, and what hangs on it.
//
//        run 1  [ a b c d e ]                     run 2: parent 1, parent_offset 2
//                     ├── run 2 [ x y ]           run 3: parent 1, parent_offset 2
//                     └── run 3 [ z ]             run 1: children 2, fork_end 3, fork_count 2
//
// `fork_end` is one past the last block on which a child hangs: blocks below it stay, even when
// nobody holds them (a ghost), because a child's key must have exactly one place to hang on.
// `fork_count` counts the children at that last block; only when it falls to 0 are the children
// looked through for the next fork. Children form a doubly linked list through the records.
//
// `len` is the writer's length: blocks that a store is just building count already, the head says
// what is published. Ids are used again (the last freed first); id 0 is never given. One cache
// line a run.
#pragma once

#include <cstdint>
#include <vector>

#include "check.h"

namespace warmpath {

constexpr uint32_t RUN_NONE = 0;
// Ids fit the 31 bits of an engine-map entry.
constexpr uint32_t RUNS_MAX = 0x7fffffff;

struct alignas(64) Run {
  uint32_t base = 0;
  uint32_t len = 0;
  uint32_t room = 0;  // blocks taken from the arena; 0 = the record is free
  uint32_t head = 0;  // place in the head table
  uint32_t parent = RUN_NONE;
  uint32_t parent_offset = 0;
  uint32_t first_child = RUN_NONE;
  uint32_t next = RUN_NONE;  // sibling, or next free record
  uint32_t previous = RUN_NONE;
  uint32_t fork_end = 0;
  uint32_t fork_count = 0;
  uint32_t stamp = 0;         // last sweep of a slot's list that saw this run
  uint32_t aliases : 31 = 0;  // alias records that name blocks of this run
  uint32_t is_noted : 1 = 0;  // waits to be tried for a merge
};
static_assert(sizeof(Run) == 64);

class RunTable {
 public:
  RunTable() { runs_.emplace_back(); }
  Run& operator[](uint32_t id) { return runs_[id]; }
  const Run& operator[](uint32_t id) const { return runs_[id]; }
  uint32_t end() const { return static_cast<uint32_t>(runs_.size()); }

  uint32_t take() {
    live_++;
    if (free_ != RUN_NONE) {
      const uint32_t id = free_;
      free_ = runs_[id].next;
      runs_[id] = Run{};
      return id;
    }
    WARMPATH_CHECK(runs_.size() < RUNS_MAX);
    runs_.emplace_back();
    return end() - 1;
  }

  void give(uint32_t id) {
    runs_[id] = Run{};
    runs_[id].next = free_;
    free_ = id;
    live_--;
  }

  void hang(uint32_t child, uint32_t parent, uint32_t offset) {
    Run& run = runs_[child];
    run.parent = parent;
    run.parent_offset = offset;
    if (parent == RUN_NONE) return;
    Run& above = runs_[parent];
    run.previous = RUN_NONE;
    run.next = above.first_child;
    if (run.next != RUN_NONE) runs_[run.next].previous = child;
    above.first_child = child;
    if (offset + 1 > above.fork_end) {
      above.fork_end = offset + 1;
      above.fork_count = 0;
    }
    above.fork_count += offset + 1 == above.fork_end;
  }

  void unhang(uint32_t child) {
    Run& run = runs_[child];
    if (run.parent == RUN_NONE) return;
    Run& above = runs_[run.parent];
    if (run.previous == RUN_NONE) {
      above.first_child = run.next;
    } else {
      runs_[run.previous].next = run.next;
    }
    if (run.next != RUN_NONE) runs_[run.next].previous = run.previous;
    if (run.parent_offset + 1 == above.fork_end && --above.fork_count == 0) find_fork(above);
    run.parent = RUN_NONE;
  }

  // The only child's children hang on the run itself, which has just taken the child's blocks in
  // behind its own `len`.
  void adopt(uint32_t id, uint32_t child, uint32_t len) {
    Run& run = runs_[id];
    const Run gone = runs_[child];
    run.first_child = gone.first_child;
    run.fork_end = gone.fork_end == 0 ? 0 : len + gone.fork_end;
    run.fork_count = gone.fork_count;
    for (uint32_t at = run.first_child; at != RUN_NONE; at = runs_[at].next) {
      runs_[at].parent = id;
      runs_[at].parent_offset += len;
    }
  }

  bool has_one_child(uint32_t id) const {
    const uint32_t child = runs_[id].first_child;
    return child != RUN_NONE && runs_[child].next == RUN_NONE;
  }

  void clear() {
    runs_ = {};
    runs_.emplace_back();
    free_ = RUN_NONE;
    live_ = 0;
  }
  uint32_t live() const { return live_; }
  uint64_t bytes() const { return runs_.capacity() * sizeof(Run); }

 private:
  void find_fork(Run& run) {
    run.fork_end = run.fork_count = 0;
    for (uint32_t id = run.first_child; id != RUN_NONE; id = runs_[id].next) {
      const uint32_t end = runs_[id].parent_offset + 1;
      if (end > run.fork_end) {
        run.fork_end = end;
        run.fork_count = 0;
      }
      run.fork_count += end == run.fork_end;
    }
  }

  std::vector<Run> runs_;
  uint32_t free_ = RUN_NONE;
  uint32_t live_ = 0;
};

}  // namespace warmpath
