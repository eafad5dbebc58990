// 8-bit pixels to 8-bit pixels in integers, for every instruction set the same to the bit.
//
// A node is 16 bytes: R, G, B in 1/64 codes, each beside the same of the far node of its cell. So
// one load and one multiply-add of pairs bring the first and the last node of the tetrahedron, and
// the two in the middle are two loads, one blend and one multiply-add: the third node stands in the
// odd places of the entry that lies one cell diagonal before it.
#if defined(VERA_OPS_RENDER_EIGHT_BIT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef VERA_OPS_RENDER_EIGHT_BIT_INL_H_
#undef VERA_OPS_RENDER_EIGHT_BIT_INL_H_
#else
#define VERA_OPS_RENDER_EIGHT_BIT_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "ops/render/block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vera {
namespace HWY_NAMESPACE {

constexpr int kSumShift = 20;  // 64 node steps a code times 2^14 of weights
using DI4 = hn::CappedTag<int32_t, 4>;
using D16 = hn::CappedTag<int16_t, 8>;
using D8 = hn::CappedTag<uint8_t, 16>;

struct EightBitBlock {
  HWY_ALIGN int32_t code[3][kBlock];   // entries of fixed_codes
  HWY_ALIGN int32_t node[3][kBlock];   // int16 index of first, second and (third minus diagonal)
  HWY_ALIGN int32_t outer[kBlock];     // weights of first and last, 16 bits each
  HWY_ALIGN int32_t inner[kBlock];     // of second and third
  HWY_ALIGN int32_t sum[4 * kBlock];   // R, G, B, 0 in codes << kSumShift
  HWY_ALIGN uint8_t in[4 * kBlock];    // R, G, B, 0 of the source; only to mix
  HWY_ALIGN uint8_t out[4 * kBlock];
  HWY_ALIGN uint8_t alpha[kBlock];
};

template <int kPixelBytes, int kRed, bool kPlanar, bool kMix>
void LoadEightBit(const RenderJob& job, const RowSpan& span, size_t begin, size_t count,
                  EightBitBlock& block) {
  const int32_t* HWY_RESTRICT table = job.look.fixed_codes.get();
  const uint8_t* first = span.src[0] + begin * kPixelBytes;
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* pixel = first + i * kPixelBytes;
    const uint8_t r = pixel[kPlanar ? 0 : kRed];
    const uint8_t g = kPlanar ? span.src[1][begin + i] : pixel[1];
    const uint8_t b = kPlanar ? span.src[2][begin + i] : pixel[2 - kRed];
    block.code[0][i] = table[r];
    block.code[1][i] = table[256 + g];
    block.code[2][i] = table[512 + b];
    if (kMix) {
      block.in[4 * i] = r;
      block.in[4 * i + 1] = g;
      block.in[4 * i + 2] = b;
    }
    if (kPixelBytes == 4) block.alpha[i] = pixel[3];
  }
}

// Order of the nodes as in look-inl.h. With strength the weights are scaled by it and still sum up
// to it exactly.
template <bool kMix>
HWY_INLINE void LocateEightBit(const PreparedLook& look, int32_t strength, size_t count,
                               EightBitBlock& block) {
  const DI di;
  const int32_t n = look.lut_size;
  const VI low_bits = hn::Set(di, 0x7FFF), total = hn::Set(di, strength);
  const VI scale = hn::Set(di, strength), half = hn::Set(di, kFixedOne / 2);
  const VI plane = hn::Set(di, n * n);
  const VI step_r = hn::Set(di, 8), step_g = hn::Set(di, 8 * n), step_b = hn::Set(di, 8 * n * n);
  const auto scaled = [&](VI weight) {
    if (!kMix) return weight;
    return hn::ShiftRight<14>(hn::Add(hn::Mul(weight, scale), half));
  };
  for (size_t i = 0; i < count; i += hn::Lanes(di)) {
    const VI r = hn::Load(di, block.code[0] + i);
    const VI g = hn::Load(di, block.code[1] + i);
    const VI b = hn::Load(di, block.code[2] + i);
    const VI fr = hn::And(r, low_bits), fg = hn::And(g, low_bits), fb = hn::And(b, low_bits);
    const VI row = hn::Add(hn::ShiftRight<15>(r), hn::ShiftRight<15>(g));
    const VI cell = hn::Add(row, hn::Mul(hn::Add(hn::ShiftRight<15>(b), hn::Set(di, 1)), plane));
    const VI first = hn::ShiftLeft<3>(cell);
    const VI high_gb = hn::Max(fg, fb), low_gb = hn::Min(fg, fb);
    const VI high = hn::Max(fr, high_gb), low = hn::Min(fr, low_gb);
    const VI middle = hn::Max(hn::Min(fr, high_gb), low_gb);
    const auto g_over_b = hn::Gt(fg, fb);
    const VI high_step_gb = hn::IfThenElse(g_over_b, step_g, step_b);
    const VI low_step_gb = hn::IfThenElse(g_over_b, step_b, step_g);
    const VI high_step = hn::IfThenElse(hn::Gt(fr, high_gb), step_r, high_step_gb);
    const VI low_step = hn::IfThenElse(hn::Gt(low_gb, fr), step_r, low_step_gb);
    hn::Store(first, di, block.node[0] + i);
    hn::Store(hn::Add(first, high_step), di, block.node[1] + i);
    hn::Store(hn::Sub(first, low_step), di, block.node[2] + i);
    const VI second = scaled(hn::Sub(high, middle)), third = scaled(hn::Sub(middle, low));
    const VI last = scaled(low);
    // Rounding can leave -1 to the nearest: it keeps to its 16 bits.
    const VI nearest = hn::Sub(total, hn::Add(hn::Add(second, third), last));
    const VI nearest_bits = hn::And(nearest, hn::Set(di, 0xFFFF));
    hn::Store(hn::Or(nearest_bits, hn::ShiftLeft<16>(last)), di, block.outer + i);
    hn::Store(hn::Or(second, hn::ShiftLeft<16>(third)), di, block.inner + i);
  }
}

