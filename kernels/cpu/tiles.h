// Work shared by threads: tiles are taken from one atomic counter.
#ifndef VERA_CPU_TILES_H_
#define VERA_CPU_TILES_H_

#include <cstdint>
#include <functional>

namespace vera {

// Threads to use: `requested`, or for 0 one for each core; never more than tiles or 64.
int ThreadCount(int requested, int64_t tiles);

// Calls work(tile) once for each tile in [0, tiles) on `threads` threads, the caller's included.
//
// should_stop() is asked before each tile, on any thread; after_tile(done tiles) runs only on the
// caller's thread, with growing values. False if stopped early. If the system refuses a thread the
// others do its share. None of the functions may throw.
bool RunTiles(int64_t tiles, int threads, const std::function<bool()>& should_stop,
              const std::function<void(int64_t)>& work,
              const std::function<void(int64_t)>& after_tile);

}  // namespace vera

#endif  // VERA_CPU_TILES_H_
