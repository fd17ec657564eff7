#include "model_cache/chunk_copy.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "check.h"
#include "model_cache/chunk_hash.h"
#include "model_cache/events.h"
#include "model_cache/whole_io.h"

namespace warmpath::model_cache {

namespace {

struct Pool {
  std::mutex mutex;
  std::condition_variable wanted;
  std::deque<ChunkJob> jobs;
  std::uint32_t threads = 0;
  // Of the threads those that wait for a job.
  std::uint32_t idle = 0;
};

Pool& pool() {
  static Pool* one = new Pool;
  return *one;
}

void run_job(const ChunkJob& job, std::uint8_t* bounce) {
  Event event{};
  event.kind = EVENT_COPIED;
  event.token = job.token;
  event.error = read_whole(job.from, bounce, job.length, job.offset);
  if (event.error == 0) {
    hash_chunk(bounce, job.length, event.bytes);
    if (job.to >= 0) event.error = write_whole(job.to, bounce, job.length, job.offset);
    event.status = event.error == 0 ? 0 : COPY_NOT_WRITTEN;
  }
  events_push(event);
}

void run_thread() {
  std::uint8_t* bounce = map_bounce();
  Pool& p = pool();
  for (;;) {
    std::unique_lock lock(p.mutex);
    p.idle++;
    p.wanted.wait(lock, [&p] { return !p.jobs.empty(); });
    p.idle--;
    const ChunkJob job = p.jobs.front();
    p.jobs.pop_front();
    lock.unlock();
    run_job(job, bounce);
  }
}

}  // namespace

bool chunk_submit(const ChunkJob& job) {
  WARMPATH_CHECK(job.length <= CHUNK_BYTES_MAX && job.from >= 0);
  Pool& p = pool();
  const std::lock_guard lock(p.mutex);
  if (p.jobs.size() >= CHUNK_JOBS_MAX) return false;
  p.jobs.push_back(job);
  p.wanted.notify_one();
  if (p.jobs.size() > p.idle && p.threads < CHUNK_THREADS_MAX) {
    p.threads++;
    start_thread(run_thread);
  }
  return true;
}

}  // namespace warmpath::model_cache
