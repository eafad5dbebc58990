#include "cpu/tiles.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

namespace vera {

int ThreadCount(int requested, int64_t tiles) {
  int64_t count = requested;
  if (count == 0) count = std::max(1u, std::thread::hardware_concurrency());
  return static_cast<int>(std::clamp<int64_t>(std::min(count, tiles), 1, 64));
}

bool RunTiles(int64_t tiles, int threads, const std::function<bool()>& should_stop,
              const std::function<void(int64_t)>& work,
              const std::function<void(int64_t)>& after_tile) {
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};
  std::atomic<bool> stopped{false};
  const auto take_tiles = [&](bool is_caller) {
    while (!stopped.load(std::memory_order_relaxed)) {
      const int64_t tile = next.fetch_add(1, std::memory_order_relaxed);
      if (tile >= tiles) return;
      if (should_stop()) {
        stopped.store(true, std::memory_order_relaxed);
        return;
      }
      work(tile);
      const int64_t finished = done.fetch_add(1, std::memory_order_acq_rel) + 1;
      if (is_caller && finished < tiles) after_tile(finished);
    }
  };
  std::vector<std::thread> helpers;
  helpers.reserve(static_cast<size_t>(threads));
  for (int i = 1; i < threads; ++i) {
    try {
      helpers.emplace_back(take_tiles, false);
    } catch (const std::system_error&) {
      break;
    }
  }
  take_tiles(true);
  for (std::thread& helper : helpers) helper.join();
  if (stopped.load()) return false;
  after_tile(tiles);
  return true;
}

}  // namespace vera
