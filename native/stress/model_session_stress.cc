// Stress of a FUSE session without a kernel and without JavaScript, under a sanitizer
// (build_and_run.sh): the session at one end of a socket pair, clients at the other.
//
//   CLIENTS threads   look a file up, open it, read it, list the folder, interrupt, release, as
//                     the kernel would
//   one thread        takes the session's replies to them
//   director          what JavaScript does: publishes, bypasses, fails, swaps the tree, evicts,
//                     confirms
//
// The size of a file says its generation, and the byte at each position follows from both, so a
// client knows what it must read without sharing anything. An answer that does not come within
// WAIT_SECONDS_MAX is a lost one and ends the program.
//
// Usage: model_session_stress SECONDS SEED
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "model_cache/events.h"
#include "model_cache/session.h"
#include "model_cache/store.h"
#include "model_cache/whole_io.h"
#include "stress/model_cache_parts.h"

namespace warmpath::model_cache {

namespace {

constexpr int CLIENTS = 3;
constexpr std::uint32_t READ_BYTES = 8192;
constexpr std::size_t REPLY_BYTES_MAX = 65536;

std::atomic<bool> is_over{false};
std::atomic<std::uint64_t> bytes_read{0};
std::atomic<std::uint64_t> opens{0};

// The kernel's end of the session.
class Kernel {
 public:
  explicit Kernel(int socket) : socket_(socket) {}

  std::uint64_t ask(std::uint32_t opcode, std::uint64_t node, const void* body, std::size_t size) {
    const std::uint64_t unique = next_.fetch_add(2);
    std::vector<std::uint8_t> bytes(sizeof(fuse::InHeader) + size);
    fuse::InHeader head{};
    head.length = static_cast<std::uint32_t>(bytes.size());
    head.opcode = opcode;
    head.unique = unique;
    head.node = node;
    std::memcpy(bytes.data(), &head, sizeof head);
    if (size > 0) std::memcpy(bytes.data() + sizeof head, body, size);
    WARMPATH_CHECK(send(socket_, bytes.data(), bytes.size(), 0) ==
                   static_cast<ssize_t>(bytes.size()));
    return unique;
  }

  // The error, 0 or negative; `out` has what lies behind the head.
  int take(std::uint64_t unique, std::vector<std::uint8_t>* out) {
    std::vector<std::uint8_t> bytes = answers_.take(unique);
    fuse::OutHeader head;
    std::memcpy(&head, bytes.data(), sizeof head);
    out->assign(bytes.begin() + sizeof head, bytes.end());
    return head.error;
  }

  // Notices have no asker; what was interrupted twice may be answered to nobody.
  void run() {
    std::vector<std::uint8_t> bytes(REPLY_BYTES_MAX);
    for (;;) {
      const ssize_t got = recv(socket_, bytes.data(), bytes.size(), 0);
      WARMPATH_CHECK(got >= static_cast<ssize_t>(sizeof(fuse::OutHeader)));
      fuse::OutHeader head;
      std::memcpy(&head, bytes.data(), sizeof head);
      WARMPATH_CHECK(head.length == static_cast<std::uint32_t>(got));
      if (head.unique != 0) answers_.put(head.unique, {bytes.begin(), bytes.begin() + got});
    }
  }

