// Sender and receiver for JavaScript; the face is src/native/model_transfer.ts. Results below 0
// are negative errno.
#include <napi.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "model_cache/bindings.h"
#include "model_cache/receiver.h"
#include "model_cache/sender.h"
#include "seam.h"

namespace warmpath::model_cache {

namespace {

// Never destroyed before the process: their threads may still look at them.
std::vector<Sender*>& senders() {
  static auto* all = new std::vector<Sender*>;
  return *all;
}

std::vector<std::shared_ptr<Peer>>& peers() {
  static auto* all = new std::vector<std::shared_ptr<Peer>>;
  return *all;
}

Sender& sender_of(napi_env env, napi_value value) {
  const std::uint32_t id = seam::u32(env, value);
  WARMPATH_CHECK(id < senders().size());
  return *senders()[id];
}

Id id_of(napi_env env, napi_value value) {
  const auto bytes = seam::view<std::uint8_t>(env, value);
  Id out;
  WARMPATH_CHECK(bytes.length == out.size());
  std::memcpy(out.data(), bytes.data, out.size());
  return out;
}

napi_value open_sender(napi_env env, napi_callback_info info) {
  const seam::Arguments<4> in(env, info);
  const auto id = static_cast<std::uint32_t>(senders().size());
  const auto out = seam::view<double>(env, in[3]);
  auto sender = std::make_unique<Sender>(id, text_of(env, in[2]));
  const int port = sender->open(text_of(env, in[0]), static_cast<int>(seam::u32(env, in[1])));
  if (port < 0) return seam::number(env, port);
  out.data[0] = port;
  senders().push_back(sender.release());
  return seam::number(env, id);
}

napi_value close_sender(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  sender_of(env, in[0]).close();
  return nullptr;
}

napi_value put(napi_env env, napi_callback_info info) {
  const seam::Arguments<5> in(env, info);
  const int error = sender_of(env, in[0])
                        .put(id_of(env, in[1]), id_of(env, in[2]),
                             static_cast<int>(seam::u32(env, in[3])), seam::position(env, in[4]));
  return seam::number(env, error);
}

napi_value put_chunk(napi_env env, napi_callback_info info) {
  const seam::Arguments<5> in(env, info);
  const bool is_known = sender_of(env, in[0])
                            .put_chunk(id_of(env, in[1]), id_of(env, in[2]),
                                       seam::position(env, in[3]), id_of(env, in[4]));
  return seam::boolean(env, is_known);
}

napi_value drop(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  sender_of(env, in[0]).drop(id_of(env, in[1]), id_of(env, in[2]));
  return nullptr;
}

napi_value refuse(napi_env env, napi_callback_info info) {
  const seam::Arguments<4> in(env, info);
  sender_of(env, in[0]).refuse(id_of(env, in[1]), id_of(env, in[2]), seam::position(env, in[3]));
  return nullptr;
}

napi_value sender_facts(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  const SenderFacts facts = sender_of(env, in[0]).facts();
  const auto out = seam::view<double>(env, in[1]);
  WARMPATH_CHECK(out.length == 5);
  out.data[0] = static_cast<double>(facts.bytes);
  out.data[1] = static_cast<double>(facts.requests);
  out.data[2] = static_cast<double>(facts.refused);
  out.data[3] = static_cast<double>(facts.connections);
  out.data[4] = static_cast<double>(facts.held);
  return nullptr;
}

napi_value open_peer(napi_env env, napi_callback_info info) {
  const seam::Arguments<4> in(env, info);
  peers().push_back(peer_open(text_of(env, in[0]), static_cast<int>(seam::u32(env, in[1])),
                              seam::u32(env, in[2]), seam::u32(env, in[3]) != 0));
  return seam::number(env, static_cast<double>(peers().size() - 1));
}

// where: offset, length, milliseconds of silence; expected: 16 bytes or none.
napi_value fetch(napi_env env, napi_callback_info info) {
  const seam::Arguments<6> in(env, info);
  const std::uint32_t id = seam::u32(env, in[0]);
  WARMPATH_CHECK(id < peers().size() && peers()[id] != nullptr);
  const auto where = seam::view<double>(env, in[4]);
  WARMPATH_CHECK(where.length == 3);
  const auto expected = seam::view<std::uint8_t>(env, in[5]);
  Fetch one;
  one.token = seam::u32(env, in[1]);
  one.head = text_of(env, in[2]);
  one.to = static_cast<int>(seam::u32(env, in[3]));
  one.offset = static_cast<std::uint64_t>(where.data[0]);
  one.length = static_cast<std::uint32_t>(where.data[1]);
  one.silence_ms = static_cast<int>(where.data[2]);
  one.has_expected = expected.length == one.expected.size();
  if (one.has_expected) std::memcpy(one.expected.data(), expected.data, expected.length);
  return seam::boolean(env, peer_fetch(*peers()[id], std::move(one)));
}

napi_value close_peer(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  const std::uint32_t id = seam::u32(env, in[0]);
  WARMPATH_CHECK(id < peers().size());
  if (peers()[id] != nullptr) peer_close(*peers()[id]);
  peers()[id] = nullptr;
  return nullptr;
}

}  // namespace

void register_transfer(napi_env env, napi_value exports) {
  seam::export_function(env, exports, "senderOpen", open_sender);
  seam::export_function(env, exports, "senderClose", close_sender);
  seam::export_function(env, exports, "senderPut", put);
  seam::export_function(env, exports, "senderChunk", put_chunk);
  seam::export_function(env, exports, "senderDrop", drop);
  seam::export_function(env, exports, "senderRefuse", refuse);
  seam::export_function(env, exports, "senderFacts", sender_facts);
  seam::export_function(env, exports, "peerOpen", open_peer);
  seam::export_function(env, exports, "peerFetch", fetch);
  seam::export_function(env, exports, "peerClose", close_peer);
}

}  // namespace warmpath::model_cache
