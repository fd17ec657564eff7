// Chunks, the store's files and the change into the supervisor, for JavaScript; the face is
// src/native/model_chunks.ts. Results below 0 are negative errno.
#include <fcntl.h>
#include <napi.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "model_cache/bindings.h"
#include "model_cache/chunk_copy.h"
#include "model_cache/store.h"
#include "seam.h"

namespace warmpath::model_cache {

namespace {

int descriptor(napi_env env, napi_value value) {
  return static_cast<int>(seam::u32(env, value));
}

napi_value copy(napi_env env, napi_callback_info info) {
  const seam::Arguments<5> in(env, info);
  return seam::boolean(env, chunk_submit({.token = seam::u32(env, in[0]),
                                          .from = descriptor(env, in[1]),
                                          .to = descriptor(env, in[2]),
                                          .length = seam::u32(env, in[4]),
                                          .offset = seam::position(env, in[3])}));
}

napi_value hash(napi_env env, napi_callback_info info) {
  const seam::Arguments<4> in(env, info);
  return seam::boolean(env, chunk_submit({.token = seam::u32(env, in[0]),
                                          .from = descriptor(env, in[1]),
                                          .to = -1,
                                          .length = seam::u32(env, in[3]),
                                          .offset = seam::position(env, in[2])}));
}

napi_value make(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  bool has_huge_pages = false;
  WARMPATH_CHECK(napi_get_value_bool(env, in[1], &has_huge_pages) == napi_ok);
  return seam::number(env, store_make(seam::position(env, in[0]), has_huge_pages));
}

napi_value create(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  const std::string name = text_of(env, in[1]);
  return seam::number(
      env, store_create(descriptor(env, in[0]), name.c_str(), seam::position(env, in[2])));
}

napi_value seal(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  return seam::number(env, store_seal(descriptor(env, in[0]), text_of(env, in[1]).c_str()));
}

napi_value unlink_file(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  return seam::number(env, store_unlink(descriptor(env, in[0]), text_of(env, in[1]).c_str()));
}

napi_value stamp(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  double seconds = 0;
  WARMPATH_CHECK(napi_get_value_double(env, in[1], &seconds) == napi_ok);
  return seam::number(env, store_stamp(text_of(env, in[0]).c_str(),
                                       static_cast<std::int64_t>(seconds), seam::u32(env, in[2])));
}

napi_value is_idle(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  return seam::number(env, store_is_idle(descriptor(env, in[0])));
}

napi_value huge_bytes(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  return seam::number(env, static_cast<double>(store_huge_bytes(descriptor(env, in[0]))));
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

// The process becomes another program; only a failure returns.
napi_value execute(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  const std::string file = text_of(env, in[0]);
  std::vector<std::string> words = texts_of(env, in[1]);
  std::vector<std::string> variables = texts_of(env, in[2]);
  // Node ignores SIGPIPE, and an ignored signal would stay ignored over execve.
  (void)signal(SIGPIPE, SIG_DFL);
  // And it marks the three standard descriptors to be closed then.
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) (void)fcntl(fd, F_SETFD, 0);
  execve(file.c_str(), pointers(words).data(), pointers(variables).data());
  return seam::number(env, -errno);
}

}  // namespace

void register_chunks(napi_env env, napi_value exports) {
  seam::export_function(env, exports, "chunkCopy", copy);
  seam::export_function(env, exports, "chunkHash", hash);
  seam::export_function(env, exports, "storeMake", make);
  seam::export_function(env, exports, "storeCreate", create);
  seam::export_function(env, exports, "storeSeal", seal);
  seam::export_function(env, exports, "storeUnlink", unlink_file);
  seam::export_function(env, exports, "storeStamp", stamp);
  seam::export_function(env, exports, "storeIsIdle", is_idle);
  seam::export_function(env, exports, "storeHugeBytes", huge_bytes);
  seam::export_function(env, exports, "execute", execute);
}

}  // namespace warmpath::model_cache
