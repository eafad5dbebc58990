// A look as numbers: the plan's result, its JSON, its curves.
#ifndef VERA_SDK_LOOK_H_
#define VERA_SDK_LOOK_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vera/retoucher.h"

struct vera_plan_result {
  int32_t latent_size = 0;
  std::vector<float> latents;  // 3 x latent_size
  std::string text;
  std::vector<int32_t> tokens;
  double stage_ms[VERA_STAGE_COUNT] = {};
};

namespace vera {

// The bytes that Python's Look.to_json writes.
std::string LookToJson(const vera_plan_result& look, const float* strengths);

// Reads it; strengths: 3, may be nullptr. Fails with FILE_ERROR.
vera_plan_result LookFromJson(std::string_view json, float* strengths);

// Fails with INVALID_ARGUMENT unless all three are in 0..1.5.
void CheckStrengths(const float* strengths);

// ---- Curves, which put more nodes of a lattice where the look bends more ----

constexpr int kCurveLines = 27;  // 9 a channel
constexpr int kCurvePoints = kCurveLines * VERA_CURVE_KNOTS;

// The colours (kCurvePoints, 3) that a look is asked for to find its curves.
std::vector<float> CurvePoints();

// Curves (3, 65), monotone from 0 to 1, from the look's answers (kCurvePoints, 3). The density of
// nodes follows sqrt(|f''|), which spreads the largest error of linear interpolation evenly (de Boor
// 1973); half of it stays uniform. Sums are double and in ascending order.
void FitCurves(const float* colours, float* curves);

// Encoded value of each node of a lattice (3, size): where the curves reach i / (size - 1).
std::vector<float> LatticeAxes(const float* curves, int32_t size);

// i / (size - 1) as NumPy's linspace has it.
std::vector<double> EvenSteps(int32_t size);

}  // namespace vera

#endif  // VERA_SDK_LOOK_H_
