// Mailboxes: how a thread tells another that there is something to look at.
//
//   producers (any thread)              one mailbox                     consumer (its thread)
//   post(id, kind, a, b, c) --> ring of MAIL_ITEMS_MAX cells --> drain(): many messages a call
//                         \                                      ^
//                          `-- first of a batch only: wake() ----'   (a thread-safe function)
//
// A message is four words, [kind, a, b, c]. It is a hint and carries no state: the state lies in
// the structure that the message names, so a receiver that looks twice, or late, is right. That
// is why the box may be lossy at its limit: post() to a full box returns false and sets a flag,
// and the next drain() begins with MAIL_LOST, upon which the receiver looks at everything it has.
//
// The ring is a bounded queue with a sequence number in each cell (any number of producers, one
// consumer, no lock). Worked example with 4 cells:
//
//   cell      0       1       2       3        a cell with sequence s is free for the producer
//   sequence  0       1       2       3        that holds ticket s, and full for the consumer
//   post A: ticket 0; write cell 0, sequence := 1        that expects s - 1
//   post B: ticket 1; write cell 1, sequence := 2
//   drain:  expects 0, cell 0 has 0 + 1: take A, sequence := 0 + 4 (free for ticket 4) ...
//   post C..F take tickets 2..5; ticket 6 finds cell 2 with sequence 3 < 6: full, false.
//
// Waking: a producer that has published asks `is_woken.exchange(true)`; only the one that found
// false wakes the thread. The consumer clears the flag before it drains, so a message published
// after the drain's last look finds false and wakes again. One wake a batch, however many posts.
//
// A mailbox is named by a thread id: index | generation << 8, so that mail for a thread that has
// gone never reaches its successor. Boxes are made once per index and never freed (THREADS_MAX of
// them, 96 KiB each when used), hence a late producer never touches freed memory.
//
// What it does badly: messages of different producers have no common order, and a thread that
// does not drain makes others' posts fail; nobody waits for it.
#pragma once

#include <cstdint>

namespace warmpath {

// Threads with a mailbox at once; an index must fit into the low 8 bits of a thread id.
inline constexpr std::uint32_t MAIL_THREADS_MAX = 256;
// Messages that wait in one mailbox; bounds its memory, past it mail is lost and MAIL_LOST said.
inline constexpr std::uint32_t MAIL_ITEMS_MAX = 4096;
inline constexpr std::uint32_t MAIL_WORDS = 4;
inline constexpr std::uint32_t MAIL_NO_THREAD = UINT32_MAX;

// Kinds; the same numbers as in src/native/mailbox.ts.
enum MailKind : std::uint32_t {
  MAIL_LOST = 0,
  MAIL_LOG_ADVANCED = 1,
  MAIL_CANCEL = 2,
  MAIL_RESUME_UPSTREAM = 3,
  // 4 and 5 are sent by JavaScript alone.
  MAIL_STOP = 6,
};

struct Mail {
  std::uint32_t words[MAIL_WORDS];
};

// Called by a producer that put the first message of a batch, never under the ring's own state.
using MailWake = void (*)(void* context);

// Opens a mailbox; MAIL_NO_THREAD when all are in use.
std::uint32_t mail_open(MailWake wake, void* context);
// After it returns, wake is not called any more; waiting messages are dropped.
void mail_close(std::uint32_t thread_id);
// False when the box is full or closed. From any thread.
bool mail_post(std::uint32_t thread_id, std::uint32_t kind, std::uint32_t a, std::uint32_t b,
               std::uint32_t c);
// Takes up to `mail_max` (at least 2) messages; 0 when the box is empty. Only from its own thread.
std::uint32_t mail_drain(std::uint32_t thread_id, std::uint32_t* out, std::uint32_t mail_max);
// To be called before a drain: later posts wake again.
void mail_arm(std::uint32_t thread_id);

}  // namespace warmpath
