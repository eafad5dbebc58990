// The vision tower's work as tables of functions, one table for each instruction set in the library.
#ifndef VERA_OPS_VISION_VISION_H_
#define VERA_OPS_VISION_VISION_H_

#include "cpu/pool.h"
#include "ops/decoder/decoder.h"
#include "vera/vision.h"

namespace vera {

struct ImageShape {
  int height;
  int width;
  int channels;
};

// The arguments were checked; the pool is held by the caller. False where memory is short.
struct VisionFunctions {
  const char* name;
  bool (*stem)(Pool& pool, const vera_vision_stem& stem, const float* pixels, int size,
               uint16_t* out);
  bool (*down)(Pool& pool, const vera_vision_down& down, const uint16_t* x, const ImageShape& shape,
               uint16_t* out);
  bool (*depthwise)(Pool& pool, const vera_vision_depthwise& depthwise, const uint16_t* x,
                    const ImageShape& shape, uint16_t* out);
  bool (*block)(Pool& pool, const vera_vision_block& block, const uint16_t* x,
                const ImageShape& shape, uint16_t* out);
  bool (*attention)(Pool& pool, const vera_vision_attention& attention, const uint16_t* x,
                    int positions, int channels, uint16_t* out);
  bool (*tokens)(Pool& pool, const vera_vision_tokens& tokens, const uint16_t* x,
                 const ImageShape& shape, float* out);
};

// The fastest table that this machine can run.
const VisionFunctions& Vision();

// All tables that this machine can run, the fastest first; for tests.
const VisionFunctions* const* AllVisions(int* count);

}  // namespace vera

#endif  // VERA_OPS_VISION_VISION_H_
