// 8-bit pixels 64 at a time, for AVX-512 with VBMI: curves are look-ups in registers, and a cell
// of the LUT is two loads, of which one permutation picks the nodes of the pixel's walk for one
// multiply-add. The bytes are those of eight_bit-inl.h, which
// does the last pixels of a row.
#if defined(VERA_OPS_RENDER_EIGHT_BIT_VBMI_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef VERA_OPS_RENDER_EIGHT_BIT_VBMI_INL_H_
#undef VERA_OPS_RENDER_EIGHT_BIT_VBMI_INL_H_
#else
#define VERA_OPS_RENDER_EIGHT_BIT_VBMI_INL_H_
#endif

#include <cstring>

#include "ops/render/walk-inl.h"

#undef VERA_VBMI
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3 && defined(__GNUC__)
#define VERA_VBMI \
  __attribute__((target("avx2,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")))
#include <immintrin.h>

HWY_BEFORE_NAMESPACE();
namespace vera {
namespace HWY_NAMESPACE {
namespace vbmi {

constexpr size_t kPixels = 64;
constexpr int kNodeBytes = 2 * kFixedNode;
constexpr int kTetrahedra = 6;

// Pixels are in order, but for `at`, `walk` and `weight`: there the halves of each sixteen pixels
// lie in two vectors, as unpacking leaves them.
struct VbmiBlock {
  alignas(64) uint8_t plane[4][kPixels];     // R, G, B, alpha of the source
  alignas(64) uint32_t at[2][2][16];         // byte offset; vector k holds four of each eight
  alignas(64) uint32_t walk[2][2][16];       // byte offset into the permutations
  alignas(64) int16_t weight[2][4][32];      // vector k holds pixels 2k and 2k + 1 of each eight
  alignas(64) uint8_t in_rb[2][kPixels];     // four of R, four of B, and so on
  alignas(64) uint8_t in_gx[2][kPixels];     // four of G, four of any
  alignas(64) uint8_t out[4 * kPixels];      // eight of R, eight of G, B, any
};

inline bool Supported() { return __builtin_cpu_supports("avx512vbmi") != 0; }

VERA_VBMI inline __m512i Load(const void* from) { return _mm512_loadu_si512(from); }
VERA_VBMI inline void Store(void* to, __m512i v) { _mm512_storeu_si512(to, v); }

// What a permutation takes for each of its 64 bytes.
struct Order {
  alignas(64) uint8_t at[64];
};

constexpr Order Every(int first, int step) {
  Order order = {};
  for (int i = 0; i < 64; ++i) order.at[i] = static_cast<uint8_t>(first + step * i);
  return order;
}

// Bytes 64 k to 64 k + 63 of the interleaved result, from block.out + 64 k and what follows. Alpha
// is taken from its plane.
constexpr Order Interleaved(int pixel_bytes, bool blue_first, int k) {
  Order order = {};
  for (int i = 0; i < 64; ++i) {
    const int pixel = (64 * k + i) / pixel_bytes, byte = (64 * k + i) % pixel_bytes;
    const int at = 32 * (pixel / 8) + 8 * (blue_first ? 2 - byte : byte) + pixel % 8 - 64 * k;
    order.at[i] = static_cast<uint8_t>(byte == 3 ? pixel : at);
  }
  return order;
}

// A channel of block.out; its second half lies as far into the second half of block.out.
constexpr Order Planar(int channel) {
  Order order = {};
  for (int i = 0; i < 64; ++i) {
    order.at[i] = static_cast<uint8_t>(32 * (i / 8) + 8 * channel + i % 8);
  }
  return order;
}

// 64 bytes out of 256; the second 32 from the second half.
VERA_VBMI inline __m512i FromFour(const __m512i from[4], const Order& order) {
  const __m512i index = Load(order.at);
  const __m512i low = _mm512_permutex2var_epi8(from[0], index, from[1]);
  const __m512i high = _mm512_permutex2var_epi8(from[2], index, from[3]);
  return _mm512_mask_blend_epi8(0xFFFFFFFF00000000u, low, high);
}

template <int kPixelBytes, int kRed, bool kPlanar>
VERA_VBMI void LoadPlanes(const RowSpan& span, size_t begin, VbmiBlock& block) {
  if (kPlanar) {
    for (int c = 0; c < 3; ++c) Store(block.plane[c], Load(span.src[c] + begin));
    return;
  }
  static constexpr Order kThird[3] = {Every(0, 3), Every(1, 3), Every(2, 3)};
  static constexpr Order kFourth[4] = {Every(0, 4), Every(1, 4), Every(2, 4), Every(3, 4)};
  const uint8_t* from = span.src[0] + begin * kPixelBytes;
  const __m512i a = Load(from), b = Load(from + 64), c = Load(from + 128);
  if (kPixelBytes == 3) {
    for (int channel = 0; channel < 3; ++channel) {
      const __m512i index = Load(kThird[channel].at);
      const __m512i low = _mm512_permutex2var_epi8(a, index, b);
      const __mmask64 far = _mm512_movepi8_mask(index);  // 128 and more
      Store(block.plane[channel], _mm512_mask_permutexvar_epi8(low, far, index, c));
    }
    return;
  }
  const __m512i parts[4] = {a, b, c, Load(from + 64 * (kPixelBytes - 1))};
  for (int channel = 0; channel < 4; ++channel) {
    const int plane = channel == 3 || kRed == 0 ? channel : 2 - channel;
    Store(block.plane[plane], FromFour(parts, kFourth[channel]));
  }
}

template <int kPixelBytes, int kRed, bool kPlanar>
VERA_VBMI void StorePlanes(const VbmiBlock& block, const RowSpan& span, size_t begin) {
  static constexpr Order kPlane[3] = {Planar(0), Planar(1), Planar(2)};
  static constexpr Order kOrder[4] = {
      Interleaved(kPixelBytes, kRed != 0, 0), Interleaved(kPixelBytes, kRed != 0, 1),
      Interleaved(kPixelBytes, kRed != 0, 2), Interleaved(kPixelBytes, kRed != 0, 3)};
  const __m512i parts[4] = {Load(block.out), Load(block.out + 64), Load(block.out + 128),
                            Load(block.out + 192)};
  if (kPlanar) {
    for (int c = 0; c < 3; ++c) Store(span.dst[c] + begin, FromFour(parts, kPlane[c]));
    return;
  }
  uint8_t* to = span.dst[0] + begin * kPixelBytes;
  for (int k = 0; k < kPixelBytes; ++k) {
    const __m512i index = Load(kOrder[k].at);
    if (kPixelBytes == 3) {
      Store(to + 64 * k, _mm512_permutex2var_epi8(parts[k], index, parts[(k + 1) % 4]));
    } else {
      const __m512i colour = _mm512_permutexvar_epi8(index, parts[k]);
      const __m512i alpha = Load(block.plane[3]);
      Store(to + 64 * k, _mm512_mask_permutexvar_epi8(colour, 0x8888888888888888u, index, alpha));
    }
  }
}

// Looks up in a table of 256 bytes.
VERA_VBMI inline __m512i LookUp(const uint8_t* table, __m512i index) {
  const __m512i low = _mm512_permutex2var_epi8(Load(table), index, Load(table + 64));
  const __m512i high = _mm512_permutex2var_epi8(Load(table + 128), index, Load(table + 192));
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
}

// Of 32 pixels, in 16 bits.
struct Positions {
  __m512i r, g, b, fraction_r, fraction_g, fraction_b;
};

// Byte offsets of 16 pixels' cells: red and green in pairs, blue beside its pixel's walk.
VERA_VBMI inline __m512i CellOffset(__m512i red_green, __m512i blue_walk, int n) {
  const __m512i rows = _mm512_madd_epi16(red_green, _mm512_set1_epi32(n << 16 | 1));
  const __m512i planes = _mm512_madd_epi16(blue_walk, _mm512_set1_epi32(n * n));
  return _mm512_slli_epi32(_mm512_add_epi32(rows, planes), 4);
}

VERA_VBMI inline void LocateHalf(const Positions& p, int n, int half, VbmiBlock& block) {
  const __m512i fr = p.fraction_r, fg = p.fraction_g, fb = p.fraction_b;
  const __m512i high_gb = _mm512_max_epi16(fg, fb), low_gb = _mm512_min_epi16(fg, fb);
  const __m512i high = _mm512_max_epi16(fr, high_gb), low = _mm512_min_epi16(fr, low_gb);
  const __m512i middle = _mm512_max_epi16(_mm512_min_epi16(fr, high_gb), low_gb);
  const __m512i two = _mm512_set1_epi16(2);
  __m512i walk = _mm512_maskz_mov_epi16(_mm512_cmpgt_epi16_mask(fr, fg), _mm512_set1_epi16(1));
  walk = _mm512_mask_add_epi16(walk, _mm512_cmpgt_epi16_mask(fg, fb), walk, two);
  walk = _mm512_mask_add_epi16(walk, _mm512_cmpgt_epi16_mask(fr, fb), walk, two);
  const __m512i rg_low = _mm512_unpacklo_epi16(p.r, p.g), bw_low = _mm512_unpacklo_epi16(p.b, walk);
  const __m512i rg_high = _mm512_unpackhi_epi16(p.r, p.g);
  const __m512i bw_high = _mm512_unpackhi_epi16(p.b, walk);
  Store(block.at[half][0], CellOffset(rg_low, bw_low, n));
  Store(block.at[half][1], CellOffset(rg_high, bw_high, n));
  Store(block.walk[half][0], _mm512_slli_epi32(_mm512_srli_epi32(bw_low, 16), 5));
  Store(block.walk[half][1], _mm512_slli_epi32(_mm512_srli_epi32(bw_high, 16), 5));
  const __m512i first = _mm512_sub_epi16(_mm512_set1_epi16(kFixedOne), high);
  const __m512i second = _mm512_sub_epi16(high, middle), third = _mm512_sub_epi16(middle, low);
  const __m512i a = _mm512_unpacklo_epi16(first, second), b = _mm512_unpackhi_epi16(first, second);
  const __m512i c = _mm512_unpacklo_epi16(third, low), d = _mm512_unpackhi_epi16(third, low);
  Store(block.weight[half][0], _mm512_unpacklo_epi32(a, c));
  Store(block.weight[half][1], _mm512_unpackhi_epi32(a, c));
  Store(block.weight[half][2], _mm512_unpacklo_epi32(b, d));
  Store(block.weight[half][3], _mm512_unpackhi_epi32(b, d));
}

VERA_VBMI inline void Locate(const PreparedLook& look, VbmiBlock& block) {
  const __m512i in_r = Load(block.plane[0]), in_g = Load(block.plane[1]);
  const __m512i in_b = Load(block.plane[2]), zero = _mm512_setzero_si512();
  Store(block.in_rb[0], _mm512_unpacklo_epi32(in_r, in_b));
  Store(block.in_rb[1], _mm512_unpackhi_epi32(in_r, in_b));
  Store(block.in_gx[0], _mm512_unpacklo_epi32(in_g, in_g));
  Store(block.in_gx[1], _mm512_unpackhi_epi32(in_g, in_g));
  const auto look_up = [&](int c, int part, __m512i in) VERA_VBMI {
    return LookUp(look.code_bytes.get() + 256 * (3 * c + part), in);
  };
  const __m512i r = look_up(0, 0, in_r), r_low = look_up(0, 1, in_r), r_high = look_up(0, 2, in_r);
  const __m512i g = look_up(1, 0, in_g), g_low = look_up(1, 1, in_g), g_high = look_up(1, 2, in_g);
  const __m512i b = look_up(2, 0, in_b), b_low = look_up(2, 1, in_b), b_high = look_up(2, 2, in_b);
  const Positions near = {
      _mm512_unpacklo_epi8(r, zero),       _mm512_unpacklo_epi8(g, zero),
      _mm512_unpacklo_epi8(b, zero),       _mm512_unpacklo_epi8(r_low, r_high),
      _mm512_unpacklo_epi8(g_low, g_high), _mm512_unpacklo_epi8(b_low, b_high)};
  LocateHalf(near, look.lut_size, 0, block);
  const Positions far = {
      _mm512_unpackhi_epi8(r, zero),       _mm512_unpackhi_epi8(g, zero),
      _mm512_unpackhi_epi8(b, zero),       _mm512_unpackhi_epi8(r_low, r_high),
      _mm512_unpackhi_epi8(g_low, g_high), _mm512_unpackhi_epi8(b_low, b_high)};
  LocateHalf(far, look.lut_size, 1, block);
}

// For each walk, where the four nodes of each channel stand among the eight of a cell: node
// 2 r + g + 4 b of the corner, four numbers each.
struct Walks {
  alignas(32) int16_t at[kTetrahedra][16];
};

constexpr Walks MakeWalks() {
  constexpr int kMiddle[kTetrahedra][2] = {{4, 5}, {4, 6}, {1, 5}, {2, 6}, {1, 3}, {2, 3}};
  Walks walks = {};
  for (int walk = 0; walk < kTetrahedra; ++walk) {
    for (int channel = 0; channel < 4; ++channel) {
      int16_t* at = walks.at[walk] + 4 * channel;
      at[0] = static_cast<int16_t>(channel);
      at[1] = static_cast<int16_t>(4 * kMiddle[walk][0] + channel);
      at[2] = static_cast<int16_t>(4 * kMiddle[walk][1] + channel);
      at[3] = static_cast<int16_t>(4 * 7 + channel);
    }
  }
  return walks;
}

// Sums of neighbours: of `a` in the even places, of `b` in the odd ones.
VERA_VBMI inline __m256i PairSums(__m256i a, __m256i b) {
  const __m256i crossed = _mm256_blend_epi32(b, a, 0xAA);
  return _mm256_add_epi32(_mm256_blend_epi32(a, b, 0xAA), _mm256_shuffle_epi32(crossed, 0xB1));
}

// Four sums each of R and B, and of G and nothing.
struct FourSums {
  __m256i rb, gx;
};

// What is the same for all pixels.
struct Blender {
  const char* nodes;  // fixed_nodes
  ptrdiff_t plane;    // bytes from a node to the next in blue
  __m256i rest;

