// Sessions for JavaScript; the face is src/native/model_mount.ts. Results below 0 are errno.
#include <napi.h>

#include <cerrno>
#include <memory>

#include "model_cache/bindings.h"
#include "model_cache/probe.h"
#include "model_cache/session.h"
#include "seam.h"

namespace warmpath::model_cache {

namespace {

// Sessions are never destroyed: their threads end with the mount, or with the process.
std::vector<Session*>& sessions() {
  static auto* all = new std::vector<Session*>;
  return *all;
}

Session& session_of(napi_env env, napi_value value) {
  const std::uint32_t id = seam::u32(env, value);
  WARMPATH_CHECK(id < sessions().size());
  return *sessions()[id];
}

int descriptor(napi_env env, napi_value value) {
  return static_cast<int>(seam::u32(env, value));
}

bool truth(napi_env env, napi_value value) {
  bool out = false;
  WARMPATH_CHECK(napi_get_value_bool(env, value, &out) == napi_ok);
  return out;
}

napi_value probe(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  const auto out = seam::view<std::int32_t>(env, in[0]);
  WARMPATH_CHECK(out.length == 2);
  const FuseProbe found = probe_fuse();
  out.data[0] = found.mount_error;
  out.data[1] = found.passthrough_error;
  return nullptr;
}

napi_value open(napi_env env, napi_callback_info info) {
  const seam::Arguments<6> in(env, info);
  const auto id = static_cast<std::uint32_t>(sessions().size());
  const SessionOptions options{
      .id = id,
      .fuse = descriptor(env, in[0]),
      .store = descriptor(env, in[1]),
      .wants_passthrough = truth(env, in[2]),
      .revalidate_ms = static_cast<std::int64_t>(seam::position(env, in[3])),
      .open_ms_max = static_cast<std::int64_t>(seam::position(env, in[4]))};
  const auto out = seam::view<std::int32_t>(env, in[5]);
  WARMPATH_CHECK(out.length == 4);
  auto session = std::make_unique<Session>();
  SessionFacts facts{};
  const int error = session->open(options, &facts);
  if (error < 0) return seam::number(env, error);
  out.data[0] = facts.is_passthrough ? 1 : 0;
  out.data[1] = facts.is_taken_over ? 1 : 0;
  out.data[2] = static_cast<std::int32_t>(facts.reason);
  out.data[3] = facts.error;
  sessions().push_back(session.release());
  return seam::number(env, id);
}

napi_value serve(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  session_of(env, in[0]).serve(seam::u32(env, in[1]));
  return nullptr;
}

// numbers: parent, isDirectory, mode, size, mtime s, mtime ns for each entry.
constexpr std::size_t ENTRY_NUMBERS = 6;

napi_value set_tree(napi_env env, napi_callback_info info) {
  const seam::Arguments<4> in(env, info);
  const auto numbers = seam::view<double>(env, in[1]);
  std::vector<std::string> texts = texts_of(env, in[2]);
  const auto out = seam::view<double>(env, in[3]);
  const std::size_t count = out.length;
  WARMPATH_CHECK(numbers.length == count * ENTRY_NUMBERS && texts.size() == count * 2);
  std::vector<NewEntry> entries;
  entries.reserve(count);
  for (std::size_t i = 0; i < count; i++) {
    const double* one = numbers.data + i * ENTRY_NUMBERS;
    entries.push_back({.parent = static_cast<std::uint32_t>(one[0]),
                       .is_directory = one[1] != 0,
                       .mode = static_cast<std::uint32_t>(one[2]),
                       .size = static_cast<std::uint64_t>(one[3]),
                       .mtime = static_cast<std::int64_t>(one[4]),
                       .mtime_ns = static_cast<std::uint32_t>(one[5]),
                       .name = std::move(texts[i * 2]),
                       .generation = std::move(texts[i * 2 + 1])});
  }
  return seam::number(env, session_of(env, in[0]).set_tree(entries, out.data));
}

napi_value publish(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  Session& session = session_of(env, in[0]);
  return seam::number(env, session.publish(seam::u32(env, in[1]), descriptor(env, in[2])));
}

napi_value bypass(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  Session& session = session_of(env, in[0]);
  return seam::number(env, session.bypass(seam::u32(env, in[1]), descriptor(env, in[2])));
}

napi_value fail(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  session_of(env, in[0]).fail(seam::u32(env, in[1]), -descriptor(env, in[2]));
  return nullptr;
}

napi_value confirm(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  session_of(env, in[0]).confirm(seam::u32(env, in[1]));
  return nullptr;
}

napi_value extend(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  session_of(env, in[0]).extend(seam::u32(env, in[1]));
  return nullptr;
}

napi_value evict(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  Session& session = session_of(env, in[0]);
  return seam::number(env, session.evict(seam::u32(env, in[1]), truth(env, in[2])));
}

napi_value use(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  const auto out = seam::view<double>(env, in[2]);
  WARMPATH_CHECK(out.length == 6);
  FileUse found{};
  if (!session_of(env, in[0]).use(seam::u32(env, in[1]), &found)) return seam::boolean(env, false);
  out.data[0] = found.opens;
  out.data[1] = static_cast<double>(found.opens_total);
  out.data[2] = static_cast<double>(found.used_at_ms);
  out.data[3] = static_cast<double>(found.node);
  out.data[4] = found.is_awaited ? 1 : 0;
  out.data[5] = static_cast<double>(found.waits_total);
  return seam::boolean(env, true);
}

napi_value usage(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  session_of(env, in[0]).set_usage(seam::position(env, in[1]), seam::position(env, in[2]));
  return nullptr;
}

napi_value counts(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  const auto out = seam::view<double>(env, in[1]);
  WARMPATH_CHECK(out.length == 5);
  const SessionCounts found = session_of(env, in[0]).counts();
  out.data[0] = static_cast<double>(found.requests);
  out.data[1] = static_cast<double>(found.held);
  out.data[2] = static_cast<double>(found.held_total);
  out.data[3] = static_cast<double>(found.bytes_copied);
  out.data[4] = static_cast<double>(found.checks_late);
  return nullptr;
}

napi_value mark_ready(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  session_of(env, in[0]).mark_ready();
  return nullptr;
}

}  // namespace

void register_mount(napi_env env, napi_value exports) {
  seam::export_function(env, exports, "probeFuse", probe);
  seam::export_function(env, exports, "mountOpen", open);
  seam::export_function(env, exports, "mountServe", serve);
  seam::export_function(env, exports, "mountTree", set_tree);
  seam::export_function(env, exports, "mountPublish", publish);
  seam::export_function(env, exports, "mountBypass", bypass);
  seam::export_function(env, exports, "mountFail", fail);
  seam::export_function(env, exports, "mountConfirm", confirm);
  seam::export_function(env, exports, "mountExtend", extend);
  seam::export_function(env, exports, "mountEvict", evict);
  seam::export_function(env, exports, "mountUse", use);
  seam::export_function(env, exports, "mountUsage", usage);
  seam::export_function(env, exports, "mountCounts", counts);
  seam::export_function(env, exports, "mountMarkReady", mark_ready);
}

}  // namespace warmpath::model_cache
