#include "model_cache/peer_auth.h"

#include <charconv>
#include <cstdlib>

#include "model_cache/sha256.h"

namespace warmpath::model_cache {

namespace {

constexpr std::string_view SCHEME = "Warmpath ";

// The value of `name=` in a list with commas.
std::string_view part(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    const std::string_view one = list.substr(0, list.find(','));
    list.remove_prefix(one.size() == list.size() ? list.size() : one.size() + 1);
    if (one.size() > name.size() && one.starts_with(name) && one[name.size()] == '=') {
      return one.substr(name.size() + 1);
    }
  }
  return {};
}

bool is_same(std::string_view hex, const Digest& digest) {
  constexpr char DIGITS[] = "0123456789abcdef";
  if (hex.size() != digest.size() * 2) return false;
  int difference = 0;
  for (std::size_t i = 0; i < hex.size(); i++) {
    const int half = i % 2 == 0 ? digest[i / 2] >> 4 : digest[i / 2] & 15;
    difference |= hex[i] ^ DIGITS[half];
  }
  return difference == 0;
}

}  // namespace

void PeerAuth::turn(std::int64_t now_s) {
  if (now_s - turned_s_ <= AUTH_SECONDS_MAX * 2 && young_.size() < AUTH_NONCES_MAX) return;
  old_ = std::move(young_);
  young_.clear();
  turned_s_ = now_s;
}

bool PeerAuth::accepts(std::string_view path, std::string_view range, std::string_view header,
                       std::int64_t now_s) {
  if (token_.empty()) return true;
  if (!header.starts_with(SCHEME)) return false;
  header.remove_prefix(SCHEME.size());
  const std::string_view ts = part(header, "ts");
  const std::string_view nonce = part(header, "nonce");
  if (nonce.size() != 32) return false;
  std::int64_t at = 0;
  const auto [end, error] = std::from_chars(ts.data(), ts.data() + ts.size(), at);
  if (error != std::errc{} || end != ts.data() + ts.size()) return false;
  if (std::llabs(now_s - at) > AUTH_SECONDS_MAX) return false;
  std::string text = "GET\n";
  text.append(path).append("\n").append(range).append("\n").append(ts).append("\n").append(nonce);
  if (!is_same(part(header, "mac"), hmac_sha256(token_, text))) return false;
  turn(now_s);
  std::string known(nonce);
  if (old_.contains(known)) return false;
  return young_.insert(std::move(known)).second;
}

}  // namespace warmpath::model_cache
