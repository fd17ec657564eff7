// Who may ask for chunks: a shared token, never sent, signs each request.
//
//   authorization: Warmpath ts=<unix s>,nonce=<32 hex>,mac=<64 hex>
//   mac = HMAC-SHA256(token, "GET\n<path>\n<range>\n<ts>\n<nonce>")
//
// A request is good for AUTH_SECONDS_MAX around its time stamp, and its nonce once: nonces are
// remembered in two sets, the older of which is thrown away when the younger has aged. At
// AUTH_NONCES_MAX the sets turn early, so a flood costs memory never and replay protection at
// worst; only somebody who knows the token can cause it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>

namespace warmpath::model_cache {

// Seconds that clocks may differ, and that a signed request stays good.
inline constexpr std::int64_t AUTH_SECONDS_MAX = 30;
// Nonces remembered in each of the two sets: two minutes of 10 GB/s in chunks.
inline constexpr std::size_t AUTH_NONCES_MAX = 1 << 19;

class PeerAuth {
 public:
  explicit PeerAuth(std::string token) : token_(std::move(token)) {}
  // `header` is the value of authorization, empty when there is none.
  bool accepts(std::string_view path, std::string_view range, std::string_view header,
               std::int64_t now_s);

 private:
  void turn(std::int64_t now_s);

  std::string token_;
  std::unordered_set<std::string> young_;
  std::unordered_set<std::string> old_;
  std::int64_t turned_s_ = 0;
};

}  // namespace warmpath::model_cache
