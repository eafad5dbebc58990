#include "sdk/look.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "sdk/failure.h"
#include "sdk/json.h"

namespace vera {
namespace {

constexpr const char* kGroups[VERA_GROUP_COUNT] = {"lighting", "global_color", "specific_color"};
constexpr float kMaxStrength = 1.5f;
constexpr double kWarp = 0.5;  // share of the lattice that follows the curvature
constexpr size_t kKnots = VERA_CURVE_KNOTS;
constexpr int64_t kMaxLatentSize = 65536;
constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string Base64(const std::vector<uint8_t>& bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) bits = bits << 8 | (j < count ? bytes[i + j] : 0u);
    for (size_t j = 0; j < 4; ++j) {
      text += j <= count ? kDigits[bits >> (18 - 6 * j) & 63] : '=';
    }
  }
  return text;
}

// False for what is no base64: other characters, padding elsewhere than at the end.
bool FromBase64(std::string_view text, std::vector<uint8_t>* bytes) {
  if (text.size() % 4 != 0) return false;
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    uint32_t value = 0;
    if (i < text.size() - padding) {
      const char* found = std::strchr(kDigits, text[i]);
      if (found == nullptr || text[i] == '\0') return false;
      value = static_cast<uint32_t>(found - kDigits);
    }
    bits = bits << 6 | value;
    if (i % 4 == 3) {
      for (int shift = 16; shift >= 0; shift -= 8) {
        bytes->push_back(static_cast<uint8_t>(bits >> shift));
      }
      bits = 0;
    }
  }
  bytes->resize(bytes->size() - padding);
  return true;
}

[[noreturn]] void NoLook(const std::string& why) {
  Fail(VERA_STATUS_FILE_ERROR, "This is not a look of version 1 (" + why + "); save it again.");
}

const Json& Needed(const Json& record, const char* key) {
  const Json* found = Member(record, key);
  if (found == nullptr) NoLook(std::string(key) + " is missing");
  return *found;
}

float StrengthOf(const Json& record, const char* group) {
  const Json& value = Needed(record, group);
  const double strength = value.is_number() ? value.get<double>() : -1.0;
  if (!(strength >= 0.0 && strength <= static_cast<double>(kMaxStrength))) {
    NoLook(std::string(group) + " is no number from 0 to 1.5");
  }
  return static_cast<float>(strength);
}

// Where a look bends, per channel and knot: the mean size of the second difference.
void Bend(const float* colours, double (*bend)[kKnots]) {
  for (size_t channel = 0; channel < 3; ++channel) {
    for (size_t k = 1; k + 1 < kKnots; ++k) {
      double sum = 0.0;
      for (size_t line = 0; line < 9; ++line) {
        const float* at = colours + ((channel * 9 + line) * kKnots + k) * 3;
        for (size_t c = 0; c < 3; ++c) {
          const double before = at[c - 3], here = at[c], after = at[c + 3];
          sum += std::abs((after - here) - (here - before));
        }
      }
      bend[channel][k] = sum / 27.0;
    }
  }
}

// Weighted mean of five neighbours; beyond the ends the last one counts.
void Smooth(const double* in, double* out) {
  constexpr double kernel[5] = {0.0625, 0.25, 0.375, 0.25, 0.0625};
  for (size_t k = 0; k < kKnots; ++k) {
    double sum = 0.0;
    for (size_t j = 0; j < 5; ++j) {
      const size_t at = std::clamp<size_t>(k + j, 2, kKnots + 1) - 2;
      sum += in[at] * kernel[j];
    }
    out[k] = sum;
  }
}

// Where a rising curve over even steps of [0, 1] reaches x.
double Reached(const float* curve, double x) {
  const float* end = curve + kKnots;
  const float* above =
      std::upper_bound(curve, end, x, [](double v, float y) { return v < static_cast<double>(y); });
  if (above == curve) return 0.0;
  const size_t at = static_cast<size_t>(above - curve) - 1;
  const double knot = static_cast<double>(at) / (kKnots - 1);
  const double low = curve[at];
  if (at == kKnots - 1 || low == x) return knot;
  const double next = static_cast<double>(at + 1) / (kKnots - 1);
  const double slope = (next - knot) / (static_cast<double>(curve[at + 1]) - low);
  return slope * (x - low) + knot;
}

}  // namespace

void CheckStrengths(const float* strengths) {
  for (int g = 0; g < VERA_GROUP_COUNT; ++g) {
    const float value = strengths == nullptr ? -1.0f : strengths[g];
    if (value >= 0.0f && value <= kMaxStrength) continue;  // written so that NaN fails
    Fail(VERA_STATUS_INVALID_ARGUMENT, std::string(kGroups[g]) + " is " +
                                           (std::isfinite(value) ? FloatText(value) : "no number") +
                                           ": allowed are 0..1.5 (1 is as planned).");
  }
}

