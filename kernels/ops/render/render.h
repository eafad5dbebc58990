// Inside of the render operator: a checked look made ready for SIMD, and the two ways to apply it.
//
// The C ABI (cpu/vera.cc) checks arguments and cuts the image into tiles; what is declared here
// trusts its arguments.
#ifndef VERA_OPS_RENDER_RENDER_H_
#define VERA_OPS_RENDER_RENDER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>

#include "ops/render/formats.h"
#include "vera/vera.h"

namespace vera {

// Arrays that begin a cache line.
struct AlignedDelete {
  static constexpr std::align_val_t kLine{64};
  void operator()(void* memory) const { ::operator delete(memory, kLine); }
};
template <typename T>
using AlignedArray = std::unique_ptr<T[], AlignedDelete>;

// A look laid out for RenderSpans. Curve values are scaled to lattice positions [0, lut_size - 1].
struct PreparedLook {
  int curve_size = 0;
  int lut_size = 0;
  int output_curve_size = 0;               // 0: none
  std::unique_ptr<float[]> curves;         // 3 x curve_size lattice positions
  std::unique_ptr<float[]> codes8;         // 3 x 256 lattice positions by code; only for 8 bits
  std::unique_ptr<float[]> nodes;          // lut_size^3 x 4: R, G, B, 0; one 16-byte load a node
  std::unique_ptr<float[]> output_curves;  // 3 x output_curve_size values in [0, 1]
  // The 8-bit look, see eight_bit-inl.h; then codes8, nodes and output_curves are empty.
  std::unique_ptr<int32_t[]> fixed_codes;  // 3 x 256: cell << 15 | fraction
  std::unique_ptr<uint8_t[]> code_bytes;   // 3 x 3 x 256: cell, low and high byte of the fraction
  AlignedArray<int16_t> fixed_nodes;       // n^3 x 8, see kFixedNode
};

// Node i of fixed_nodes: R, G, B, 0 times strength, plus half a code, and the same of the next node
// in green. The next in red follows, so that a cell is two loads of 32 bytes.
constexpr int kFixedNode = 8;
constexpr int kFixedOne = 1 << 14;    // 1.0 of a fraction and a weight
constexpr int kFixedCode = 1 << 6;    // one 8-bit code in a node
constexpr int kSumShift = 20;         // of a code in a sum: node steps times weights
constexpr float kFixedNodeMax = 2.0f;  // larger LUT values times strength take the float path

// Everything that is the same for all pixels of a render.
struct RenderJob {
  PreparedLook look;
  vera_pixel_format src_format = 0;
  vera_pixel_format dst_format = 0;
  FormatInfo src;
  FormatInfo dst;
  YuvToRgb yuv;
  float strength = 1.0f;
  bool trilinear = false;
  bool extend = false;
  bool dither = false;
};

// What a code of the input adds to a sum, next to the edited part that nodes hold.
inline int32_t RestOfIn(float strength) {
  const double rest = (1.0 - static_cast<double>(strength)) * (1 << kSumShift);
  return static_cast<int32_t>(rest < 0.0 ? rest - 0.5 : rest + 0.5);
}

// A run of pixels of one row; src == dst is allowed for equal formats.
struct RowSpan {
  const uint8_t* src[3];  // first pixel of the run in each plane; 4:2:0: first pixel of the row
  const uint8_t* src_far[3];  // 4:2:0: the chroma row that counts a quarter
  uint8_t* dst[3];
  int64_t x;              // of the run's first pixel in the image
  int64_t width;          // of the image
  size_t pixels;
  uint32_t dither_phase;  // of the run's first pixel, see DitherPhase
};

// Thresholds are 256 steps of a sequence over x and y whose neighbours differ much: multiples of
// the plastic number's inverse powers, modulo 1, in 32-bit fixed point. Source: M. Roberts, "The
// unreasonable effectiveness of quasirandom sequences", 2018.
constexpr uint32_t kDitherStepX = 3242174889u;
constexpr uint32_t kDitherStepY = 2447445414u;
inline uint32_t DitherPhase(int64_t x, int64_t y) {
  return static_cast<uint32_t>(x) * kDitherStepX + static_cast<uint32_t>(y) * kDitherStepY;
}

// Copies, converts and scales a look into job->look; formats and options of the job are set.
// INVALID_ARGUMENT for a value that is not finite (or a LUT value beyond +-65504), OUT_OF_MEMORY.
vera_status PrepareLook(const vera_look& look, RenderJob* job);

// The part of it that concerns curves and output_curves, for a LUT of look.lut_size that lies
// elsewhere; look.lut is not read.
vera_status PrepareCurves(const vera_look& look, PreparedLook* out);

// Calls work(i) for each i below count, perhaps on several threads; false if it was stopped.
using ForEach = std::function<bool(int64_t count, const std::function<void(int64_t)>& work)>;

// The same with the planes of the LUT shared out by for_each; CANCELLED if that was stopped.
vera_status PrepareLook(const vera_look& look, const ForEach& for_each, RenderJob* job);

// Renders runs of pixels. SIMD, float32.
//
// Only single additions and multiplications in a fixed order are used (no fused multiply-add), so
// all instruction sets give the same bytes.
void RenderSpans(const RenderJob& job, const RowSpan* spans, size_t count);

// The same for a whole image, in double precision, as plain as possible: the truth of the tests.
void RenderReference(const vera_look& look, const vera_frame& src, const vera_frame& dst,
                     const vera_render_options& options);

}  // namespace vera

#endif  // VERA_OPS_RENDER_RENDER_H_
