// warmpath_supervisor: what must not die when the cache daemon does.
//
//   warmpath_supervisor [--memory-events FILE] --mount PATH --store-bytes N [--allow-other]
//     [--no-huge-pages] -- node dist/cli.js mount ...
//
//        supervisor                          daemon (Node)
//        opens /dev/fuse, mounts
//        makes the store (detached tmpfs)
//        starts ---------------------------> inherits both descriptors, serves
//        waits                               killed
//        starts again ---------------------> takes over by the table in the store, RESEND
//        SIGTERM: unmounts, ends daemon ---> ends
//        exit 0
//
// It is small and does nothing else, so that there is little in it that could fail: a mount lives
// as long as somebody holds its descriptor, and open requests wait as long. The daemon finds the
// descriptors in WARMPATH_HAND_OVER: "PID RESTARTS FUSE,STORE,DEVICE ..." in the order of --mount,
// with ",BYTES" behind a device whose store may hold less than its capacity (memory.h).
//
// Ends: SIGTERM or SIGINT, and a daemon that exits with 0, unmount and exit 0. A daemon that ends
// otherwise before it was ever ready ends the supervisor with its status: a wrong configuration
// must not be tried for ever. After that every death is answered by a restart, at once the first
// time and then ever later, after one for want of memory with less in the store (memory.h).
// `--memory-events` names a file that counts those in place of the cgroup's. The daemon dies with
// the supervisor; the next start on the same path clears what both left.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "supervisor/memory.h"
#include "supervisor/mounts.h"
#include "supervisor/options.h"

namespace warmpath::supervisor {

namespace {

// Milliseconds: the longest and the first wait between two lives of a daemon that keeps dying,
// and the life after which it counts as healthy again.
constexpr long RESTART_MS_MAX = 5000;
constexpr long STABLE_MS_MIN = 10000;
// Two kills for want of memory within this many milliseconds: what was given back did not do.
constexpr long OOM_AGAIN_MS_MAX = 60000;
constexpr long RESTART_FIRST_MS = 100;
// A daemon that does not end on SIGTERM is killed after this long.
constexpr long END_MS_MAX = 5000;
constexpr int EXIT_MOUNT = 1;
constexpr int EXIT_USAGE = 2;

long now_ms() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int one : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, one);
  return set;
}

std::string hand_over(const std::vector<Mount>& mounts, int restarts) {
  std::string text = std::to_string(getpid()) + ' ' + std::to_string(restarts);
  for (const Mount& mount : mounts) {
    text +=
        ' ' + std::to_string(mount.fuse) + ',' + std::to_string(mount.store) + ',' + mount.device;
    if (mount.store_bytes_max != UINT64_MAX) text += ',' + std::to_string(mount.store_bytes_max);
  }
  return text;
}

[[noreturn]] void become_daemon(const std::vector<Mount>& mounts, const Options& options,
                                pid_t parent, const std::string& variable) {
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(EXIT_MOUNT);
  // A group of its own: an interrupt from the terminal is the supervisor's to hand on.
  (void)setpgid(0, 0);
  const sigset_t set = watched_signals();
  (void)sigprocmask(SIG_UNBLOCK, &set, nullptr);
  for (const Mount& mount : mounts) {
    (void)fcntl(mount.fuse, F_SETFD, 0);
    (void)fcntl(mount.store, F_SETFD, 0);
  }
  setenv("WARMPATH_HAND_OVER", variable.c_str(), 1);
  execvp(options.command[0], options.command.data());
  std::fprintf(stderr, "warmpath_supervisor: %s: %s\n", options.command[0], std::strerror(errno));
  _exit(EXIT_USAGE);
}

// A resident file takes the daemon three descriptors, and models have thousands of small files: as
// many as the kernel gives us, which without CAP_SYS_RESOURCE is what the login has.
void raise_descriptors() {
  rlim_t most = 0;
  if (std::FILE* file = std::fopen("/proc/sys/fs/nr_open", "re"); file != nullptr) {
    unsigned long found = 0;
    if (std::fscanf(file, "%lu", &found) == 1) most = found;
    (void)std::fclose(file);
  }
  const rlimit wanted{most, most};
  if (most > 0 && setrlimit(RLIMIT_NOFILE, &wanted) == 0) return;
  rlimit own{};
  if (getrlimit(RLIMIT_NOFILE, &own) < 0) return;
  own.rlim_cur = own.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &own);
}

pid_t start_daemon(const std::vector<Mount>& mounts, const Options& options, int restarts) {
  const pid_t self = getpid();
  const std::string variable = hand_over(mounts, restarts);
  const pid_t child = fork();
  if (child == 0) become_daemon(mounts, options, self, variable);
  return child;
}