#if HWY_TARGET == HWY_SCALAR  // one lane: no pairs to multiply
HWY_INLINE void BlendEightBit(const PreparedLook& look, size_t count, EightBitBlock& block) {
  const int16_t* nodes = look.fixed_nodes.get();
  for (size_t i = 0; i < count; ++i) {
    const int32_t nearest = static_cast<int16_t>(block.outer[i] & 0xFFFF);
    const int32_t second = static_cast<int16_t>(block.inner[i] & 0xFFFF);
    const int32_t last = block.outer[i] >> 16, third = block.inner[i] >> 16;
    const int16_t* a = nodes + block.node[0][i];
    const int16_t* b = nodes + block.node[1][i];
    const int16_t* c = nodes + block.node[2][i];
    for (size_t k = 0; k < 4; ++k) {
      block.sum[4 * i + k] = a[2 * k] * nearest + a[2 * k + 1] * last + b[2 * k] * second +
                             c[2 * k + 1] * third;
    }
  }
}
#else
HWY_INLINE void BlendEightBit(const PreparedLook& look, size_t count, EightBitBlock& block) {
  const DI4 d32;
  const D16 d16;
  const int16_t* HWY_RESTRICT nodes = look.fixed_nodes.get();
  for (size_t i = 0; i < count; ++i) {
    const int16_t* a = nodes + block.node[0][i];
    const int16_t* b = nodes + block.node[1][i];
    const int16_t* c = nodes + block.node[2][i];
    const auto outer = hn::BitCast(d16, hn::Set(d32, block.outer[i]));
    const auto inner = hn::BitCast(d16, hn::Set(d32, block.inner[i]));
    for (size_t lane = 0; lane < 4; lane += hn::Lanes(d32)) {
      const auto ends = hn::LoadU(d16, a + 2 * lane);
      const auto middle = hn::OddEven(hn::LoadU(d16, c + 2 * lane), hn::LoadU(d16, b + 2 * lane));
      auto odd = hn::Zero(d32);
      auto sum = hn::ReorderWidenMulAccumulate(d32, ends, outer, hn::Zero(d32), odd);
      sum = hn::ReorderWidenMulAccumulate(d32, middle, inner, sum, odd);
      hn::Store(hn::RearrangeToOddPlusEven(sum, odd), d32, block.sum + 4 * i + lane);
    }
  }
}
#endif  // HWY_TARGET == HWY_SCALAR

// out = in + strength * (edited - in): the weights already hold the strength.
template <bool kMix>
HWY_INLINE void FinishEightBit(int32_t strength, size_t count, EightBitBlock& block) {
  const DI di;
  const hn::Rebind<uint8_t, DI> d8;
  const VI half = hn::Set(di, 1 << (kSumShift - 1));
  const VI rest = hn::Set(di, (1 << kSumShift) - strength * kFixedCode);
  for (size_t i = 0; i < 4 * count; i += hn::Lanes(di)) {
    VI sum = hn::Add(hn::Load(di, block.sum + i), half);
    if (kMix) {
      const VI in = hn::PromoteTo(di, hn::Load(d8, block.in + i));
      sum = hn::Add(sum, hn::Mul(in, rest));
    }
    hn::Store(hn::DemoteTo(d8, hn::ShiftRight<kSumShift>(sum)), d8, block.out + i);
  }
}

