// Stress of the sender and the receiver of chunks over loopback, under a sanitizer
// (build_and_run.sh).
//
//   ASKERS threads   fetch the one chunk of a blob, now and then of another generation, and check
//                    every byte
//   director         what JavaScript does: puts and drops blobs, gives a chunk when somebody waits
//                    for it, or refuses it
//
// Every request is answered: a chunk with the right bytes, or a refusal; an answer that does not
// come within WAIT_SECONDS_MAX is a lost one and ends the program.
//
// Usage: model_transfer_stress SECONDS SEED
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "model_cache/chunk_hash.h"
#include "model_cache/receiver.h"
#include "model_cache/sender.h"
#include "model_cache/whole_io.h"
#include "stress/model_cache_parts.h"

namespace warmpath::model_cache {

namespace {

constexpr std::uint32_t ASKERS = 3;
constexpr std::uint32_t STREAMS = 2;
constexpr std::uint32_t SENDER = 77;
// A generation that nobody has.
constexpr std::uint32_t OTHER = 9;

std::atomic<bool> is_over{false};
std::atomic<std::uint64_t> chunks{0};
std::atomic<std::uint64_t> refusals{0};

Id id_of(std::uint32_t number) {
  Id id{};
  std::memcpy(id.data(), &number, sizeof number);
  return id;
}

class Director {
 public:
  Director(Sender& sender, std::uint64_t seed) : sender_(sender), random_{seed} {}

  void put(std::uint32_t file) {
    const std::uint64_t size = BYTES_MIN + file;
    const std::vector<std::uint8_t> bytes = bytes_of(file, size);
    const int blob = memfd_create("blob", MFD_CLOEXEC);
    WARMPATH_CHECK(write_whole(blob, bytes.data(), size, 0) == 0);
    WARMPATH_CHECK(sender_.put(id_of(file), id_of(0), blob, size) == 0);
    close(blob);
  }

  void give(const Event& event) {
    std::uint32_t file = 0;
    std::memcpy(&file, event.bytes, sizeof file);
    if (random_(8) == 0) return sender_.refuse(id_of(file), id_of(0), event.a);
    const std::uint64_t size = BYTES_MIN + file;
    const std::vector<std::uint8_t> bytes = bytes_of(file, size);
    Id hash;
    hash_chunk(bytes.data(), size, hash.data());
    (void)sender_.put_chunk(id_of(file), id_of(0), event.a, hash);
  }

  void meddle() {
    const std::uint32_t file = random_(FILES);
    if (random_(4) == 0) sender_.drop(id_of(file), id_of(0));
    if (random_(2) == 0) put(file);
    (void)sender_.facts();
  }

 private:
  Sender& sender_;
  Random random_;
};

// Goes on after the end, since somebody may still wait for a last answer.
[[noreturn]] void run_director(Director& director, Answers<Event>& fetched) {
  EventTaker events;
  for (;;) {
    events.take([&](const Event& event) {
      if (event.kind == EVENT_FETCHED) fetched.put(event.token, event);
      if (event.kind == EVENT_CHUNK_WANTED) director.give(event);
    });
    director.meddle();
  }
}

void run_asker(Peer& peer, Answers<Event>& fetched, std::uint32_t me, std::uint64_t seed) {
  Random random{seed};
  const int into = memfd_create("into", MFD_CLOEXEC);
  for (std::uint32_t token = me; !is_over; token += ASKERS) {
    const std::uint32_t file = random(FILES);
    const std::uint64_t size = BYTES_MIN + file;
    Fetch fetch;
    fetch.token = token;
    // Now and then another generation.
    fetch.head = "GET /v1/blob/" + hex_of(id_of(file)) + '/' +
                 hex_of(id_of(random(8) == 0 ? 9 : 0)) + " HTTP/1.1\r\nrange: bytes=0-" +
                 std::to_string(size - 1) + "\r\n\r\n";
    fetch.to = into;
    fetch.length = static_cast<std::uint32_t>(size);
    fetch.silence_ms = WAIT_SECONDS_MAX * 1000;
    WARMPATH_CHECK(peer_fetch(peer, fetch));
    const Event event = fetched.take(token);
    WARMPATH_CHECK(event.error == 0);
    if (event.status != 206) {
      refusals++;
      continue;
    }
    std::vector<std::uint8_t> bytes(size);
    WARMPATH_CHECK(read_whole(into, bytes.data(), size, 0) == 0);
    WARMPATH_CHECK(bytes == bytes_of(file, size));
    chunks++;
  }
  close(into);
}

void run(int seconds, std::uint64_t seed) {
  // Never destroyed: threads use them to the last moment.
  auto* sender = new Sender(SENDER, "");
  auto* fetched = new Answers<Event>;
  const int port = sender->open("127.0.0.1", 0);
  WARMPATH_CHECK(port > 0);
  auto* director = new Director(*sender, seed);
  for (std::uint32_t i = 0; i < FILES; i++) director->put(i);
  std::thread([=] { run_director(*director, *fetched); }).detach();
  const std::shared_ptr<Peer> peer = peer_open("127.0.0.1", port, STREAMS, true);
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < ASKERS; i++) {
    threads.emplace_back([=] { run_asker(*peer, *fetched, i + 1, seed + 200 + i); });
  }
  run_for(seconds, is_over, threads);
  peer_close(*peer);
  std::printf("  chunks %llu, refusals %llu\n", static_cast<unsigned long long>(chunks),
              static_cast<unsigned long long>(refusals));
  WARMPATH_CHECK(chunks > 0 && refusals > 0);
}

}  // namespace

}  // namespace warmpath::model_cache

int main(int count, char** words) {
  warmpath::model_cache::run_program(count, words, warmpath::model_cache::run);
}
