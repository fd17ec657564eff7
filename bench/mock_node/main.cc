// mock_node: a vLLM node that computes nothing, for benches of what stands in front of it.
//
//   mock_node [--port 0] [--model NAME …] [--tokens 16] [--pace-us 0]
//             [--kv-events tcp://… [--kv-replay tcp://…]]
//
// It listens on loopback, prints one JSON line {"url":…} when it does, and dies with its parent.
// Replies are in replies.h, what it reads of a request in request.h, the loop in server.h.

#include <sys/prctl.h>

#include <csignal>
#include <cstdio>

#include "../wire/arguments.h"
#include "server.h"

int main(int count, char** words) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The default slack of 50 µs would delay every paced token.
  prctl(PR_SET_TIMERSLACK, 1);
  wire::Arguments arguments(count, words);
  mock::Settings settings;
  settings.models = arguments.texts("model");
  if (settings.models.empty()) settings.models.push_back("mock");
  settings.kv_events = arguments.text("kv-events", "");
  settings.kv_replay = arguments.text("kv-replay", "");
  settings.tokens = arguments.number("tokens", settings.tokens);
  settings.pace_us = arguments.number("pace-us", settings.pace_us);
  const int port = static_cast<int>(arguments.number("port", 0));
  arguments.refuse_unknown();
  mock::Server server(settings);
  printf("{\"url\":\"http://127.0.0.1:%d\"}\n", server.listen_on(port));
  fflush(stdout);
  server.run();
}
