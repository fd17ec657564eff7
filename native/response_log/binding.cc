// The logs' functions for JavaScript; the face is src/native/response_log.ts. A name crosses as
// two words, positions as whole numbers below 2^53, facts as words in the caller's array.
#include <napi.h>

#include <cstring>
#include <type_traits>

#include "mailbox/mailbox.h"
#include "response_log/log_table.h"
#include "seam.h"

namespace warmpath {

namespace {

// Bytes of an event scanner between two calls, as in src/native/event_scanner.ts.
constexpr std::size_t SCAN_STATE_BYTES = 72;

LogName name_of(napi_env env, napi_value slot, napi_value generation) {
  return {seam::u32(env, slot), seam::u32(env, generation)};
}

LogFacts* facts_of(napi_env env, napi_value value) {
  const auto words = seam::view<std::uint32_t>(env, value);
  WARMPATH_CHECK(words.length >= LOG_FACT_WORDS);
  return reinterpret_cast<LogFacts*>(words.data);
}

// (kind, mode, tenant, owner thread, bytes max, lag bytes max, out name) -> boolean
napi_value open(napi_env env, napi_callback_info info) {
  const seam::Arguments<7> in(env, info);
  LogOptions options;
  options.kind = static_cast<LogKind>(seam::u32(env, in[0]));
  options.mode = static_cast<LogMode>(seam::u32(env, in[1]));
  WARMPATH_CHECK(options.kind <= LogKind::json && options.mode <= LogMode::kept);
  options.tenant = seam::u32(env, in[2]);
  options.owner_thread = seam::u32(env, in[3]);
  options.bytes_max = seam::position(env, in[4]);
  options.lag_bytes_max = seam::position(env, in[5]);
  const auto out = seam::view<std::uint32_t>(env, in[6]);
  WARMPATH_CHECK(out.length >= 2);
  LogName name;
  if (!log_table().open(options, &name)) return seam::boolean(env, false);
  out.data[0] = name.slot;
  out.data[1] = name.generation;
  return seam::boolean(env, true);
}

// (slot, generation, chunk); the facts go where the function's data points. This call is made for
// every token: without a second array to look into, and with the chunk read as a buffer, it went
// from 172 to 110 ns (bench log, 200 bytes).
napi_value append(napi_env env, napi_callback_info info) {
  const seam::ArgumentsAndData<3> in(env, info);
  const auto chunk = seam::bytes(env, in[2]);
  log_table().append(name_of(env, in[0], in[1]), chunk.data, chunk.length,
                     static_cast<LogFacts*>(in.data));
  return nullptr;
}

// (slot, generation, head)
napi_value set_head(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  const auto head = seam::view<std::uint8_t>(env, in[2]);
  log_table().set_head(name_of(env, in[0], in[1]), head.data, head.length);
  return nullptr;
}

// (slot, generation, code, reason, facts)
napi_value end(napi_env env, napi_callback_info info) {
  const seam::Arguments<5> in(env, info);
  const auto reason = seam::view<std::uint8_t>(env, in[3]);
  log_table().end(name_of(env, in[0], in[1]), seam::u32(env, in[2]), reason.data, reason.length,
                  facts_of(env, in[4]));
  return nullptr;
}

// (slot, generation, floor or -1)
napi_value set_floor(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  std::int64_t floor = 0;
  WARMPATH_CHECK(napi_get_value_int64(env, in[2], &floor) == napi_ok);
  log_table().set_floor(name_of(env, in[0], in[1]),
                        floor < 0 ? LOG_NO_FLOOR : static_cast<std::uint64_t>(floor));
  return nullptr;
}

// (slot, generation, is paused) -> remote readers that keep up
napi_value set_paused(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  bool is_paused = false;
  WARMPATH_CHECK(napi_get_value_bool(env, in[2], &is_paused) == napi_ok);
  return seam::number(env, log_table().set_paused(name_of(env, in[0], in[1]), is_paused));
}

napi_value turn_to_window(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  log_table().turn_to_window(name_of(env, in[0], in[1]));
  return nullptr;
}

napi_value retain(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  return seam::boolean(env, log_table().retain(name_of(env, in[0], in[1])));
}

napi_value release(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  log_table().release(name_of(env, in[0], in[1]));
  return nullptr;
}

napi_value discard(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  log_table().discard(name_of(env, in[0], in[1]));
  return nullptr;
}

napi_value stat(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  const bool is_known = log_table().stat(name_of(env, in[0], in[1]), facts_of(env, in[2]));
  return seam::boolean(env, is_known);
}

// (slot, generation, out) -> length of the head, 0 when there is none yet
napi_value head(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  const auto out = seam::view<std::uint8_t>(env, in[2]);
  return seam::number(env, log_table().head(name_of(env, in[0], in[1]), out.data, out.length));
}

napi_value reason(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  const auto out = seam::view<std::uint8_t>(env, in[2]);
  return seam::number(env, log_table().reason(name_of(env, in[0], in[1]), out.data, out.length));
}

// (slot, generation, position, out, facts)
napi_value read_at(napi_env env, napi_callback_info info) {
  const seam::Arguments<5> in(env, info);
  const auto out = seam::view<std::uint8_t>(env, in[3]);
  log_table().read_at(name_of(env, in[0], in[1]), seam::position(env, in[2]), out.data, out.length,
                      facts_of(env, in[4]));
  return nullptr;
}

// (slot, generation, event) -> position just after it, or -1
napi_value position_after(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  std::uint64_t position = 0;
  const bool is_held =
      log_table().position_after(name_of(env, in[0], in[1]), seam::position(env, in[2]), &position);
  return seam::number(env, is_held ? static_cast<double>(position) : -1);
}

// (slot, generation, tenant, thread, token, position, facts)
napi_value attach(napi_env env, napi_callback_info info) {
  const seam::Arguments<7> in(env, info);
  log_table().attach(name_of(env, in[0], in[1]), seam::u32(env, in[2]), seam::u32(env, in[3]),
                     seam::u32(env, in[4]), seam::position(env, in[5]), facts_of(env, in[6]));
  return nullptr;
}

// (slot, generation, reader, out, facts)
napi_value read(napi_env env, napi_callback_info info) {
  const seam::Arguments<5> in(env, info);
  const auto out = seam::view<std::uint8_t>(env, in[3]);
  log_table().read(name_of(env, in[0], in[1]), seam::u32(env, in[2]), out.data, out.length,
                   facts_of(env, in[4]));
  return nullptr;
}

napi_value detach(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  log_table().detach(name_of(env, in[0], in[1]), seam::u32(env, in[2]));
  return nullptr;
}

// (slot, generation, id) -> boolean
napi_value publish(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  const auto id = seam::view<std::uint8_t>(env, in[2]);
  return seam::boolean(env, log_table().publish(name_of(env, in[0], in[1]), id.data, id.length));
}

// (tenant, id, out name) -> boolean
napi_value find(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  const auto id = seam::view<std::uint8_t>(env, in[1]);
  const auto out = seam::view<std::uint32_t>(env, in[2]);
  WARMPATH_CHECK(out.length >= 2);
  LogName name;
  if (!log_table().find(seam::u32(env, in[0]), id.data, id.length, &name)) {
    return seam::boolean(env, false);
  }
  out.data[0] = name.slot;
  out.data[1] = name.generation;
  return seam::boolean(env, true);
}

// (tenant, id) -> whether it named a log that was dropped
napi_value is_gone(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  const auto id = seam::view<std::uint8_t>(env, in[1]);
  return seam::boolean(env, log_table().is_gone(seam::u32(env, in[0]), id.data, id.length));
}

// (slot, generation, retention in ms)
napi_value set_retention(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  log_table().set_retention(name_of(env, in[0], in[1]), seam::position(env, in[2]));
  return nullptr;
}

// (slot, generation, note) -> boolean
napi_value set_note(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  const auto note = seam::view<std::uint8_t>(env, in[2]);
  const bool is_set = log_table().set_note(name_of(env, in[0], in[1]), note.data, note.length);
  return seam::boolean(env, is_set);
}

// (slot, generation, position, out) -> bytes copied
napi_value read_note(napi_env env, napi_callback_info info) {
  const seam::Arguments<4> in(env, info);
  const auto out = seam::view<std::uint8_t>(env, in[3]);
  const std::size_t copied = log_table().read_note(
      name_of(env, in[0], in[1]), seam::position(env, in[2]), out.data, out.length);
  return seam::number(env, static_cast<double>(copied));
}

// (slot, generation) -> boolean
napi_value doom_if_unread(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  return seam::boolean(env, log_table().doom_if_unread(name_of(env, in[0], in[1])));
}

// (slot, generation, tenant) -> status
napi_value stop(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  return seam::number(env, log_table().stop(name_of(env, in[0], in[1]), seam::u32(env, in[2])));
}

// (items max, tenant's items max, tenant's bytes max)
napi_value set_shelf(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  log_table().set_shelf({.items_max = seam::position(env, in[0]),
                         .tenant_items_max = seam::position(env, in[1]),
                         .tenant_bytes_max = seam::position(env, in[2])});
  return nullptr;
}

// (ahead in ms) -> logs freed
napi_value expire(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  return seam::number(env, log_table().expire(seam::position(env, in[0])));
}

// (state, chunk, ends) -> events that ended; their offsets in `ends`, as many as fit
struct EndList {
  std::uint32_t* ends;
  std::size_t room;
  std::uint32_t count;