template <int kPixelBytes, int kRed, bool kPlanar>
HWY_INLINE void StoreEightBitVector(const EightBitBlock& block, size_t i, uint8_t* const out[3]) {
  const D8 d8;
  hn::Vec<D8> r, g, b, unused;
  hn::LoadInterleaved4(d8, block.out + 4 * i, r, g, b, unused);
  if (kPlanar) {
    hn::StoreU(r, d8, out[0]);
    hn::StoreU(g, d8, out[1]);
    hn::StoreU(b, d8, out[2]);
  } else if (kPixelBytes == 3) {
    hn::StoreInterleaved3(r, g, b, d8, out[0]);
  } else {
    const auto alpha = hn::Load(d8, block.alpha + i);
    hn::StoreInterleaved4(kRed == 0 ? r : b, g, kRed == 0 ? b : r, alpha, d8, out[0]);
  }
}

template <int kPixelBytes, int kRed, bool kPlanar>
void StoreEightBit(const EightBitBlock& block, const RowSpan& span, size_t begin, size_t count) {
  const size_t lanes = hn::Lanes(D8());
  constexpr int kPlanes = kPlanar ? 3 : 1;
  uint8_t* out[3] = {};
  for (int p = 0; p < kPlanes; ++p) out[p] = span.dst[p] + begin * kPixelBytes;
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    StoreEightBitVector<kPixelBytes, kRed, kPlanar>(block, i, out);
    for (int p = 0; p < kPlanes; ++p) out[p] += lanes * kPixelBytes;
  }
  if (i == count) return;
  HWY_ALIGN uint8_t rest[3][4 * kMaxLanes];
  uint8_t* const last[3] = {rest[0], rest[1], rest[2]};
  StoreEightBitVector<kPixelBytes, kRed, kPlanar>(block, i, last);
  for (int p = 0; p < kPlanes; ++p) std::memcpy(out[p], rest[p], (count - i) * kPixelBytes);
}

using EightBitLoad = void (*)(const RenderJob&, const RowSpan&, size_t, size_t, EightBitBlock&);
using EightBitStore = void (*)(const EightBitBlock&, const RowSpan&, size_t, size_t);

template <bool kMix>
EightBitLoad ChooseEightBitLoad(vera_pixel_format format) {
  switch (format) {
    case VERA_PIXEL_FORMAT_RGB8: return &LoadEightBit<3, 0, false, kMix>;
    case VERA_PIXEL_FORMAT_RGBA8: return &LoadEightBit<4, 0, false, kMix>;
    case VERA_PIXEL_FORMAT_BGRA8: return &LoadEightBit<4, 2, false, kMix>;
    default: return &LoadEightBit<1, 0, true, kMix>;
  }
}

HWY_INLINE EightBitStore ChooseEightBitStore(vera_pixel_format format) {
  switch (format) {
    case VERA_PIXEL_FORMAT_RGB8: return &StoreEightBit<3, 0, false>;
    case VERA_PIXEL_FORMAT_RGBA8: return &StoreEightBit<4, 0, false>;
    case VERA_PIXEL_FORMAT_BGRA8: return &StoreEightBit<4, 2, false>;
    default: return &StoreEightBit<1, 0, true>;
  }
}

template <bool kMix>
HWY_NOINLINE void RenderEightBit(const RenderJob& job, const RowSpan& span) {
  const EightBitLoad load = ChooseEightBitLoad<kMix>(job.src_format);
  const EightBitStore store = ChooseEightBitStore(job.dst_format);
  const int32_t strength = static_cast<int32_t>(job.strength * kFixedOne + 0.5f);
  EightBitBlock block;
  std::memset(&block, 0, sizeof(block));  // whole vectors are read past the last pixel
  if (!job.src.has_alpha) std::memset(block.alpha, 255, kBlock);
  for (size_t begin = 0; begin < span.pixels; begin += kBlock) {
    const size_t count = std::min(span.pixels - begin, kBlock);
    load(job, span, begin, count, block);
    LocateEightBit<kMix>(job.look, strength, count, block);
    BlendEightBit(job.look, count, block);
    FinishEightBit<kMix>(strength, count, block);
    store(block, span, begin, count);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vera
HWY_AFTER_NAMESPACE();

#endif  // include guard, once per target
