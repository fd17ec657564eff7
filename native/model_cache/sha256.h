// SHA-256 and HMAC-SHA256 (FIPS 180-4, RFC 2104) for the signatures of the peer protocol.
//
// Written out because the addon links no OpenSSL: a signed text has some 200 bytes and stands
// beside 4 MiB of data, so the plain loop (1 to 2 µs a signature) is not worth a dependency.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace warmpath::model_cache {

using Digest = std::array<std::uint8_t, 32>;

Digest sha256(std::string_view text);
Digest hmac_sha256(std::string_view key, std::string_view text);

}  // namespace warmpath::model_cache