 private:
  int socket_;
  std::atomic<std::uint64_t> next_{2};
  Answers<std::vector<std::uint8_t>> answers_;
};

std::string name_of(std::uint32_t file) {
  return "file-" + std::to_string(file);
}

void read_file(Kernel& kernel, Random& random, std::uint32_t file, const fuse::EntryOut& entry,
               std::uint64_t handle) {
  const std::uint64_t size = entry.attributes.size;
  fuse::ReadIn read{};
  // A handle of nobody is that of a daemon that is gone: then the node says which file.
  read.handle = random(8) == 0 ? 1 : handle;
  read.offset = random(static_cast<std::uint32_t>(size));
  read.size = READ_BYTES;
  std::vector<std::uint8_t> body;
  const int error = kernel.take(kernel.ask(fuse::READ, entry.node, &read, sizeof read), &body);
  // Its generation may have left the tree, or be failed, when it is found by node alone.
  if (error < 0) {
    WARMPATH_CHECK(read.handle == 1 && (error == -ESTALE || error == -EIO));
    return;
  }
  WARMPATH_CHECK(body.size() == std::min<std::uint64_t>(READ_BYTES, size - read.offset));
  for (std::size_t i = 0; i < body.size(); i++) {
    WARMPATH_CHECK(body[i] == byte_at(file, size, read.offset + i));
  }
  bytes_read += body.size();
}

void open_file(Kernel& kernel, Random& random, std::uint32_t file, const fuse::EntryOut& entry) {
  const fuse::OpenIn wanted{O_RDONLY, 0};
  std::vector<std::uint8_t> body;
  const std::uint64_t unique = kernel.ask(fuse::OPEN, entry.node, &wanted, sizeof wanted);
  if (random(16) == 0) {
    const fuse::InterruptIn interrupt{unique};
    // Answered itself only when there was nothing to interrupt: not waited for.
    (void)kernel.ask(fuse::INTERRUPT, 0, &interrupt, sizeof interrupt);
  }
  const int error = kernel.take(unique, &body);
  if (error < 0) {
    WARMPATH_CHECK(error == -ESTALE || error == -EIO || error == -EINTR);
    return;
  }
  opens++;
  fuse::OpenOut out;
  std::memcpy(&out, body.data(), sizeof out);
  for (std::uint32_t i = random(4); i > 0; i--) {
    read_file(kernel, random, file, entry, out.handle);
  }
  fuse::ReleaseIn release{};
  release.handle = out.handle;
  (void)kernel.take(kernel.ask(fuse::RELEASE, entry.node, &release, sizeof release), &body);
}

void list_folder(Kernel& kernel) {
  const fuse::OpenIn wanted{};
  std::vector<std::uint8_t> body;
  if (kernel.take(kernel.ask(fuse::OPENDIR, fuse::ROOT_NODE, &wanted, sizeof wanted), &body) < 0) {
    return;
  }
  fuse::OpenOut out;
  std::memcpy(&out, body.data(), sizeof out);
  fuse::ReadIn read{};
  read.handle = out.handle;
  read.size = READ_BYTES;
  const std::uint64_t unique = kernel.ask(fuse::READDIRPLUS, fuse::ROOT_NODE, &read, sizeof read);
  WARMPATH_CHECK(kernel.take(unique, &body) == 0 && !body.empty());
  fuse::ReleaseIn release{};
  release.handle = out.handle;
  (void)kernel.take(kernel.ask(fuse::RELEASEDIR, fuse::ROOT_NODE, &release, sizeof release), &body);
}

void run_client(Kernel& kernel, std::uint64_t seed) {
  Random random{seed};
  while (!is_over) {
    const std::uint32_t file = random(FILES);
    const std::string name = name_of(file);
    std::vector<std::uint8_t> body;
    const std::uint64_t unique =
        kernel.ask(fuse::LOOKUP, fuse::ROOT_NODE, name.c_str(), name.size() + 1);
    WARMPATH_CHECK(kernel.take(unique, &body) == 0);
    fuse::EntryOut entry;
    WARMPATH_CHECK(body.size() == sizeof entry);
    std::memcpy(&entry, body.data(), sizeof entry);
    WARMPATH_CHECK(entry.attributes.size >= BYTES_MIN);
    open_file(kernel, random, file, entry);
    if (random(8) == 0) list_folder(kernel);
    if (random(8) == 0) (void)kernel.take(kernel.ask(fuse::STATFS, 1, nullptr, 0), &body);
  }
}

// What JavaScript does with a session.
class Director {
 public:
  Director(Session& session, int store, std::uint64_t seed)
      : session_(session), store_(store), random_{seed} {}

  void swap() {
    std::vector<NewEntry> entries(FILES + 1);
    entries[0].is_directory = true;
    for (std::uint32_t i = 0; i < FILES; i++) {
      NewEntry& entry = entries[i + 1];
      entry.mode = 0444;
      entry.size = BYTES_MIN + generations_[i];
      entry.name = name_of(i);
      entry.generation = std::to_string(generations_[i]);
    }
    std::vector<double> ids(entries.size());
    WARMPATH_CHECK(session_.set_tree(entries, ids.data()) == 0);
    for (std::uint32_t i = 0; i < FILES; i++) {
      shown_[static_cast<std::uint32_t>(ids[i + 1])] = {i, entries[i + 1].size};
      last_ = std::max(last_, static_cast<std::uint32_t>(ids[i + 1]));
    }
  }

  void handle(const Event& event) {
    const auto id = static_cast<std::uint32_t>(event.a);
    if (event.kind == EVENT_CHECK_WANTED) {
      if (random_(4) == 0) {
        generations_[random_(FILES)]++;
        swap();
      }
      session_.confirm(id);
    } else if (event.kind == EVENT_OPEN_WANTED) {
      load(id);
    }
  }

