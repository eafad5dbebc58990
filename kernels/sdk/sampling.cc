#include "sdk/sampling.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "sdk/exact_math.h"

namespace vera {
namespace {

constexpr double kScale = 1099511627776.0;  // 2^40
constexpr double kNoShare = 29.0;           // 2^40 e^-29 is below a half

struct Weighted {
  float logit;
  int32_t token;
  uint64_t weight;
};

uint64_t UpperHalf(uint64_t a, uint64_t b) {
  const uint64_t a0 = a & 0xFFFFFFFFu, a1 = a >> 32, b0 = b & 0xFFFFFFFFu, b1 = b >> 32;
  const uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
  return a1 * b1 + (middle >> 32) + ((a0 * b1 + (middle & 0xFFFFFFFFu)) >> 32);
}

}  // namespace

uint64_t NextRandom(uint64_t* state) {
  *state += 0x9E3779B97F4A7C15u;
  uint64_t z = *state;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

int32_t ChooseToken(const float* logits, size_t count, float temperature, float top_p,
                    uint64_t* state) {
  const float* best = std::max_element(logits, logits + count);
  if (temperature == 0.0f || std::isinf(*best)) return static_cast<int32_t>(best - logits);
  std::vector<Weighted> tokens;
  uint64_t all = 0;
  for (size_t i = 0; i < count; ++i) {
    const double below =
        (static_cast<double>(*best) - static_cast<double>(logits[i])) / temperature;
    if (below > kNoShare) continue;
    const uint64_t weight = static_cast<uint64_t>(std::floor(kScale * ExactExp(-below) + 0.5));
    tokens.push_back({logits[i], static_cast<int32_t>(i), weight});
    all += weight;
  }
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const Weighted& a, const Weighted& b) { return a.logit > b.logit; });
  const double wanted = static_cast<double>(top_p) * static_cast<double>(all);
  uint64_t kept = 0;
  size_t size = 0;
  while (size < tokens.size() && (size == 0 || static_cast<double>(kept) < wanted)) {
    kept += tokens[size++].weight;
  }
  const uint64_t place = UpperHalf(NextRandom(state), kept);
  uint64_t passed = 0;
  for (size_t i = 0; i < size; ++i) {
    passed += tokens[i].weight;
    if (passed > place) return tokens[i].token;
  }
  return tokens[size - 1].token;
}

}  // namespace vera
