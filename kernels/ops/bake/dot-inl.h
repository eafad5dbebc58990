// Products of activation and weight codes: each lane of 32 bits holds four unsigned activations of
// one colour, and the same four signed weights in every lane. All ways give the same exact sums.
#if defined(VERA_OPS_BAKE_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef VERA_OPS_BAKE_DOT_INL_H_
#undef VERA_OPS_BAKE_DOT_INL_H_
#else
#define VERA_OPS_BAKE_DOT_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

// Highway 1.0.3 forgets to name this extension for the target that has it; with gcc, each file that
// uses it adds the name below HWY_BEFORE_NAMESPACE.
#undef VERA_VNNI
#undef VERA_NAME_VNNI
#define VERA_NAME_VNNI (HWY_COMPILER_GCC_ACTUAL && HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL)
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
#define VERA_VNNI (VERA_NAME_VNNI || HWY_MAJOR > 1 || HWY_MINOR > 0 || HWY_PATCH > 3)
#else
#define VERA_VNNI 0
#endif

HWY_BEFORE_NAMESPACE();
#if VERA_NAME_VNNI
#pragma GCC target("avx512vnni")
#endif
namespace vera {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 16 lanes at most, so that a tile is a whole number of panels on every machine.
using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;
using DU = hn::RebindToUnsigned<D>;
using V = hn::Vec<D>;
using VI = hn::Vec<DI>;
using VU = hn::Vec<DU>;

constexpr size_t kLanes = hn::MaxLanes(D());
constexpr size_t kVectors = 3;  // of a panel

// Codes and weights as they lie in memory.
struct Words {
  using Codes = VI;
  using Weights = VI;
  using Sum = VI;
  static HWY_INLINE VI LoadCodes(const uint32_t* at) {
    return hn::BitCast(DI(), hn::Load(DU(), at));
  }
  static HWY_INLINE VI LoadWeights(const uint32_t* at) {
    return hn::BitCast(DI(), hn::Set(DU(), *at));
  }
  static HWY_INLINE VI Start() { return hn::Zero(DI()); }
  static HWY_INLINE VI Total(VI sum) { return sum; }
};

// The machine's way. kRows features of three vectors are kept in registers at a time. Where the
// instruction wants signed activations, codes are 128 lower: kFlip changes four of them, and
// kOffset times the sum of the weights is what the total then lacks.
#if VERA_VNNI

struct Dot : Words {
  static constexpr size_t kRows = 8;
  static constexpr int32_t kOffset = 0;
  static constexpr uint32_t kFlip = 0;
  // The type that the instruction adds to: gcc 12 copies sums of any other to and from it.
  typedef int32_t Sum __attribute__((vector_size(64)));
  static HWY_INLINE Sum Start() { return Sum{}; }
  static HWY_INLINE Sum Add(VI codes, VI weights, Sum sum) {
    return (Sum)_mm512_dpbusd_epi32((__m512i)sum, codes.raw, weights.raw);
  }
  static HWY_INLINE VI Total(Sum sum) { return VI{(__m512i)sum}; }
};

#elif HWY_ARCH_ARM_A64 && defined(__ARM_FEATURE_DOTPROD)

struct Dot : Words {
  static constexpr size_t kRows = 8;
  static constexpr int32_t kOffset = 128;
  static constexpr uint32_t kFlip = 0x80808080u;
  static HWY_INLINE VI Add(VI codes, VI weights, VI sum) {
    return VI{vdotq_s32(sum.raw, vreinterpretq_s8_s32(codes.raw),
                        vreinterpretq_s8_s32(weights.raw))};
  }
};

#elif HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

// One byte after the other: plain, and the compiler sees through it.
struct Dot : Words {
  static constexpr size_t kRows = 4;
  static constexpr int32_t kOffset = 0;
  static constexpr uint32_t kFlip = 0;
  static HWY_INLINE VI Add(VI codes, VI weights, VI sum) {
    sum = AddByte<0>(codes, weights, sum);
    sum = AddByte<8>(codes, weights, sum);
    sum = AddByte<16>(codes, weights, sum);
    return AddByte<24>(codes, weights, sum);
  }

 private:
  template <int kShift>
  static HWY_INLINE VI AddByte(VI codes, VI weights, VI sum) {
    const VI code = hn::And(hn::ShiftRight<kShift>(codes), hn::Set(DI(), 255));
    const VI weight = hn::ShiftRight<24>(hn::ShiftLeft<24 - kShift>(weights));
    return hn::Add(sum, hn::Mul(code, weight));
  }
};

#else

// Bytes of even and of odd place as 16-bit numbers, whose products are added in pairs: exact, where
// the byte instructions of these machines saturate.
struct Dot {
  using D16 = hn::Repartition<int16_t, DI>;
  using V16 = hn::Vec<D16>;
  // Constructors by hand: those that gcc makes do not know the target and cannot be inlined.
  struct Pairs {
    HWY_INLINE Pairs() {}
    HWY_INLINE Pairs(V16 even_bytes, V16 odd_bytes) : even(even_bytes), odd(odd_bytes) {}
    V16 even, odd;
  };
  struct Sum {
    HWY_INLINE Sum() {}
    HWY_INLINE Sum(VI one, VI other) : first(one), second(other) {}
    VI first, second;  // which of them a product goes to is up to the machine
  };
  static constexpr size_t kRows = HWY_ARCH_ARM_A64 || HWY_TARGET <= HWY_AVX3 ? 4 : 2;
  static constexpr int32_t kOffset = 0;
  static constexpr uint32_t kFlip = 0;
  using Codes = Pairs;
  using Weights = Pairs;
  static HWY_INLINE Codes LoadCodes(const uint32_t* at) {
    const VU four = hn::Load(DU(), at);
    const VU low = hn::Set(DU(), 0x00FF00FFu);
    return {hn::BitCast(D16(), hn::And(four, low)),
            hn::BitCast(D16(), hn::And(hn::ShiftRight<8>(four), low))};
  }
  static HWY_INLINE Weights LoadWeights(const uint32_t* at) {
    const V16 four = hn::BitCast(D16(), hn::Set(DU(), *at));
    return {hn::ShiftRight<8>(hn::ShiftLeft<8>(four)), hn::ShiftRight<8>(four)};
  }
  static HWY_INLINE Sum Start() { return {hn::Zero(DI()), hn::Zero(DI())}; }
  static HWY_INLINE Sum Add(Codes codes, Weights weights, Sum sum) {
    const DI di;
    sum.first = hn::ReorderWidenMulAccumulate(di, codes.even, weights.even, sum.first, sum.second);
    sum.first = hn::ReorderWidenMulAccumulate(di, codes.odd, weights.odd, sum.first, sum.second);
    return sum;
  }
  static HWY_INLINE VI Total(Sum sum) { return hn::RearrangeToOddPlusEven(sum.first, sum.second); }
};

#endif

}  // namespace HWY_NAMESPACE
}  // namespace vera
HWY_AFTER_NAMESPACE();

#endif  // include guard, once per target