  // The four nodes of each channel of a pixel.
  VERA_VBMI __attribute__((always_inline)) __m256i NodesOf(uint32_t at, uint32_t walk) const {
    static constexpr Walks kWalks = MakeWalks();
    const auto load = [](const void* from) VERA_VBMI __attribute__((always_inline)) {
      return _mm256_loadu_si256(static_cast<const __m256i*>(from));
    };
    const __m256i order = load(reinterpret_cast<const char*>(kWalks.at) + walk);
    return _mm256_permutex2var_epi16(load(nodes + at), order, load(nodes + plane + at));
  }
};

// Pixels 4 k to 4 k + 3 of eight.
template <int k>
VERA_VBMI inline __attribute__((always_inline)) FourSums BlendFour(
    const Blender& blender, const VbmiBlock& block, int half, size_t lane) {
  const auto pixel = [&](size_t i) VERA_VBMI __attribute__((always_inline)) {
    int64_t weights;
    std::memcpy(&weights, block.weight[half][2 * k + i / 2] + 8 * lane + 4 * (i % 2), 8);
    const size_t at = 4 * lane + i;
    return _mm256_madd_epi16(blender.NodesOf(block.at[half][k][at], block.walk[half][k][at]),
                             _mm256_set1_epi64x(weights));
  };
  const __m256i near = PairSums(pixel(0), pixel(1)), far = PairSums(pixel(2), pixel(3));
  return {_mm256_unpacklo_epi64(near, far), _mm256_unpackhi_epi64(near, far)};
}

// Adds four bytes of each kind times `scale`.
VERA_VBMI inline __m256i AddIn(__m256i sums, const uint8_t* in, __m256i scale) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(in));
  return _mm256_add_epi32(sums, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(bytes), scale));
}

