// Sixteen lanes everywhere: GCC's and Clang's vector types, which the compiler maps to one AVX-512,
// two AVX2 or four NEON registers. Lane counts that do not depend on the machine are what makes sums
// come out the same on all of them. Only the dot product of bytes needs instructions by name.
//
// This file is compiled once for each instruction set (see decoder.cmake), so everything in it lies
// in a namespace of that set.
#ifndef VERA_OPS_DECODER_VEC_H_
#define VERA_OPS_DECODER_VEC_H_

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace vera {
namespace VERA_SET {

constexpr int kLanes = 16;

typedef float F32 __attribute__((vector_size(64)));
typedef int32_t I32 __attribute__((vector_size(64)));
typedef uint32_t U32 __attribute__((vector_size(64)));
typedef uint16_t U16 __attribute__((vector_size(32)));
typedef int8_t I8 __attribute__((vector_size(16)));
typedef uint8_t U8 __attribute__((vector_size(64)));

template <class V, class T>
inline V Load(const T* from) {
  V v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

template <class V, class T>
inline void Store(const V& v, T* to) {
  std::memcpy(to, &v, sizeof(v));
}

inline F32 Splat(float x) { return F32{} + x; }
inline I32 SplatInt(int32_t x) { return I32{} + x; }
inline F32 ToFloat(I32 v) { return __builtin_convertvector(v, F32); }
inline F32 Max(F32 a, F32 b) { return a > b ? a : b; }
inline F32 Min(F32 a, F32 b) { return a < b ? a : b; }
inline F32 Abs(F32 a) { return (F32)((U32)a & 0x7fffffffu); }

// One order for all: halves, quarters, pairs.
inline float Sum(F32 v) {
  float x[kLanes];
  Store(v, x);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) x[i] += x[i + half];
  }
  return x[0];
}

inline float LargestLane(F32 v) {
  float x[kLanes];
  Store(v, x);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) x[i] = x[i] > x[i + half] ? x[i] : x[i + half];
  }
  return x[0];
}

// To the nearest integer, ties to even; |v| < 2^22.
inline F32 Round(F32 v) {
  const F32 magic = Splat(12582912.0f);  // 1.5 * 2^23
  return (v + magic) - magic;
}

// exp(v) for v in [-87, 87] (clamped to it), within 2 units in the last place. Cephes' split of ln 2
// and a polynomial of degree 6 by Taylor's terms adjusted at the end of the interval.
inline F32 Exp(F32 v) {
  v = Min(Max(v, Splat(-87.0f)), Splat(87.0f));
  const F32 n = Round(v * 1.44269504088896341f);
  const F32 r = (v - n * 0.693359375f) - n * -2.12194440e-4f;
  F32 p = Splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * (r * r) + r) + 1.0f;
  const I32 exponent = (__builtin_convertvector(n, I32) + 127) << 23;
  return p * (F32)exponent;
}

// Half floats. Finite values only; every instruction set gives the same bits.
inline F32 FromHalf(const uint16_t* from) {
#if defined(__AVX512F__)
  return (F32)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__aarch64__)
  F32 v;
  float lanes[kLanes];
  for (int i = 0; i < 4; ++i) {
    vst1q_f32(lanes + 4 * i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + 4 * i))));
  }
  std::memcpy(&v, lanes, sizeof(v));
  return v;
#else
  const U32 bits = __builtin_convertvector(Load<U16>(from), U32);
  // the exponent's bias is mended by a product, which is exact for subnormal halves as well
  const F32 size = (F32)((bits & 0x7fffu) << 13) * 0x1p112f;
  return (F32)((U32)size | ((bits & 0x8000u) << 16));
#endif
}

