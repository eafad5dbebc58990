// 8-bit pixels to 8-bit pixels in integers, for every instruction set the same to the bit: sums of
// 16-bit numbers times 14-bit weights are exact, however they are formed. Nodes already hold the
// strength, and the half that rounds.
#if defined(VERA_OPS_RENDER_EIGHT_BIT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef VERA_OPS_RENDER_EIGHT_BIT_INL_H_
#undef VERA_OPS_RENDER_EIGHT_BIT_INL_H_
#else
#define VERA_OPS_RENDER_EIGHT_BIT_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "ops/render/walk-inl.h"
#include "ops/render/eight_bit_vbmi-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vera {
namespace HWY_NAMESPACE {

using DI4 = hn::CappedTag<int32_t, 4>;
using D16 = hn::CappedTag<int16_t, 8>;
using D8 = hn::CappedTag<uint8_t, 16>;

struct EightBitBlock {
  HWY_ALIGN int32_t code[3][kBlock];  // entries of fixed_codes
  HWY_ALIGN int32_t node[4][kBlock];  // int16 index of the nodes
  HWY_ALIGN int32_t outer[kBlock];    // weights of the first two nodes, 16 bits each
  HWY_ALIGN int32_t inner[kBlock];    // of the last two
  HWY_ALIGN int32_t sum[4 * kBlock];  // R, G, B, 0 in codes << kSumShift
  HWY_ALIGN uint8_t in[4 * kBlock];   // R, G, B, 0 of the source; only to mix
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

HWY_INLINE void LocateEightBit(const PreparedLook& look, size_t count, EightBitBlock& block) {
  const DI di;
  const int32_t n = look.lut_size;
  const Steps steps = FixedSteps(n);
  const VI fraction_bits = hn::Set(di, 0x7FFF), one = hn::Set(di, kFixedOne);
  const VI row = hn::Set(di, kFixedNode * n), plane = hn::Set(di, kFixedNode * n * n);
  for (size_t i = 0; i < count; i += hn::Lanes(di)) {
    const VI r = hn::Load(di, block.code[0] + i);
    const VI g = hn::Load(di, block.code[1] + i);
    const VI b = hn::Load(di, block.code[2] + i);
    const VI fr = hn::And(r, fraction_bits), fg = hn::And(g, fraction_bits);
    const VI fb = hn::And(b, fraction_bits);
    const VI rows = hn::Add(hn::Mul(hn::ShiftRight<15>(g), row),
                            hn::Mul(hn::ShiftRight<15>(b), plane));
    const VI first = hn::Add(hn::ShiftLeft<3>(hn::ShiftRight<15>(r)), rows);
    StoreNodes(steps, first, hn::Gt(fr, fg), hn::Gt(fg, fb), hn::Gt(fr, fb), i, block.node);
    VI high, middle, low;
    SortFractions(fr, fg, fb, high, middle, low);
    const VI second = hn::ShiftLeft<16>(hn::Sub(high, middle));
    hn::Store(hn::Or(hn::Sub(one, high), second), di, block.outer + i);
    hn::Store(hn::Or(hn::Sub(middle, low), hn::ShiftLeft<16>(low)), di, block.inner + i);
  }
}

#if HWY_TARGET == HWY_SCALAR  // one lane: no pairs to multiply
HWY_INLINE void BlendEightBit(const int16_t* nodes, size_t count, EightBitBlock& block) {
  for (size_t i = 0; i < count; ++i) {
    const int32_t weight[4] = {block.outer[i] & 0xFFFF, block.outer[i] >> 16,
                               block.inner[i] & 0xFFFF, block.inner[i] >> 16};
    for (int c = 0; c < 4; ++c) {
      block.sum[4 * i + c] = 0;
      for (int k = 0; k < 4; ++k) {
        block.sum[4 * i + c] += weight[k] * nodes[block.node[k][i] + c];
      }
    }
  }
}
#else
HWY_INLINE void BlendEightBit(const int16_t* HWY_RESTRICT nodes, size_t count,
                              EightBitBlock& block) {
  const DI4 d32;
  const D16 d16;
  for (size_t i = 0; i < count; ++i) {
    // Two nodes' worth is loaded of each, which the array always has.
    const auto node = [&](int k) { return hn::LoadU(d16, nodes + block.node[k][i]); };
    const auto outer = hn::BitCast(d16, hn::Set(d32, block.outer[i]));
    const auto inner = hn::BitCast(d16, hn::Set(d32, block.inner[i]));
    auto odd = hn::Zero(d32);
    auto sum = hn::ReorderWidenMulAccumulate(
        d32, hn::InterleaveLower(d16, node(0), node(1)), outer, hn::Zero(d32), odd);
    sum = hn::ReorderWidenMulAccumulate(d32, hn::InterleaveLower(d16, node(2), node(3)), inner,
                                        sum, odd);
    hn::Store(hn::RearrangeToOddPlusEven(sum, odd), d32, block.sum + 4 * i);
  }
}
#endif  // HWY_TARGET == HWY_SCALAR

// out = in + strength * (edited - in): the sum already holds the edited part of it.
template <bool kMix>
HWY_INLINE void FinishEightBit(int32_t rest_of_in, size_t count, EightBitBlock& block) {
  const DI di;
  const hn::Rebind<uint8_t, DI> d8;
  const VI rest = hn::Set(di, rest_of_in);
  for (size_t i = 0; i < 4 * count; i += hn::Lanes(di)) {
    VI sum = hn::Load(di, block.sum + i);
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
class EightBitRenderer {
 public:
  explicit EightBitRenderer(const RenderJob& job)
      : job_(job),
        load_(ChooseEightBitLoad<kMix>(job.src_format)),
        store_(ChooseEightBitStore(job.dst_format)),
        rest_(RestOfIn(job.strength)) {
    std::memset(&block_, 0, sizeof(block_));  // whole vectors are read past the last pixel
    if (!job.src.has_alpha) std::memset(block_.alpha, 255, kBlock);
  }

  void Render(const RowSpan& span, size_t begin) {
    for (; begin < span.pixels; begin += kBlock) {
      const size_t count = std::min(span.pixels - begin, kBlock);
      load_(job_, span, begin, count, block_);
      LocateEightBit(job_.look, count, block_);
      BlendEightBit(job_.look.fixed_nodes.get(), count, block_);
      FinishEightBit<kMix>(rest_, count, block_);
      store_(block_, span, begin, count);
    }
  }

 private:
  const RenderJob& job_;
  const EightBitLoad load_;
  const EightBitStore store_;
  const int32_t rest_;
  EightBitBlock block_;
};

template <bool kMix>
HWY_NOINLINE void RenderEightBit(const RenderJob& job, const RowSpan* spans, size_t count) {
  EightBitRenderer<kMix> renderer(job);
  const RowSpan* const end = spans + count;
#ifdef VERA_VBMI
  if (vbmi::Supported()) {
    vbmi::Renderer wide(job);
    for (const RowSpan* span = spans; span < end; ++span) {
      renderer.Render(*span, wide.Render(*span));
    }
    return;
  }
#endif
  for (const RowSpan* span = spans; span < end; ++span) renderer.Render(*span, 0);
}

}  // namespace HWY_NAMESPACE
}  // namespace vera
HWY_AFTER_NAMESPACE();

#endif  // include guard, once per target