// The next signal, or 0 after so many milliseconds (below 0: no limit).
int next_signal(long wait_ms) {
  const sigset_t set = watched_signals();
  const timespec limit{wait_ms / 1000, wait_ms % 1000 * 1'000'000};
  const int got = wait_ms < 0 ? sigwaitinfo(&set, nullptr) : sigtimedwait(&set, nullptr, &limit);
  return got < 0 ? 0 : got;
}

// Ends a daemon that still runs.
void end_daemon(pid_t daemon) {
  if (daemon <= 0) return;
  (void)kill(daemon, SIGTERM);
  const long deadline = now_ms() + END_MS_MAX;
  int status = 0;
  while (waitpid(daemon, &status, WNOHANG) == 0) {
    const long left = deadline - now_ms();
    if (left <= 0) {
      (void)kill(daemon, SIGKILL);
      (void)waitpid(daemon, &status, 0);
      return;
    }
    (void)next_signal(std::min(left, 100L));
  }
}

struct Life {
  pid_t daemon = -1;
  int restarts = 0;
  long started_ms = 0;
  long pause_ms = 0;
  // When to start the next one; 0: it runs.
  long restart_at_ms = 0;
  // Kills for want of memory when it started, and whether its predecessor died of one.
  std::uint64_t oom_kills = 0;
  bool is_after_oom = false;
};

// Makes room when the daemon was killed by the kernel for want of it.
void relieve(std::vector<Mount>& mounts, const Options& options, int status, Life& life) {
  const bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  const bool is_oom = was_killed && oom_kills(options.memory_events) > life.oom_kills;
  const bool is_soon = now_ms() - life.started_ms < OOM_AGAIN_MS_MAX;
  if (is_oom) free_memory(mounts, life.is_after_oom && is_soon);
  life.is_after_oom = is_oom;
}

// A daemon has ended. True: so shall we, with `exit_code`.
bool is_last(std::vector<Mount>& mounts, const Options& options, int status, Life& life,
             int* exit_code) {
  life.daemon = -1;
  const bool is_exit = WIFEXITED(status);
  *exit_code = is_exit ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (*exit_code == 0 || !is_ready(mounts)) return true;
  relieve(mounts, options, status, life);
  const long lived_ms = now_ms() - life.started_ms;
  life.pause_ms = lived_ms >= STABLE_MS_MIN || life.restarts == 0
                      ? 0
                      : std::clamp(life.pause_ms * 2, RESTART_FIRST_MS, RESTART_MS_MAX);
  std::fprintf(stderr, "warmpath_supervisor: the daemon ended (%s %d): starting it again\n",
               is_exit ? "status" : "signal", is_exit ? WEXITSTATUS(status) : WTERMSIG(status));
  life.restart_at_ms = now_ms() + life.pause_ms;
  return false;
}

void start(const std::vector<Mount>& mounts, const Options& options, Life& life) {
  life.oom_kills = oom_kills(options.memory_events);
  life.daemon = start_daemon(mounts, options, life.restarts);
  life.started_ms = now_ms();
  life.restart_at_ms = 0;
}

int supervise(std::vector<Mount>& mounts, const Options& options) {
  Life life;
  start(mounts, options, life);
  for (;;) {
    const long wait = life.restart_at_ms == 0 ? -1 : std::max(0L, life.restart_at_ms - now_ms());
    const int got = wait == 0 ? 0 : next_signal(wait);
    if (got == SIGTERM || got == SIGINT) {
      end_mounts(mounts);
      end_daemon(life.daemon);
      return 0;
    }
    if (got == SIGHUP && life.daemon > 0) (void)kill(life.daemon, SIGHUP);
    int status = 0;
    if (life.daemon > 0 && waitpid(life.daemon, &status, WNOHANG) == life.daemon) {
      int exit_code = 0;
      if (is_last(mounts, options, status, life, &exit_code)) {
        end_mounts(mounts);
        return exit_code;
      }
    }
    if (life.restart_at_ms != 0 && now_ms() >= life.restart_at_ms) {
      life.restarts++;
      start(mounts, options, life);
    }
  }
}

}  // namespace

}  // namespace warmpath::supervisor

int main(int count, char** words) {
  using namespace warmpath::supervisor;
  Options options;
  const std::string problem = read_options(count, words, &options);
  if (!problem.empty()) {
    std::fprintf(stderr, "%s\n", problem.c_str());
    return EXIT_USAGE;
  }
  // Blocked before anything is mounted: a SIGTERM that comes early is heard in the loop.
  const sigset_t set = watched_signals();
  (void)sigprocmask(SIG_BLOCK, &set, nullptr);
  raise_descriptors();
  std::vector<Mount> mounts;
  const std::string failure = make_mounts(options.mounts, &mounts);
  if (!failure.empty()) {
    std::fprintf(stderr, "warmpath_supervisor: %s\n", failure.c_str());
    return EXIT_MOUNT;
  }
  return supervise(mounts, options);
}
