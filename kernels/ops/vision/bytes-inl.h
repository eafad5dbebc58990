// Sixteen lanes for images: half floats, codes of 8 bits, dot products of codes and weights, GELU.
// Included by the files that are compiled once for each instruction set.
#ifndef VERA_OPS_VISION_BYTES_INL_H_
#define VERA_OPS_VISION_BYTES_INL_H_

#include "ops/decoder/vec.h"

namespace vera {
namespace VERA_SET {

typedef int8_t S8 __attribute__((vector_size(64)));
typedef uint8_t Codes16 __attribute__((vector_size(16)));
typedef int16_t Pairs __attribute__((vector_size(64)));

#if defined(__AVX512F__)
// GCC 12 warns of the plain forms, whose lanes that nobody asked for are not set
constexpr __mmask16 kAllLanes = 0xffff;
#endif

// As Max and Min of vec.h: the second where the first is no number.
inline F32 Larger(F32 a, F32 b) {
#if defined(__AVX512F__)
  return (F32)_mm512_maskz_max_ps(kAllLanes, (__m512)a, (__m512)b);
#else
  return Max(a, b);
#endif
}
inline F32 Smaller(F32 a, F32 b) {
#if defined(__AVX512F__)
  return (F32)_mm512_maskz_min_ps(kAllLanes, (__m512)a, (__m512)b);
#else
  return Min(a, b);
#endif
}
inline F32 Clamp(F32 v, float low, float high) {
  return Smaller(Larger(v, Splat(low)), Splat(high));
}

inline F32 LoadHalf(const uint16_t* from) {
#if defined(__AVX512F__)
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return (F32)_mm512_maskz_cvtph_ps(kAllLanes, halves);
#elif defined(__AVX2__)
  __m256 halves[2];
  for (int i = 0; i < 2; ++i) {
    halves[i] = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 8 * i)));
  }
  F32 v;
  std::memcpy(&v, halves, sizeof(v));
  return v;
#else
  return FromHalf(from);
#endif
}

// To the nearest half float, ties to even; what is larger than the largest finite one becomes it.
inline void StoreHalf(F32 v, uint16_t* to) {
  v = Clamp(v, -65504.0f, 65504.0f);
#if defined(__AVX512F__)
  const __m256i half = _mm512_maskz_cvtps_ph(kAllLanes, (__m512)v,
                                             _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), half);
#elif defined(__AVX2__)
  __m256 halves[2];
  std::memcpy(halves, &v, sizeof(v));
  for (int i = 0; i < 2; ++i) {
    const __m128i half = _mm256_cvtps_ph(halves[i], _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 8 * i), half);
  }
#elif defined(__aarch64__)
  float lanes[kLanes];
  Store(v, lanes);
  for (int i = 0; i < 4; ++i) {
    vst1_u16(to + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(lanes + 4 * i))));
  }
#else
  float lanes[kLanes];
  Store(v, lanes);
  for (int i = 0; i < kLanes; ++i) to[i] = ToHalf(lanes[i]);
#endif
}

// round(v) as a byte, clamped to 0..255: the number stands in the lowest bits after the addition.
inline Codes16 ToCodes(F32 v) {
  const F32 magic = Splat(12582912.0f);  // 1.5 * 2^23
  const U32 bits = (U32)(Clamp(v, 0.0f, 255.0f) + magic);
#if defined(__AVX512F__)
  return (Codes16)_mm512_maskz_cvtepi32_epi8(kAllLanes, (__m512i)bits);
#else
  return __builtin_convertvector(bits, Codes16);
#endif
}

// round(v) as a whole number of 16 bits, clamped to +-32767.
inline U16 ToWords(F32 v) {
  const F32 magic = Splat(12582912.0f);
  const U32 bits = (U32)(Clamp(v, -32767.0f, 32767.0f) + magic);
#if defined(__AVX512F__)
  return (U16)_mm512_maskz_cvtepi32_epi16(kAllLanes, (__m512i)bits);
#else
  return __builtin_convertvector(bits, U16);
#endif
}

// sum += the dot products of each two numbers of 16 bits.
inline I32 DotPairs(I32 sum, Pairs a, Pairs b) {
#if defined(__AVX512VNNI__)
  return (I32)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  __m256i x[2], y[2], sums[2];
  std::memcpy(x, &a, sizeof(a));
  std::memcpy(y, &b, sizeof(b));
  std::memcpy(sums, &sum, sizeof(sum));
  for (int i = 0; i < 2; ++i) sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(x[i], y[i]));
  std::memcpy(&sum, sums, sizeof(sum));
  return sum;
