// Work shared out to threads, each with memory of its own.
#ifndef VERA_OPS_VISION_TILES_INL_H_
#define VERA_OPS_VISION_TILES_INL_H_

#include "ops/vision/bytes-inl.h"
#include "ops/vision/vision.h"

namespace vera {
namespace VERA_SET {

// Memory of a call: a part that all threads see and a part for each thread.
class Workplace {
 public:
  // lay_out_shared(char*) and lay_out_own(char*) carve their pieces and give back the end.
  template <class Shared, class Own>
  bool Reserve(Pool& pool, const Shared& lay_out_shared, const Own& lay_out_own) {
    const size_t shared = Size(lay_out_shared);
    own_bytes_ = Size(lay_out_own);
    char* memory = static_cast<char*>(DecoderMemory().Grow(shared + pool.Threads() * own_bytes_));
    if (memory == nullptr) return false;
    lay_out_shared(memory);
    own_ = memory + shared;
    return true;
  }

  char* Own(int64_t thread) const { return own_ + thread * own_bytes_; }

 private:
  template <class F>
  static size_t Size(const F& lay_out) {
    char* none = nullptr;
    return static_cast<size_t>(lay_out(none) - none);
  }

  char* own_ = nullptr;
  size_t own_bytes_ = 0;
};

// function(tile, thread) once for each tile; no two calls at a time have the same thread.
template <class F>
void ForTiles(Pool& pool, int64_t tiles, const F& function) {
  int64_t next = 0;
  pool.For(Least(pool.Threads(), tiles), [&](int64_t thread) {
    for (int64_t tile; (tile = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < tiles;) {
      function(tile, thread);
    }
  });
}

}  // namespace VERA_SET
}  // namespace vera

#endif  // VERA_OPS_VISION_TILES_INL_H_
