// What the test programs of the render operator share.
#ifndef VERA_OPS_RENDER_RENDER_TEST_UTIL_H_
#define VERA_OPS_RENDER_RENDER_TEST_UTIL_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "hwy/targets.h"
#include "ops/render/render.h"
#include "vera/vera.h"

namespace vera {

// Exactly rounded operations only, so that every machine makes the same numbers.
struct Random {
  uint32_t state = 1;
  uint32_t Bits() { return (state = state * 1664525u + 1013904223u) >> 8; }
  float Unit() { return static_cast<float>(Bits()) / 16777216.0f; }
};

struct Look {
  std::vector<float> curves, lut;
  vera_baked_look view;
};

inline Look MakeLook(int curve_size, int lut_size, bool identity) {
  Look look;
  Random random;
  for (int i = 0; i < 3 * curve_size; ++i) {
    const float x = static_cast<float>(i % curve_size) / static_cast<float>(curve_size - 1);
    look.curves.push_back(identity ? x : x * (2.0f - x));
  }
  for (int i = 0; i < lut_size * lut_size * lut_size; ++i) {
    const int axis[3] = {i % lut_size, i / lut_size % lut_size, i / lut_size / lut_size};
    for (int c = 0; c < 3; ++c) {
      const float x = static_cast<float>(axis[c]) / static_cast<float>(lut_size - 1);
      look.lut.push_back(identity ? x : 0.7f * x * x + 0.3f * random.Unit());
    }
  }
  look.view = {look.curves.data(), curve_size, look.lut.data(), lut_size};
  return look;
}

inline vera_render_options Options(float strength, int threads = 1) {
  vera_render_options options = {};
  options.struct_size = sizeof(options);
  options.strength = strength;
  options.threads = threads;
  return options;
}

inline vera_look Full(const vera_baked_look& look) {
  vera_look full = {};
  full.struct_size = sizeof(full);
  full.curves = look.curves;
  full.curve_size = look.curve_size;
  full.lut = look.lut;
  full.lut_size = look.lut_size;
  return full;
}

inline vera_frame FrameOf(const vera_image& image) {
  vera_frame frame = {};
  frame.struct_size = sizeof(frame);
  frame.format = image.format;
  frame.width = image.width;
  frame.height = image.height;
  frame.planes[0] = image.data;
  frame.row_stride_bytes[0] = image.row_stride_bytes;
  return frame;
}

// Runs `check` once for each instruction set that is compiled in and present.
template <typename Check>
void OnEveryTarget(Check check) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(target);
    SCOPED_TRACE(hwy::TargetName(target));
    check();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace vera

#endif  // VERA_OPS_RENDER_RENDER_TEST_UTIL_H_