#elif defined(__aarch64__)
  int16x8_t x[4], y[4];
  int32x4_t sums[4];
  std::memcpy(x, &a, sizeof(a));
  std::memcpy(y, &b, sizeof(b));
  std::memcpy(sums, &sum, sizeof(sum));
  for (int i = 0; i < 4; ++i) {
    const int32x4_t low = vmull_s16(vget_low_s16(x[i]), vget_low_s16(y[i]));
    sums[i] = vaddq_s32(sums[i], vpaddq_s32(low, vmull_high_s16(x[i], y[i])));
  }
  std::memcpy(&sum, sums, sizeof(sum));
  return sum;
#else
  for (int i = 0; i < kLanes; ++i) sum[i] += a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
  return sum;
#endif
}

// sum += the dot products of each four bytes of a, taken from codes by ReadyWord, with the
// signed ones of w. What a lacks: kMissing times the sum of the four weights.
#if defined(__AVX512VNNI__)
constexpr int kMissing = 0;
inline I32 DotCodes(I32 sum, U8 a, S8 w) {
  return (I32)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)w);
}
#elif defined(__AVX2__)
constexpr int kMissing = 0;
// in two halves of 4 bits, whose products stay far below the 16 bits at which pairs saturate
inline I32 DotCodes(I32 sum, U8 a, S8 w) {
  const __m256i mask = _mm256_set1_epi8(15);
  const __m256i ones = _mm256_set1_epi16(1), sixteens = _mm256_set1_epi16(16);
  __m256i codes[2], weights[2], sums[2];
  std::memcpy(codes, &a, sizeof(a));
  std::memcpy(weights, &w, sizeof(w));
  std::memcpy(sums, &sum, sizeof(sum));
  for (int i = 0; i < 2; ++i) {
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(codes[i], 4), mask);
    const __m256i low = _mm256_and_si256(codes[i], mask);
    const __m256i lows = _mm256_madd_epi16(_mm256_maddubs_epi16(low, weights[i]), ones);
    const __m256i highs = _mm256_madd_epi16(_mm256_maddubs_epi16(high, weights[i]), sixteens);
    sums[i] = _mm256_add_epi32(sums[i], _mm256_add_epi32(lows, highs));
  }
  std::memcpy(&sum, sums, sizeof(sum));
  return sum;
}
#else
constexpr int kMissing = 128;
inline I32 DotCodes(I32 sum, U8 a, S8 w) {
#if defined(__aarch64__)
  int8x16_t codes[4], weights[4];
  int32x4_t sums[4];
  std::memcpy(codes, &a, sizeof(a));
  std::memcpy(weights, &w, sizeof(w));
  std::memcpy(sums, &sum, sizeof(sum));
  for (int i = 0; i < 4; ++i) sums[i] = Dot(sums[i], codes[i], weights[i]);
  std::memcpy(&sum, sums, sizeof(sum));
  return sum;
#else
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 4 * i; j < 4 * i + 4; ++j) sum[i] += static_cast<int8_t>(a[j]) * w[j];
  }
  return sum;
#endif
}
#endif

inline U8 ReadyWord(const uint8_t* from) {
  uint32_t word;
  std::memcpy(&word, from, sizeof(word));
  if constexpr (kMissing != 0) word ^= 0x80808080u;
  return (U8)(U32{} + word);
}
// The sums of each four weights.
inline I32 SumWeights(I32 sum, S8 w) { return DotCodes(sum, U8{} + 1, w); }

// x * Phi(x) = max(x, 0) - r(|x|): r by a polynomial fitted for the least largest error, 7e-6, on
// [0, 4.3], past which r is below 3e-5.
inline F32 Gelu(F32 x) {
  const F32 a = Smaller(Abs(x), Splat(4.3f));
  F32 p = a * -1.5162115e-05f + 3.5293453e-04f;
  p = p * a - 3.3995374e-03f;
  p = p * a + 1.7016904e-02f;
  p = p * a - 4.3890029e-02f;
  p = p * a + 3.9964471e-02f;
  p = p * a + 3.8969315e-02f;
  p = p * a + 1.0127059e-02f;
  p = p * a - 4.0051830e-01f;
  p = p * a + 5.0004047e-01f;
  return Larger(x, F32{}) - p * a;
}

inline int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

template <class T>
T* Carve(char*& at, size_t count) {
  T* piece = reinterpret_cast<T*>(at);
  at += (count * sizeof(T) + 63) / 64 * 64;
  return piece;
}

}  // namespace VERA_SET
}  // namespace vera

#endif  // VERA_OPS_VISION_BYTES_INL_H_
