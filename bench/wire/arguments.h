#ifndef WARMPATH_BENCH_WIRE_ARGUMENTS_H_
#define WARMPATH_BENCH_WIRE_ARGUMENTS_H_

// Command line of the bench executables: `--name value` pairs and bare `--name` facts. An
// unknown name, a missing value or a bad number ends the process with status 2 and one line on
// stderr, so that a bench never runs with a setting that was silently ignored.
//
//   Arguments arguments(argc, argv);
//   uint64_t port = arguments.number("port", 0);
//   bool stream = arguments.fact("stream");
//   arguments.refuse_unknown();

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace wire {

class Arguments {
 public:
  Arguments(int count, char** words) : words_(words + 1, words + count), used_(words_.size()) {}

  bool fact(const char* name) {
    bool found = false;
    for (size_t i = 0; i < words_.size(); i++) {
      if (words_[i] != std::string("--") + name) continue;
      used_[i] = true;
      found = true;
    }
    return found;
  }

  /** Every value given for the name, in order. */
  std::vector<std::string> texts(const char* name) {
    std::vector<std::string> values;
    for (size_t i = 0; i < words_.size(); i++) {
      if (used_[i] || words_[i] != std::string("--") + name) continue;
      if (i + 1 == words_.size()) fail("missing value after", words_[i]);
      used_[i] = used_[i + 1] = true;
      values.push_back(words_[i + 1]);
    }
    return values;
  }

  std::string text(const char* name, const char* otherwise) {
    const std::vector<std::string> values = texts(name);
    return values.empty() ? otherwise : values.back();
  }

  uint64_t number(const char* name, uint64_t otherwise) {
    const std::vector<std::string> values = texts(name);
    if (values.empty()) return otherwise;
    char* end = nullptr;
    const uint64_t value = strtoull(values.back().c_str(), &end, 10);
    if (end == values.back().c_str() || *end != 0) fail("not a number:", values.back());
    return value;
  }

  void refuse_unknown() const {
    for (size_t i = 0; i < words_.size(); i++) {
      if (!used_[i]) fail("unknown argument", words_[i]);
    }
  }

 private:
  [[noreturn]] static void fail(const char* what, const std::string& word) {
    fprintf(stderr, "%s %s\n", what, word.c_str());
    exit(2);
  }

  std::vector<std::string> words_;
  std::vector<bool> used_;
};

}  // namespace wire

#endif  // WARMPATH_BENCH_WIRE_ARGUMENTS_H_
