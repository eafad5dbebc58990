// What the C ABI accepts as a bake of a lattice, on the CPU and on a GPU.
#ifndef VERA_CPU_BAKE_ARGS_H_
#define VERA_CPU_BAKE_ARGS_H_

#include <cstdint>
#include <vector>

#include "vera/vera.h"

namespace vera {

struct LatticeBake {
  vera_bake_options options = {};
  std::vector<float> axes;  // 3 x lut_size, also where the caller gave none
};

// False for what vera.h forbids in vera_bake, but for its `lut`. Throws std::bad_alloc.
bool ReadLatticeBake(const vera_renderer* renderer, const float* latents, const float* strengths,
                     const float* axes, int32_t lut_size, const vera_bake_options* options,
                     LatticeBake* read);

}  // namespace vera

#endif  // VERA_CPU_BAKE_ARGS_H_
