#include "model_cache/socket_owner.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

namespace warmpath::model_cache {

namespace {

// Bytes that are read of a list at once.
constexpr std::size_t PART_BYTES = 1 << 16;
// How the kernel writes "::ffff:" and "::1": words of four bytes in the host's order.
constexpr std::string_view MAPPED = "0000000000000000FFFF0000";
constexpr std::string_view LOOPBACK_V6 = "00000000000000000000000001000000";

// One end as in the lists of IPv4 and IPv6; empty where it cannot be in that list.
struct End {
  std::string v4;
  std::string v6;
};

std::string hex(std::uint32_t value, int digits) {
  char text[9];
  const int length = std::snprintf(text, sizeof text, "%0*X", digits, value);
  return {text, static_cast<std::size_t>(length)};
}

End end_of_v4(std::uint32_t address, std::uint16_t port) {
  if (ntohl(address) >> 24 != 127) return {};
  const std::string place = hex(address, 8) + ':' + hex(ntohs(port), 4);
  return {.v4 = place, .v6 = std::string(MAPPED) + place};
}

// Empty in both when it is not on loopback.
End end_of(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return end_of_v4(v4.sin_addr.s_addr, v4.sin_port);
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  if (address.ss_family != AF_INET6) return {};
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    return end_of_v4(v6.sin6_addr.s6_addr32[3], v6.sin6_port);
  }
  if (!IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr)) return {};
  return {.v4 = {}, .v6 = std::string(LOOPBACK_V6) + ':' + hex(ntohs(v6.sin6_port), 4)};
}

std::string whole(const char* path) {
  std::string text;
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return text;
  for (;;) {
    const std::size_t at = text.size();
    text.resize(at + PART_BYTES);
    const ssize_t got = read(file, text.data() + at, PART_BYTES);
    text.resize(at + static_cast<std::size_t>(got > 0 ? got : 0));
    if (got == 0 || (got < 0 && errno != EINTR)) break;
  }
  close(file);
  return text;
}

std::string_view next_word(std::string_view* line) {
  line->remove_prefix(std::min(line->find_first_not_of(' '), line->size()));
  const std::string_view word = line->substr(0, line->find(' '));
  line->remove_prefix(word.size());
  return word;
}

std::optional<uid_t> user_in(const char* path, const std::string& far, const std::string& near) {
  if (far.empty() || near.empty()) return std::nullopt;
  const std::string list = whole(path);
  // State 01: both ends are open.
  const std::string ends = far + ' ' + near + " 01 ";
  const std::size_t at = list.find(ends);
  if (at == std::string::npos) return std::nullopt;
  std::string_view rest = std::string_view(list).substr(at + ends.size());
  rest = rest.substr(0, rest.find('\n'));
  // Queues, timer, retransmissions; then the user, a time and the inode.
  for (int i = 0; i < 3; i++) (void)next_word(&rest);
  const std::string_view user = next_word(&rest);
  (void)next_word(&rest);
  if (next_word(&rest) == "0") return std::nullopt;
  uid_t uid = 0;
  const auto [last, error] = std::from_chars(user.data(), user.data() + user.size(), uid);
  if (error != std::errc{} || last != user.data() + user.size()) return std::nullopt;
  return uid;
}

}  // namespace

bool is_own_user(int socket) {
  sockaddr_storage here{};
  sockaddr_storage there{};
  socklen_t here_bytes = sizeof here;
  socklen_t there_bytes = sizeof there;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&here), &here_bytes) < 0) return false;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&there), &there_bytes) < 0) return false;
  const End near = end_of(here);
  const End far = end_of(there);
  std::optional<uid_t> user = user_in("/proc/net/tcp", far.v4, near.v4);
  if (!user.has_value()) user = user_in("/proc/net/tcp6", far.v6, near.v6);
  return user.has_value() && (*user == 0 || *user == geteuid());
}

}  // namespace warmpath::model_cache
