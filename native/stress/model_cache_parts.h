// What the stress programs of the model cache share: bytes that follow from a file and its size, so
// that whoever reads can check without sharing anything; answers by number; the daemon's events;
// how a program runs and ends.
#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "check.h"
#include "model_cache/events.h"
#include "stress/stress.h"

namespace warmpath::model_cache {

// Files there are, and bytes of the smallest: some pages, not a whole number of them.
inline constexpr std::uint32_t FILES = 6;
inline constexpr std::uint64_t BYTES_MIN = 30'000;

inline std::uint8_t byte_at(std::uint32_t file, std::uint64_t size, std::uint64_t position) {
  return static_cast<std::uint8_t>((position * 31) ^ (position >> 8) ^ (size * 7) ^ file);
}

inline std::vector<std::uint8_t> bytes_of(std::uint32_t file, std::uint64_t size) {
  std::vector<std::uint8_t> bytes(size);
  for (std::uint64_t i = 0; i < size; i++) bytes[i] = byte_at(file, size, i);
  return bytes;
}

// Answers by their number, and who waits for them.
template <typename Answer>
class Answers {
 public:
  void put(std::uint64_t number, Answer answer) {
    const std::lock_guard lock(mutex_);
    answers_[number] = std::move(answer);
    arrived_.notify_all();
  }
  Answer take(std::uint64_t number) {
    std::unique_lock lock(mutex_);
    const bool is_there = arrived_.wait_for(lock, std::chrono::seconds(WAIT_SECONDS_MAX),
                                            [&] { return answers_.contains(number); });
    WARMPATH_CHECK(is_there);
    Answer answer = std::move(answers_[number]);
    answers_.erase(number);
    return answer;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<std::uint64_t, Answer> answers_;
};

// Takes the events that native threads push, as the daemon's JavaScript does: woken once a batch.
class EventTaker {
 public:
  EventTaker() { events_on_wake(ring, this); }

  // Waits a moment at most, then hands over what there is.
  template <typename Handler>
  void take(Handler&& handle) {
    {
      std::unique_lock lock(mutex_);
      (void)rang_.wait_for(lock, std::chrono::milliseconds(1), [this] { return is_woken_; });
      is_woken_ = false;
    }
    Event events[16];
    std::uint32_t got = 0;
    do {
      got = events_drain(events, 16);
      for (std::uint32_t i = 0; i < got; i++) handle(events[i]);
    } while (got == 16);
  }

 private:
  static void ring(void* context) {
    auto* taker = static_cast<EventTaker*>(context);
    const std::lock_guard lock(taker->mutex_);
    taker->is_woken_ = true;
    taker->rang_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable rang_;
  bool is_woken_ = false;
};

// Lets the threads run for so long, then waits until each has seen that it is over.
inline void run_for(int seconds, std::atomic<bool>& is_over, std::vector<std::thread>& threads) {
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  is_over = true;
  for (std::thread& thread : threads) thread.join();
}

// `program [seconds] [seed]`
inline void run_program(int count, char** words, void (*run)(int, std::uint64_t)) {
  const int seconds = count > 1 ? std::atoi(words[1]) : 2;
  const std::uint64_t seed = count > 2 ? std::strtoull(words[2], nullptr, 10) : 1;
  run(seconds, seed);
  std::fflush(stdout);
  // The daemon's threads go on to the last moment, so nothing may be destroyed under them.
  _exit(0);
}

}  // namespace warmpath::model_cache
