// Assertions that stay on in release builds: a broken invariant ends the process at once, with
// its place, rather than routing on a corrupt structure. Arguments from JavaScript are checked
// before, in TypeScript; what fails here is a programmer's error.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace warmpath {

[[noreturn]] inline void check_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "warmpath: check failed: %s (%s:%d)\n", what, file, line);
  std::abort();
}

}  // namespace warmpath

#define WARMPATH_CHECK(condition)           \
  (__builtin_expect(!!(condition), 1)       \
       ? static_cast<void>(0)               \
       : ::warmpath::check_failed(#condition, __FILE__, __LINE__))