  static void hear(void* context, std::size_t end) {
    auto& list = *static_cast<EndList*>(context);
    if (list.count < list.room) list.ends[list.count] = static_cast<std::uint32_t>(end);
    list.count++;
  }
};

napi_value scan_events(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  const auto state = seam::view<std::uint8_t>(env, in[0]);
  const auto chunk = seam::view<std::uint8_t>(env, in[1]);
  const auto ends = seam::view<std::uint32_t>(env, in[2]);
  static_assert(std::is_trivially_copyable_v<EventScanner>);
  static_assert(sizeof(EventScanner) <= SCAN_STATE_BYTES);
  WARMPATH_CHECK(state.length == SCAN_STATE_BYTES);
  EventScanner scanner;
  std::memcpy(static_cast<void*>(&scanner), state.data, sizeof(scanner));
  EndList list = {ends.data, ends.length, 0};
  (void)scanner.scan(chunk.data, chunk.length, EndList::hear, &list);
  std::memcpy(state.data, static_cast<const void*>(&scanner), sizeof(scanner));
  return seam::number(env, list.count);
}

// -> (out of 4 doubles as 8 words)
napi_value totals(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  const auto out = seam::view<std::uint32_t>(env, in[0]);
  WARMPATH_CHECK(out.length >= 8);
  double counts[4];
  log_table().totals(counts);
  std::memcpy(out.data, counts, sizeof(counts));
  return nullptr;
}

// (bytes max)
napi_value set_budget(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  store_budget().set_max(seam::position(env, in[0]));
  return nullptr;
}

// (count or -1): the takes after the next `count` fail; for tests.
napi_value fail_after(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  std::int64_t count = 0;
  WARMPATH_CHECK(napi_get_value_int64(env, in[0], &count) == napi_ok);
  store_budget().fail_after(count);
  return nullptr;
}

}  // namespace

void register_response_log(Napi::Env env, Napi::Object exports) {
  seam::export_function(env, exports, "logOpen", open);
  Napi::Uint32Array facts = Napi::Uint32Array::New(env, LOG_FACT_WORDS);
  exports["logAppendFacts"] = facts;
  // One array a thread, as long as the thread lives: the function below writes into it.
  Napi::Reference<Napi::Uint32Array> kept = Napi::Persistent(facts);
  kept.SuppressDestruct();
  seam::export_function(env, exports, "logAppend", append, facts.Data());
  seam::export_function(env, exports, "logSetHead", set_head);
  seam::export_function(env, exports, "logEnd", end);
  seam::export_function(env, exports, "logSetFloor", set_floor);
  seam::export_function(env, exports, "logSetPaused", set_paused);
  seam::export_function(env, exports, "logTurnToWindow", turn_to_window);
  seam::export_function(env, exports, "logRetain", retain);
  seam::export_function(env, exports, "logRelease", release);
  seam::export_function(env, exports, "logDiscard", discard);
  seam::export_function(env, exports, "logStat", stat);
  seam::export_function(env, exports, "logHead", head);
  seam::export_function(env, exports, "logReason", reason);
  seam::export_function(env, exports, "logReadAt", read_at);
  seam::export_function(env, exports, "logPositionAfter", position_after);
  seam::export_function(env, exports, "logAttach", attach);
  seam::export_function(env, exports, "logRead", read);
  seam::export_function(env, exports, "logDetach", detach);
  seam::export_function(env, exports, "logPublish", publish);
  seam::export_function(env, exports, "logFind", find);
  seam::export_function(env, exports, "logIsGone", is_gone);
  seam::export_function(env, exports, "logSetRetention", set_retention);
  seam::export_function(env, exports, "logSetNote", set_note);
  seam::export_function(env, exports, "logReadNote", read_note);
  seam::export_function(env, exports, "logDoomIfUnread", doom_if_unread);
  seam::export_function(env, exports, "logStop", stop);
  seam::export_function(env, exports, "logSetShelf", set_shelf);
  seam::export_function(env, exports, "logExpire", expire);
  seam::export_function(env, exports, "scanEvents", scan_events);
  seam::export_function(env, exports, "logTotals", totals);
  seam::export_function(env, exports, "logSetBudget", set_budget);
  seam::export_function(env, exports, "logFailAfter", fail_after);
}

}  // namespace warmpath
