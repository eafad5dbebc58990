#include "sdk/color.h"

#include <algorithm>
#include <cmath>

#include "sdk/exact_math.h"

namespace vera {
namespace {

constexpr int kSteps = 2048;
constexpr double kAdobeGamma = 563.0 / 256.0;

struct Primaries {
  double r[2], g[2], b[2];  // CIE xy
};
constexpr double kWhite[2] = {0.3127, 0.3290};
constexpr Primaries kPrimaries[] = {{{0.640, 0.330}, {0.300, 0.600}, {0.150, 0.060}},   // sRGB
                                    {{0.680, 0.320}, {0.265, 0.690}, {0.150, 0.060}},   // P3
                                    {{0.640, 0.330}, {0.210, 0.710}, {0.150, 0.060}},   // Adobe
                                    {{0.708, 0.292}, {0.170, 0.797}, {0.131, 0.046}}};  // BT.2020

double Linear(vera_color_space space, double v) {
  if (space == VERA_COLOR_SPACE_ADOBE_RGB) return ExactPow(v, kAdobeGamma);
  return v <= 0.04045 ? v / 12.92 : ExactPow((v + 0.055) / 1.055, 2.4);
}

double Encoded(double v) {
  return v <= 0.0031308 ? v * 12.92 : 1.055 * ExactPow(v, 1.0 / 2.4) - 0.055;
}

void Inverted(const double* m, double* out) {
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) {
      const int a = (column + 1) % 3, b = (column + 2) % 3, c = (row + 1) % 3, d = (row + 2) % 3;
      out[3 * row + column] = m[3 * a + c] * m[3 * b + d] - m[3 * a + d] * m[3 * b + c];
    }
  }
  const double determinant = m[0] * out[0] + m[1] * out[3] + m[2] * out[6];
  for (int i = 0; i < 9; ++i) out[i] /= determinant;
}

// Linear RGB to CIE XYZ: columns are the primaries, scaled so that their sum is white.
void ToXyz(const Primaries& primaries, double* out) {
  const double* all[3] = {primaries.r, primaries.g, primaries.b};
  double columns[9], inverse[9];
  for (int c = 0; c < 3; ++c) {
    columns[c] = all[c][0] / all[c][1];
    columns[3 + c] = 1.0;
    columns[6 + c] = (1.0 - all[c][0] - all[c][1]) / all[c][1];
  }
  Inverted(columns, inverse);
  const double white[3] = {kWhite[0] / kWhite[1], 1.0, (1.0 - kWhite[0] - kWhite[1]) / kWhite[1]};
  for (int c = 0; c < 3; ++c) {
    const double scale = inverse[3 * c] * white[0] + inverse[3 * c + 1] * white[1] +
                         inverse[3 * c + 2] * white[2];
    for (int row = 0; row < 3; ++row) out[3 * row + c] = columns[3 * row + c] * scale;
  }
}

// Between two neighbours of a table over 0..1.
double Between(const std::vector<double>& table, double v) {
  const double place = v * kSteps;
  const int at = std::min(static_cast<int>(place), kSteps - 1);
  const double low = table[static_cast<size_t>(at)], high = table[static_cast<size_t>(at) + 1];
  return low + (high - low) * (place - at);
}

}  // namespace

ToSrgb::ToSrgb(vera_color_space space) : space_(space), matrix_{} {
  if (changes_nothing()) return;
  double from[9], to[9], inverse[9];
  ToXyz(kPrimaries[space], from);
  ToXyz(kPrimaries[VERA_COLOR_SPACE_SRGB], to);
  Inverted(to, inverse);
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) {
      for (int i = 0; i < 3; ++i) {
        matrix_[3 * row + column] += inverse[3 * row + i] * from[3 * i + column];
      }
    }
  }
  for (int i = 0; i <= kSteps; ++i) {
    const double v = static_cast<double>(i) / kSteps;
    linear_.push_back(Linear(space, v));
    // evenly in the square root, in which the steep beginning is flat
    encoded_.push_back(Encoded(v * v));
  }
}

void ToSrgb::Convert(float* rgb) const {
  double linear[3];
  for (int c = 0; c < 3; ++c) {
    linear[c] = Between(linear_, std::clamp(static_cast<double>(rgb[c]), 0.0, 1.0));
  }
  for (int c = 0; c < 3; ++c) {
    const double* row = matrix_ + 3 * c;
    const double v = row[0] * linear[0] + row[1] * linear[1] + row[2] * linear[2];
    rgb[c] = static_cast<float>(Between(encoded_, std::sqrt(std::clamp(v, 0.0, 1.0))));
  }
}

}  // namespace vera