VERA_VBMI inline __m256i Codes(__m256i first, __m256i second) {
  return _mm256_packs_epi32(_mm256_srai_epi32(first, kSumShift),
                            _mm256_srai_epi32(second, kSumShift));
}

// Eight pixels to block.out.
template <int half>
VERA_VBMI inline __attribute__((always_inline)) void BlendEight(const Blender& blender, size_t lane,
                                                                VbmiBlock& block) {
  const FourSums a = BlendFour<0>(blender, block, half, lane);
  const FourSums b = BlendFour<1>(blender, block, half, lane);
  const uint8_t* rb = block.in_rb[half] + 16 * lane;
  const uint8_t* gx = block.in_gx[half] + 16 * lane;
  const __m256i all_rb =
      Codes(AddIn(a.rb, rb, blender.rest), AddIn(b.rb, rb + 8, blender.rest));
  const __m256i all_gx =
      Codes(AddIn(a.gx, gx, blender.rest), AddIn(b.gx, gx + 8, blender.rest));
  _mm256_store_si256(reinterpret_cast<__m256i*>(block.out + 64 * lane + 32 * half),
                     _mm256_packus_epi16(all_rb, all_gx));
}

VERA_VBMI void Apply(const PreparedLook& look, int32_t rest, VbmiBlock& block) {
  Locate(look, block);
  const ptrdiff_t plane = ptrdiff_t{kNodeBytes} * look.lut_size * look.lut_size;
  const Blender blender = {reinterpret_cast<const char*>(look.fixed_nodes.get()), plane,
                           _mm256_set1_epi32(rest)};
  for (size_t lane = 0; lane < 4; ++lane) {
    BlendEight<0>(blender, lane, block);
    BlendEight<1>(blender, lane, block);
  }
}

