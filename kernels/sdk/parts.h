// Work shared by threads that may fail.
#ifndef VERA_SDK_PARTS_H_
#define VERA_SDK_PARTS_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>

#include "cpu/tiles.h"

namespace vera {

// Asked between parts of the work, from any thread: true stops it.
using Stopped = std::function<bool()>;

// Calls work(first, end) for parts of [0, count) of at most `size`, on a thread for each core. False
// if stopped; what the first of them threw is thrown again here.
inline bool RunParts(int64_t count, int64_t size, const Stopped& stopped,
                     const std::function<void(int64_t, int64_t)>& work) {
  const int64_t parts = (count + size - 1) / size;
  std::mutex mutex;
  std::exception_ptr thrown;
  std::atomic<bool> failed{false};
  const bool complete = RunTiles(
      parts, ThreadCount(0, parts), [&] { return failed.load() || stopped(); },
      [&](int64_t part) {
        try {
          work(part * size, std::min(count, (part + 1) * size));
        } catch (...) {
          const std::lock_guard<std::mutex> lock(mutex);
          if (thrown == nullptr) thrown = std::current_exception();
          failed.store(true);
        }
      },
      [](int64_t) {});
  if (thrown != nullptr) std::rethrow_exception(thrown);
  return complete;
}

}  // namespace vera

#endif  // VERA_SDK_PARTS_H_