std::string LookToJson(const vera_plan_result& look, const float* strengths) {
  CheckStrengths(strengths);
  std::vector<uint8_t> bytes;
  for (const float value : look.latents) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<uint8_t>(bits >> shift));
  }
  std::string text = "{\n \"format\": \"vera-look\",\n \"version\": 1,\n \"text\": ";
  text += JsonString(look.text);
  for (int g = 0; g < VERA_GROUP_COUNT; ++g) {
    text += ",\n \"" + std::string(kGroups[g]) + "\": " + FloatText(strengths[g]);
  }
  text += ",\n \"latent_size\": " + std::to_string(look.latent_size);
  return text + ",\n \"latents\": \"" + Base64(bytes) + "\"\n}\n";
}

vera_plan_result LookFromJson(std::string_view json, float* strengths) {
  Json record;
  if (!ParseJson(json, &record) || !record.is_object()) NoLook("it is no JSON object");
  if (Needed(record, "format") != "vera-look" || Needed(record, "version") != 1) {
    NoLook("format or version is another");
  }
  const Json &text = Needed(record, "text"), &latents = Needed(record, "latents");
  const Json& size = Needed(record, "latent_size");
  if (!text.is_string() || !latents.is_string() || !size.is_number_unsigned() || size == 0 ||
      size > kMaxLatentSize) {
    NoLook("a value is of another kind");
  }
  vera_plan_result look;
  look.text = text.get<std::string>();
  look.latent_size = size.get<int32_t>();
  std::vector<uint8_t> bytes;
  if (!FromBase64(latents.get_ref<const std::string&>(), &bytes) ||
      bytes.size() != static_cast<size_t>(look.latent_size) * 12) {
    NoLook("its latents are damaged");
  }
  for (size_t i = 0; i < bytes.size(); i += 4) {
    const uint32_t bits = bytes[i] | static_cast<uint32_t>(bytes[i + 1]) << 8 |
                          static_cast<uint32_t>(bytes[i + 2]) << 16 |
                          static_cast<uint32_t>(bytes[i + 3]) << 24;
    float value = 0.0f;
    std::memcpy(&value, &bits, sizeof(value));
    if (!std::isfinite(value)) NoLook("its latents are not finite");
    look.latents.push_back(value);
  }
  for (int g = 0; g < VERA_GROUP_COUNT; ++g) {
    const float strength = StrengthOf(record, kGroups[g]);
    if (strengths != nullptr) strengths[g] = strength;
  }
  return look;
}

std::vector<float> CurvePoints() {
  constexpr double fixed[3] = {0.15, 0.5, 0.85};
  std::vector<float> points(static_cast<size_t>(kCurvePoints) * 3);
  float* at = points.data();
  for (size_t channel = 0; channel < 3; ++channel) {
    for (const double p : fixed) {
      for (const double q : fixed) {
        for (size_t k = 0; k < kKnots; ++k, at += 3) {
          at[channel] = static_cast<float>(k) / (kKnots - 1);
          at[(channel + 1) % 3] = static_cast<float>(p);
          at[(channel + 2) % 3] = static_cast<float>(q);
        }
      }
    }
  }
  return points;
}

void FitCurves(const float* colours, float* curves) {
  double bend[3][kKnots] = {};
  Bend(colours, bend);
  constexpr double kEven = 1.0 / kKnots;
  for (size_t c = 0; c < 3; ++c) {
    double density[kKnots], share[kKnots], total = 0.0;
    for (double& value : bend[c]) value = std::sqrt(value);
    Smooth(bend[c], density);
    for (const double value : density) total += value;
    for (size_t k = 0; k < kKnots; ++k) {
      const double wanted = total > 1e-6 ? density[k] / total : kEven;
      share[k] = kWarp * wanted + (1 - kWarp) * kEven;
    }
    double sums[kKnots] = {};
    for (size_t k = 1; k < kKnots; ++k) sums[k] = sums[k - 1] + 0.5 * (share[k] + share[k - 1]);
    for (size_t k = 0; k < kKnots; ++k) {
      curves[c * kKnots + k] = static_cast<float>(sums[k] / sums[kKnots - 1]);
    }
  }
}

std::vector<double> EvenSteps(int32_t size) {
  std::vector<double> steps;
  const double step = 1.0 / (size - 1);
  for (int32_t i = 0; i + 1 < size; ++i) steps.push_back(i * step);
  steps.push_back(1.0);
  return steps;
}

std::vector<float> LatticeAxes(const float* curves, int32_t size) {
  std::vector<float> axes;
  for (size_t c = 0; c < 3; ++c) {
    for (const double x : EvenSteps(size)) {
      axes.push_back(static_cast<float>(Reached(curves + c * kKnots, x)));
    }
  }
  return axes;
}

}  // namespace vera
