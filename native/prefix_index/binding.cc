// The index's functions for JavaScript; the face is src/native/prefix_index.ts.
#include <napi.h>

#include "prefix_index/directory.h"
#include "seam.h"

namespace warmpath {

namespace {

PrefixIndex& named(napi_env env, napi_value id) {
  PrefixIndex* index = index_find(seam::u32(env, id));
  WARMPATH_CHECK(index != nullptr);
  return *index;
}

uint32_t slot_of(napi_env env, napi_value value) {
  const uint32_t slot = seam::u32(env, value);
  WARMPATH_CHECK(slot < SLOTS_MAX);
  return slot;
}

// block size, bytes max, orphan stores max, orphan bytes max, orphan age ops max -> id, 0 if full
napi_value create(napi_env env, napi_callback_info info) {
  const seam::Arguments<5> in(env, info);
  OrphanLimits limits;
  limits.stores_max = seam::u32(env, in[2]);
  limits.bytes_max = seam::position(env, in[3]);
  limits.age_ops_max = seam::position(env, in[4]);
  return seam::number(env, index_create(seam::u32(env, in[0]), seam::position(env, in[1]), limits));
}

// id -> block size, 0 if there is none
napi_value open(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  const PrefixIndex* index = index_find(seam::u32(env, in[0]));
  return seam::number(env, index == nullptr ? 0 : index->block_size());
}

napi_value close(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  named(env, in[0]).close();
  return nullptr;
}

// id, slot, group, ops, op words, tokens, token words
napi_value apply(napi_env env, napi_callback_info info) {
  const seam::Arguments<7> in(env, info);
  const auto ops = seam::view<uint64_t>(env, in[3]);
  const uint32_t op_words = seam::u32(env, in[4]);
  const auto tokens = seam::view<uint32_t>(env, in[5]);
  const uint32_t token_words = seam::u32(env, in[6]);
  WARMPATH_CHECK(op_words <= ops.length && token_words <= tokens.length);
  named(env, in[0])
      .apply(slot_of(env, in[1]), seam::u32(env, in[2]), ops.data, op_words, tokens.data,
             token_words);
  return nullptr;
}

napi_value clear_slot(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  named(env, in[0]).clear_slot(slot_of(env, in[1]));
  return nullptr;
}

napi_value remove_slot(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  named(env, in[0]).remove_slot(slot_of(env, in[1]));
  return nullptr;
}

napi_value hide_slot(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  named(env, in[0]).hide_slot(slot_of(env, in[1]));
  return nullptr;
}

// id, keys, count, out slots, out depths -> slots
napi_value match(napi_env env, napi_callback_info info) {
  const seam::Arguments<5> in(env, info);
  const auto keys = seam::view<uint64_t>(env, in[1]);
  const uint32_t count = seam::u32(env, in[2]);
  const auto slots = seam::view<uint32_t>(env, in[3]);
  const auto depths = seam::view<uint32_t>(env, in[4]);
  WARMPATH_CHECK(count <= keys.length);
  WARMPATH_CHECK(slots.length >= SLOTS_MAX && depths.length >= SLOTS_MAX);
  return seam::number(env, named(env, in[0]).match(keys.data, count, slots.data, depths.data));
}

// index id or 0, keys, count, now ms, out slots, out depths, out index depths -> slots
napi_value match_both(napi_env env, napi_callback_info info) {
  const seam::Arguments<7> in(env, info);
  const auto keys = seam::view<uint64_t>(env, in[1]);
  const uint32_t count = seam::u32(env, in[2]);
  const auto slots = seam::view<uint32_t>(env, in[4]);
  const auto depths = seam::view<uint32_t>(env, in[5]);
  const auto index_depths = seam::view<uint32_t>(env, in[6]);
  WARMPATH_CHECK(count <= keys.length && slots.length >= SLOTS_MAX);
  WARMPATH_CHECK(depths.length >= SLOTS_MAX && index_depths.length >= SLOTS_MAX);
  return seam::number(
      env, match_prefix(index_find(seam::u32(env, in[0])), keys.data, count,
                        seam::position(env, in[3]), slots.data, depths.data, index_depths.data));
}

napi_value stats(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  const auto out = seam::view<double>(env, in[1]);
  WARMPATH_CHECK(out.length >= STATS_COUNT);
  named(env, in[0]).stats(out.data);
  return nullptr;
}

napi_value held(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  return seam::number(env, static_cast<double>(named(env, in[0]).held_blocks(slot_of(env, in[1]))));
}

napi_value verify(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  named(env, in[0]).verify();
  return nullptr;
}

}  // namespace

void register_prefix_index(Napi::Env env, Napi::Object exports) {
  exports["indexSlotsMax"] = Napi::Number::New(env, SLOTS_MAX);
  exports["indexStatsCount"] = Napi::Number::New(env, STATS_COUNT);
  seam::export_function(env, exports, "indexCreate", create);
  seam::export_function(env, exports, "indexOpen", open);
  seam::export_function(env, exports, "indexClose", close);
  seam::export_function(env, exports, "indexApply", apply);
  seam::export_function(env, exports, "indexClearSlot", clear_slot);
  seam::export_function(env, exports, "indexRemoveSlot", remove_slot);
  seam::export_function(env, exports, "indexHideSlot", hide_slot);
  seam::export_function(env, exports, "indexMatch", match);
  seam::export_function(env, exports, "indexStats", stats);
  seam::export_function(env, exports, "indexHeldBlocks", held);
  seam::export_function(env, exports, "indexVerify", verify);
  seam::export_function(env, exports, "matchPrefix", match_both);
}

}  // namespace warmpath