  void meddle() {
    const std::uint32_t id = random_(last_ + 1);
    FileUse use{};
    if (shown_.contains(id)) (void)session_.evict(id, random_(8) == 0);
    (void)session_.use(id, &use);
    session_.set_usage(1 << 30, id);
    (void)session_.counts();
  }

 private:
  struct Shown {
    std::uint32_t file;
    std::uint64_t size;
  };

  void load(std::uint32_t id) {
    if (random_(16) == 0) return session_.fail(id, -EIO);
    const Shown shown = shown_.at(id);
    const std::vector<std::uint8_t> bytes = bytes_of(shown.file, shown.size);
    const std::string name = std::to_string(files_made_++);
    const int file = store_create(store_, name.c_str(), shown.size);
    WARMPATH_CHECK(file >= 0 && write_whole(file, bytes.data(), shown.size, 0) == 0);
    close(file);
    const int sealed = store_seal(store_, name.c_str());
    WARMPATH_CHECK(sealed >= 0);
    // Its pages live as long as the session shows them.
    WARMPATH_CHECK(store_unlink(store_, name.c_str()) == 0);
    const bool is_bypass = random_(4) == 0;
    const int error = is_bypass ? session_.bypass(id, sealed) : session_.publish(id, sealed);
    if (error < 0) close(sealed);
    WARMPATH_CHECK(error == 0 || error == -EEXIST);
  }

  Session& session_;
  int store_;
  Random random_;
  std::uint32_t generations_[FILES] = {};
  std::uint32_t last_ = 0;
  std::uint64_t files_made_ = 0;
  std::map<std::uint32_t, Shown> shown_;
};

// Goes on after the end, since clients still wait for their last answers.
[[noreturn]] void run_director(Director& director) {
  EventTaker events;
  for (;;) {
    events.take([&](const Event& event) { director.handle(event); });
    director.meddle();
  }
}

void shake_hands(int kernel, Session& session, int fuse, int store) {
  struct {
    fuse::InHeader head;
    fuse::InitIn in;
  } request{};
  request.head.length = sizeof request;
  request.head.opcode = fuse::INIT;
  request.head.unique = 1;
  request.in.major = fuse::KERNEL_MAJOR;
  request.in.minor = fuse::KERNEL_MINOR;
  WARMPATH_CHECK(send(kernel, &request, sizeof request, 0) == sizeof request);
  const SessionOptions options{.id = 0,
                               .fuse = fuse,
                               .store = store,
                               .wants_passthrough = false,
                               .revalidate_ms = 3,
                               .open_ms_max = WAIT_SECONDS_MAX * 1000};
  SessionFacts facts{};
  WARMPATH_CHECK(session.open(options, &facts) == 0 && !facts.is_passthrough);
  std::uint8_t reply[256];
  WARMPATH_CHECK(recv(kernel, reply, sizeof reply, 0) ==
                 static_cast<ssize_t>(sizeof(fuse::OutHeader) + sizeof(fuse::InitOut)));
}

void run(int seconds, std::uint64_t seed) {
  int pair[2];
  WARMPATH_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
  std::string folder = (std::filesystem::temp_directory_path() / "warmpath-stress-XXXXXX").string();
  WARMPATH_CHECK(mkdtemp(folder.data()) != nullptr);
  const int store = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // Never destroyed, as in the daemon: their threads end with the process.
  auto* session = new Session;
  auto* kernel = new Kernel(pair[0]);
  shake_hands(pair[0], *session, pair[1], store);
  auto* director = new Director(*session, store, seed);
  director->swap();
  session->serve(2);
  std::thread([kernel] { kernel->run(); }).detach();
  std::thread([=] { run_director(*director); }).detach();
  std::vector<std::thread> threads;
  for (int i = 0; i < CLIENTS; i++) {
    threads.emplace_back([=] { run_client(*kernel, seed + 100 + static_cast<std::uint64_t>(i)); });
  }
  run_for(seconds, is_over, threads);
  std::error_code ignored;
  (void)std::filesystem::remove_all(folder, ignored);
  std::printf("  opens %llu, bytes read %llu\n", static_cast<unsigned long long>(opens),
              static_cast<unsigned long long>(bytes_read));
  WARMPATH_CHECK(opens > 0 && bytes_read > 0);
}

}  // namespace

}  // namespace warmpath::model_cache

int main(int count, char** words) {
  warmpath::model_cache::run_program(count, words, warmpath::model_cache::run);
}