inline uint16_t ToHalf(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7bffu);  // the largest finite one
  if (bits < 0x38800000u) {  // subnormal: the addition rounds to the nearest, ties to even
    float size;
    std::memcpy(&size, &bits, sizeof(size));
    size += 0.5f;
    std::memcpy(&bits, &size, sizeof(bits));
    return static_cast<uint16_t>(sign | (bits - 0x3f000000u));
  }
  bits += 0xc8000fffu + ((bits >> 13) & 1u);
  return static_cast<uint16_t>(sign | (bits >> 13));
}

// sum += the dot products of each four bytes: a (value + kByteOffset) with the four signed of b.
#if defined(__AVX512VNNI__)
constexpr const char* kSetName = "avx512vnni";
constexpr int kByteOffset = 128;
inline I32 Dot4Bits(I32 sum, U8 a, int32_t b) {
  return (I32)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, _mm512_set1_epi32(b));
}
inline I32 Dot8Bits(I32 sum, U8 a, int32_t b) { return Dot4Bits(sum, a, b); }
#elif defined(__AVX2__)
constexpr const char* kSetName = "avx2";
constexpr int kByteOffset = 128;
// a up to 15: pairs stay far below the 16 bits at which the instruction saturates
inline I32 Dot4Bits(I32 sum, U8 a, int32_t b) {
  const __m256i bytes = _mm256_set1_epi32(b), ones = _mm256_set1_epi16(1);
  __m256i halves[2], sums[2];
  std::memcpy(halves, &a, sizeof(a));
  std::memcpy(sums, &sum, sizeof(sum));
  for (int i = 0; i < 2; ++i) {
    const __m256i pairs = _mm256_maddubs_epi16(halves[i], bytes);
    sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs, ones));
  }
  std::memcpy(&sum, sums, sizeof(sum));
  return sum;
}
inline I32 Dot8Bits(I32 sum, U8 a, int32_t b) {
  const I32 high = Dot4Bits(I32{}, (a >> 4) & 15, b);
  return Dot4Bits(sum, a & 15, b) + (high << 4);
}
#elif defined(__aarch64__)
constexpr int kByteOffset = 0;
#if defined(__ARM_FEATURE_DOTPROD)
constexpr const char* kSetName = "neon-dotprod";
inline int32x4_t Dot(int32x4_t sum, int8x16_t a, int8x16_t b) { return vdotq_s32(sum, a, b); }
#else
constexpr const char* kSetName = "neon";
inline int32x4_t Dot(int32x4_t sum, int8x16_t a, int8x16_t b) {
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
  const int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(a), vget_high_s8(b)));
  return vaddq_s32(sum, vpaddq_s32(low, high));
}
#endif
inline I32 Dot4Bits(I32 sum, U8 a, int32_t b) {
  const int8x16_t bytes = vreinterpretq_s8_s32(vdupq_n_s32(b));
  int8x16_t quarters[4];
  int32x4_t sums[4];
  std::memcpy(quarters, &a, sizeof(a));
  std::memcpy(sums, &sum, sizeof(sum));
  for (int i = 0; i < 4; ++i) sums[i] = Dot(sums[i], quarters[i], bytes);
  std::memcpy(&sum, sums, sizeof(sum));
  return sum;
}
inline I32 Dot8Bits(I32 sum, U8 a, int32_t b) { return Dot4Bits(sum, a ^ 0x80, b); }
#else
constexpr const char* kSetName = "plain";
constexpr int kByteOffset = 0;
inline I32 DotPlain(I32 sum, U8 a, int32_t b, int offset) {
  int8_t bytes[4];
  std::memcpy(bytes, &b, sizeof(b));
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 0; j < 4; ++j) sum[i] += (static_cast<int>(a[4 * i + j]) - offset) * bytes[j];
  }
  return sum;
}
inline I32 Dot4Bits(I32 sum, U8 a, int32_t b) { return DotPlain(sum, a, b, 0); }
inline I32 Dot8Bits(I32 sum, U8 a, int32_t b) { return DotPlain(sum, a, b, 128); }
#endif

}  // namespace VERA_SET
}  // namespace vera

#endif  // VERA_OPS_DECODER_VEC_H_
