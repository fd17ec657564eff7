#include "socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace load {

int connect_to(const Target& target) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(target.port);
  if (inet_pton(AF_INET, target.host.c_str(), &address.sin_addr) != 1 ||
      connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    close(fd);
    return -1;
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return fd;
}

bool upgrade(int fd, const Options& options, const Target& target) {
  std::string head = "GET " + options.path + " HTTP/1.1\r\nhost: " + target.host + ":" +
                     std::to_string(target.port) +
                     "\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
                     "sec-websocket-version: 13\r\n"
                     "sec-websocket-key: d2FybXBhdGggYmVuY2ggIQ==\r\n";
  if (options.is_msgpack) head += "sec-websocket-protocol: warmpath.msgpack\r\n";
  if (!options.api_key.empty()) head += "authorization: Bearer " + options.api_key + "\r\n";
  head += "\r\n";
  if (send(fd, head.data(), head.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(head.size())) {
    return false;
  }
  std::string answer;
  while (answer.find("\r\n\r\n") == std::string::npos) {
    char piece[512];
    const ssize_t got = recv(fd, piece, sizeof(piece), 0);
    if (got <= 0) return false;
    answer.append(piece, static_cast<size_t>(got));
  }
  return answer.compare(0, 12, "HTTP/1.1 101") == 0;
}

void set_non_blocking(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

}  // namespace load