using LoadFunction = void (*)(const RowSpan&, size_t, VbmiBlock&);
using StoreFunction = void (*)(const VbmiBlock&, const RowSpan&, size_t);

inline LoadFunction ChooseLoad(vera_pixel_format format) {
  switch (format) {
    case VERA_PIXEL_FORMAT_RGB8: return &LoadPlanes<3, 0, false>;
    case VERA_PIXEL_FORMAT_RGBA8: return &LoadPlanes<4, 0, false>;
    case VERA_PIXEL_FORMAT_BGRA8: return &LoadPlanes<4, 2, false>;
    default: return &LoadPlanes<1, 0, true>;
  }
}

inline StoreFunction ChooseStore(vera_pixel_format format) {
  switch (format) {
    case VERA_PIXEL_FORMAT_RGB8: return &StorePlanes<3, 0, false>;
    case VERA_PIXEL_FORMAT_RGBA8: return &StorePlanes<4, 0, false>;
    case VERA_PIXEL_FORMAT_BGRA8: return &StorePlanes<4, 2, false>;
    default: return &StorePlanes<1, 0, true>;
  }
}

class Renderer {
 public:
  explicit Renderer(const RenderJob& job)
      : job_(job),
        load_(ChooseLoad(job.src_format)),
        store_(ChooseStore(job.dst_format)),
        rest_(RestOfIn(job.strength)) {
    std::memset(block_.plane[3], 255, kPixels);
  }

  // Renders what comes 64 at a time and returns how many pixels that were.
  size_t Render(const RowSpan& span) {
    size_t begin = 0;
    for (; begin + kPixels <= span.pixels; begin += kPixels) {
      load_(span, begin, block_);
      Apply(job_.look, rest_, block_);
      store_(block_, span, begin);
    }
    return begin;
  }

 private:
  const RenderJob& job_;
  const LoadFunction load_;
  const StoreFunction store_;
  const int32_t rest_;
  VbmiBlock block_;
};

}  // namespace vbmi
}  // namespace HWY_NAMESPACE
}  // namespace vera
HWY_AFTER_NAMESPACE();
#endif  // x86

#endif  // include guard, once per target
