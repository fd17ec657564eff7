#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "index_replay/churn.h"
#include "check.h"

int main(int argc, char** argv) {
  bench::TraceOptions o{argv[1], (uint32_t)atoi(argv[2]), (uint32_t)atoi(argv[3]), (uint32_t)atoi(argv[4]), argc>5 && atoi(argv[5])!=0, argc>6&&atoi(argv[6])!=0};
  bench::Trace t = bench::load_trace(o);
  std::printf("block ops %lu events %lu single %.3f\n", t.block_ops, t.events, double(t.single_events)/double(t.events));
  for (int r = 0; r < (argc > 8 ? atoi(argv[8]) : 3); r++) {
    bench::ChurnResult f; if (argc <= 7) f = bench::churn_flat(t, uint64_t{1} << 22);
    auto i = bench::churn_index(t, uint64_t{1} << 32);
    std::printf("flat %.1f M/s  index %.1f M/s  same %d clean %d held %lu distinct %lu runs %lu merges %lu B/held %.1f B/distinct %.1f reserved %.1f\n", t.block_ops/f.seconds/1e6, t.block_ops/i.seconds/1e6, f.digest==i.digest, i.is_clean, i.held, i.distinct, i.runs, i.merges, double(i.bytes)/i.held, double(i.bytes)/i.distinct, double(i.bytes_reserved)/i.held);
  }
}
