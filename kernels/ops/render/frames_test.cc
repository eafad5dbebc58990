// vera_render_frame: every pair of formats and every option against the double-precision
// reference, on every instruction set of the machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "ops/render/render.h"
#include "ops/render/render_test_util.h"
#include "vera/vera.h"

namespace vera {
namespace {

constexpr vera_pixel_format kFirst420 = VERA_PIXEL_FORMAT_NV12;
constexpr vera_pixel_format kEnd = VERA_PIXEL_FORMAT_P010 + 1;

// A frame that owns its planes; `padding` units are added to each row.
struct Canvas {
  Canvas(vera_pixel_format format, int64_t width, int64_t height, int64_t padding = 3) {
    GetFormatInfo(format, &info);
    frame = {};
    frame.struct_size = sizeof(frame);
    frame.format = format;
    frame.width = width;
    frame.height = height;
    for (int p = 0; p < info.planes; ++p) {
      const int64_t row = PlaneRowBytes(format, info, p, width) + padding * info.unit_bytes;
      bytes[p].resize(static_cast<size_t>(row * PlaneRows(info, p, height)));
      frame.row_stride_bytes[p] = static_cast<ptrdiff_t>(row);
    }
    Bind();
  }
  Canvas(const Canvas& other) : info(other.info), frame(other.frame) {
    for (int p = 0; p < 3; ++p) bytes[p] = other.bytes[p];
    Bind();
  }
  void Bind() {
    for (int p = 0; p < info.planes; ++p) frame.planes[p] = bytes[p].data();
  }
  // Integer codes of all sizes; floats in [-1, 2] and now and then NaN or infinity.
  void Fill() {
    Random random;
    for (std::vector<unsigned char>& plane : bytes) {
      if (!info.is_float()) {
        for (unsigned char& byte : plane) byte = static_cast<unsigned char>(random.Bits());
        continue;
      }
      const size_t unit = static_cast<size_t>(info.unit_bytes);
      for (size_t i = 0; i < plane.size() / unit; ++i) {
        const float value = 3.0f * random.Unit() - 1.0f;
        const uint32_t special[] = {0x7FC00000u, 0x7F800000u, 0xFF800000u, 0x80000000u};
        uint32_t bits;
        std::memcpy(&bits, &value, 4);
        if (i % 17 == 5) bits = special[i / 17 % 4];
        // Cutting off the mantissa makes a half out of a float of this range.
        const uint32_t exponent = bits >> 23 & 255;
        const uint32_t moved = exponent == 255 ? 31 : exponent < 113 ? 0 : exponent - 112;
        const uint32_t mantissa = moved == 0 ? bits >> 14 & 1023 : bits >> 13 & 1023;
        const uint16_t half = static_cast<uint16_t>((bits >> 16 & 0x8000) | moved << 10 | mantissa);
        std::memcpy(&plane[i * unit], unit == 4 ? static_cast<const void*>(&bits) : &half, unit);
      }
    }
  }
  FormatInfo info;
  vera_frame frame;
  std::vector<unsigned char> bytes[3];
};

double SampleOf(const Canvas& canvas, int plane, size_t i) {
  const unsigned char* at = &canvas.bytes[plane][i * static_cast<size_t>(canvas.info.unit_bytes)];
  uint16_t bits;
  float value;
  switch (canvas.info.unit_bytes) {
    case 1: return *at;
    case 2:
      std::memcpy(&bits, at, 2);
      return canvas.info.sample == Sample::kHalf ? static_cast<double>(HalfToFloat(bits)) : bits;
    default: std::memcpy(&value, at, 4); return static_cast<double>(value);
  }
}

uint32_t PackedOf(const Canvas& canvas, size_t i) {
  uint32_t bits;
  std::memcpy(&bits, &canvas.bytes[0][i * 4], 4);
  return bits;
}

// Largest difference in units of what is allowed: one code, 1e-5 (float), one step of half at the
// larger of the values.
double WorstError(const Canvas& a, const Canvas& b) {
  double worst = 0.0;
  const auto compare = [&](double x, double y, double allowed) {
    if (x == y || (std::isnan(x) && std::isnan(y))) return;
    const double error = std::abs(x - y) / allowed;
    worst = std::max(worst, std::isnan(error) ? HUGE_VAL : error);
  };
  for (int p = 0; p < a.info.planes; ++p) {
    for (size_t i = 0; i < a.bytes[p].size() / static_cast<size_t>(a.info.unit_bytes); ++i) {
      if (a.frame.format == VERA_PIXEL_FORMAT_RGB10A2) {
        for (int c = 0; c < 4; ++c) {
          compare(PackedOf(a, i) >> 10 * c & 1023, PackedOf(b, i) >> 10 * c & 1023, 1.0);
        }
        continue;
      }
      const double x = SampleOf(a, p, i), y = SampleOf(b, p, i);
      double allowed = 1.0;
      if (a.info.sample == Sample::kFloat) allowed = 1e-5 * std::max(1.0, std::abs(y));
      if (a.info.sample == Sample::kHalf) allowed = std::max(std::abs(y), 0x1p-10) * 0x1p-10;
      compare(x, y, allowed);
    }
  }
  return worst;
}

void ExpectMatch(const vera_look& look, const Canvas& src, vera_pixel_format to,
                 const vera_render_options& options, int64_t padding = 2) {
  Canvas actual(to, src.frame.width, src.frame.height, padding);
  Canvas expected(actual);
  RenderReference(look, src.frame, expected.frame, options);
  ASSERT_EQ(VERA_STATUS_OK, vera_render_frame(&look, &src.frame, &actual.frame, &options));
  ASSERT_LE(WorstError(actual, expected), 1.0)
      << "from " << src.frame.format << " to " << to << " width " << src.frame.width
      << " strength " << options.strength;
}

TEST(FramesTest, EveryPairOfFormatsMatchesReference) {
  const Look look = MakeLook(17, 9, false);
  OnEveryTarget([&] {
    for (vera_pixel_format from = 0; from < kEnd; ++from) {
      for (vera_pixel_format to = 0; to < kFirst420; ++to) {
        for (const int64_t width : {1, 2, 15, 16, 17, 131, 300}) {
          Canvas src(from, width, 3);
          src.Fill();
          ASSERT_NO_FATAL_FAILURE(
              ExpectMatch(Full(look.view), src, to, Options(width % 2 == 0 ? 1.0f : 0.6f)));
        }
      }
    }
  });
}

TEST(FramesTest, YuvMatchesReferenceAtEveryMatrixRangeAndEdge) {
  const Look look = MakeLook(17, 9, false);
  OnEveryTarget([&] {
    for (vera_pixel_format from = kFirst420; from < kEnd; ++from) {
      for (int32_t kind = 0; kind < 6; ++kind) {
        for (const int64_t side : {1, 2, 3, 4, 257}) {
          Canvas src(from, side, side < 5 ? side : 5);
          src.Fill();
          src.frame.yuv_matrix = kind % 3;
          src.frame.yuv_range = kind / 3;
          ASSERT_NO_FATAL_FAILURE(
              ExpectMatch(Full(look.view), src, VERA_PIXEL_FORMAT_RGB16, Options(0.8f)));
        }
      }
    }
  });
}

TEST(FramesTest, OptionsMatchReference) {
  const Look look = MakeLook(17, 9, false);
  vera_look full = Full(look.view);
  const Look second = MakeLook(33, 2, false);
  OnEveryTarget([&] {
    for (int kind = 0; kind < 16; ++kind) {
      vera_render_options options = Options(kind & 8 ? 1.0f : 1.3f);
      options.interpolation = kind & 1;
      full.output_curves = kind & 2 ? second.curves.data() : nullptr;
      full.output_curve_size = kind & 2 ? 33 : 0;
      for (const vera_pixel_format format :
           {VERA_PIXEL_FORMAT_RGB8, VERA_PIXEL_FORMAT_RGBF32, VERA_PIXEL_FORMAT_RGBAF16,
            VERA_PIXEL_FORMAT_PLANARF32}) {
        Canvas src(format, 143, 3);
        src.Fill();
        options.out_of_range = (kind & 4) && src.info.is_float() ? 1 : 0;
        options.dither = (kind & 4) && !src.info.is_float() ? 1 : 0;
        options.origin_x = 5;
        options.origin_y = -1000;
        ASSERT_NO_FATAL_FAILURE(ExpectMatch(full, src, format, options)) << kind;
      }
    }
  });
}

TEST(FramesTest, HalfIsExactBothWays) {
  const Look look = MakeLook(2, 2, true);
  Canvas halves(VERA_PIXEL_FORMAT_RGBAF16, 65536, 1, 0), back(halves);
  Canvas floats(VERA_PIXEL_FORMAT_RGBAF32, 65536, 1, 0);
  uint16_t* bits = reinterpret_cast<uint16_t*>(halves.bytes[0].data());
  for (int i = 0; i < 65536; ++i) bits[4 * i + 3] = static_cast<uint16_t>(i);
  const vera_look full = Full(look.view);
  const vera_render_options options = Options(1.0f);
  OnEveryTarget([&] {
    ASSERT_EQ(0, vera_render_frame(&full, &halves.frame, &floats.frame, &options));
    const float* alpha = reinterpret_cast<const float*>(floats.bytes[0].data()) + 3;
    for (int i = 0; i < 65536; ++i) {
      const float expected = HalfToFloat(static_cast<uint16_t>(i));
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(alpha[4 * i])) << i;
      } else {
        ASSERT_EQ(0, std::memcmp(&expected, alpha + 4 * i, 4)) << i;
      }
    }
    ASSERT_EQ(0, vera_render_frame(&full, &floats.frame, &back.frame, &options));
    for (int i = 0; i < 65536; ++i) {
      const uint16_t got = reinterpret_cast<const uint16_t*>(back.bytes[0].data())[4 * i + 3];
      if (std::isnan(HalfToFloat(static_cast<uint16_t>(i)))) continue;
      ASSERT_EQ(i, got);
    }
  });
}

TEST(FramesTest, HalfRoundsToNearestEven) {
  const Look look = MakeLook(2, 2, true);
  const vera_look full = Full(look.view);
  const vera_render_options options = Options(1.0f);
  Canvas src(VERA_PIXEL_FORMAT_RGBAF32, 4096, 1, 0);
  Random random;
  float* values = reinterpret_cast<float*>(src.bytes[0].data());
  for (int i = 0; i < 4096; ++i) {  // numbers on and around the middle between two halves
    const float low = HalfToFloat(static_cast<uint16_t>(random.Bits() % 0x7BFF));
    values[4 * i + 3] = low * (1.0f + static_cast<float>(i % 3) * 0x1p-12f + 0x1p-11f);
    if (i % 64 == 0) values[4 * i + 3] = 65519.0f + static_cast<float>(i / 64);
  }
  OnEveryTarget([&] {
    Canvas actual(VERA_PIXEL_FORMAT_RGBAF16, 4096, 1, 0), expected(actual);
    RenderReference(full, src.frame, expected.frame, options);
    ASSERT_EQ(0, vera_render_frame(&full, &src.frame, &actual.frame, &options));
    for (size_t i = 3; i < 4 * 4096; i += 4) {
      ASSERT_EQ(SampleOf(expected, 0, i), SampleOf(actual, 0, i)) << i / 4;
    }
  });
}

TEST(FramesTest, IdentityKeepsEveryCode) {
  const Look look = MakeLook(256, 33, true);
  const vera_look full = Full(look.view);
  for (vera_pixel_format format = 0; format < kFirst420; ++format) {
    Canvas src(format, 512, 130);
    if (src.info.is_float()) continue;
    src.Fill();
    for (const int32_t dither : {0, 1}) {
      vera_render_options options = Options(0.5f);
      if (src.info.sample == Sample::kUnsigned8) options.dither = dither;
      Canvas out(src);
      ASSERT_EQ(0, vera_render_frame(&full, &src.frame, &out.frame, &options));
      for (int p = 0; p < src.info.planes; ++p) EXPECT_EQ(src.bytes[p], out.bytes[p]) << format;
    }
  }
}

TEST(FramesTest, DeeperFormatsGiveBackWhatTheyWereMadeFrom) {
  const Look look = MakeLook(2, 2, true);
  const vera_look full = Full(look.view);
  const vera_render_options options = Options(0.0f);
  Canvas src(VERA_PIXEL_FORMAT_RGBA8, 256, 16, 0), back(src);
  src.Fill();
  for (const vera_pixel_format format : {VERA_PIXEL_FORMAT_RGBA16, VERA_PIXEL_FORMAT_RGBAF32,
                                         VERA_PIXEL_FORMAT_RGBAF16, VERA_PIXEL_FORMAT_BGRA8}) {
    Canvas deep(format, 256, 16);
    ASSERT_EQ(0, vera_render_frame(&full, &src.frame, &deep.frame, &options));
    ASSERT_EQ(0, vera_render_frame(&full, &deep.frame, &back.frame, &options));
    EXPECT_EQ(src.bytes[0], back.bytes[0]) << format;
  }
}

TEST(FramesTest, ExtendKeepsTheOffset) {
  const Look look = MakeLook(2, 2, true);
  const vera_look full = Full(look.view);
  vera_render_options options = Options(1.0f);
  options.out_of_range = VERA_OUT_OF_RANGE_EXTEND;
  const float inf = std::numeric_limits<float>::infinity();
  float pixel[6] = {1.75f, -0.5f, 0.25f, inf, -inf, std::numeric_limits<float>::quiet_NaN()};
  const float expected[6] = {1.75f, -0.5f, 0.25f, inf, -inf, 0.0f};
  const vera_image image = {pixel, 2, 1, 24, VERA_PIXEL_FORMAT_RGBF32};
  const vera_frame frame = FrameOf(image);
  ASSERT_EQ(0, vera_render_frame(&full, &frame, &frame, &options));
  for (int i = 0; i < 6; ++i) EXPECT_EQ(expected[i], pixel[i]) << i;
}

TEST(FramesTest, DitherDependsOnThePositionOnly) {
  const Look look = MakeLook(17, 9, false);
  const vera_look full = Full(look.view);
  vera_render_options options = Options(1.0f, 3);
  options.dither = VERA_DITHER_ORDERED;
  Canvas src(VERA_PIXEL_FORMAT_RGB16, 301, 99), whole(VERA_PIXEL_FORMAT_RGB8, 301, 99);
  src.Fill();
  Canvas pieces(whole);
  ASSERT_EQ(0, vera_render_frame(&full, &src.frame, &whole.frame, &options));
  for (int64_t y = 0; y < 99; y += 20) {
    for (int64_t x = 0; x < 301; x += 77) {
      vera_frame from = src.frame, to = pieces.frame;
      from.planes[0] = src.bytes[0].data() + y * from.row_stride_bytes[0] + x * 6;
      to.planes[0] = pieces.bytes[0].data() + y * to.row_stride_bytes[0] + x * 3;
      from.width = to.width = std::min<int64_t>(77, 301 - x);
      from.height = to.height = std::min<int64_t>(20, 99 - y);
      options.origin_x = x;
      options.origin_y = y;
      ASSERT_EQ(0, vera_render_frame(&full, &from, &to, &options));
    }
  }
  EXPECT_EQ(whole.bytes[0], pieces.bytes[0]);
}

TEST(FramesTest, DitherKeepsTheMean) {
  const Look look = MakeLook(2, 2, true);
  const vera_look full = Full(look.view);
  vera_render_options options = Options(1.0f);
  options.dither = VERA_DITHER_ORDERED;
  Canvas src(VERA_PIXEL_FORMAT_RGBF32, 64, 64, 0), out(VERA_PIXEL_FORMAT_RGB8, 64, 64, 0);
  for (const float code : {0.25f, 100.5f, 180.1f, 254.75f}) {
    float* samples = reinterpret_cast<float*>(src.bytes[0].data());
    std::fill(samples, samples + 3 * 64 * 64, code / 255.0f);
    ASSERT_EQ(0, vera_render_frame(&full, &src.frame, &out.frame, &options));
    double sum = 0.0;
    for (const unsigned char byte : out.bytes[0]) sum += byte;
    // Without dither it is off by up to 0.5; the thresholds of 64 x 64 pixels are even to 0.01.
    EXPECT_NEAR(sum / (3 * 64 * 64), static_cast<double>(code), 0.01);
  }
}

TEST(FramesTest, ValueTypesMatchTheirFloats) {
  Look look = MakeLook(129, 129, false);
  std::vector<uint16_t> curves16, lut16, curves_half, lut_half;
  const auto convert = [](std::vector<float>& values, bool half) {
    std::vector<uint16_t> codes;
    for (float& v : values) {
      codes.push_back(half ? static_cast<uint16_t>(0x3000 + static_cast<int>(v * 2048.0f))
                           : static_cast<uint16_t>(v * 65535.0f));
      v = half ? HalfToFloat(codes.back()) : static_cast<float>(codes.back()) / 65535.0f;
    }
    return codes;
  };
  for (const bool half : {false, true}) {
    Look stored = MakeLook(129, 129, false);
    const std::vector<uint16_t> curve_codes = convert(stored.curves, half);
    const std::vector<uint16_t> lut_codes = convert(stored.lut, half);
    vera_look floats = Full(stored.view), typed = floats;
    floats.curves = stored.curves.data();
    floats.lut = stored.lut.data();
    typed.curves = curve_codes.data();
    typed.lut = lut_codes.data();
    typed.curve_type = typed.lut_type = half ? VERA_VALUE_FLOAT16 : VERA_VALUE_UNORM16;
    Canvas a(VERA_PIXEL_FORMAT_RGB16, 333, 7), b(a);
    a.Fill();
    b.Fill();
    const vera_render_options options = Options(0.9f);
    ASSERT_EQ(0, vera_render_frame(&floats, &a.frame, &a.frame, &options));
    ASSERT_EQ(0, vera_render_frame(&typed, &b.frame, &b.frame, &options));
    EXPECT_EQ(a.bytes[0], b.bytes[0]);
  }
}

uint64_t Hash(uint64_t hash, const std::vector<unsigned char>& bytes) {
  for (const unsigned char byte : bytes) hash = (hash ^ byte) * 1099511628211ull;
  return hash;
}

// One number for all machines, as in RenderTest.
TEST(FramesTest, SameBytesOnEveryTarget) {
  const Look look = MakeLook(33, 17, false);
  vera_look full = Full(look.view);
  full.output_curves = look.curves.data();
  full.output_curve_size = 33;
  OnEveryTarget([&] {
    uint64_t hash = 14695981039346656037ull;
    for (vera_pixel_format from = 0; from < kEnd; ++from) {
      for (vera_pixel_format to = 0; to < kFirst420; ++to) {
        Canvas src(from, 150, 2), dst(to, 150, 2);
        src.Fill();
        vera_render_options options = Options(0.7f);
        options.interpolation = to % 2;
        options.dither = dst.info.sample == Sample::kUnsigned8;
        options.out_of_range = src.info.is_float() && dst.info.is_float();
        // NaN alpha is passed on; which NaN a conversion makes of it is the machine's choice.
        if (src.info.has_alpha && dst.info.has_alpha && options.out_of_range) continue;
        ASSERT_EQ(0, vera_render_frame(&full, &src.frame, &dst.frame, &options));
        for (int p = 0; p < dst.info.planes; ++p) hash = Hash(hash, dst.bytes[p]);
      }
    }
    EXPECT_EQ(4753899796418342116ull, hash);
  });
}

TEST(FramesTest, BadFramesAreRefused) {
  const Look look = MakeLook(2, 2, true);
  const vera_look full = Full(look.view);
  const vera_render_options good = Options(1.0f);
  Canvas yuv(VERA_PIXEL_FORMAT_P010, 5, 5), rgb(VERA_PIXEL_FORMAT_PLANAR16, 5, 5);
  ASSERT_EQ(0, vera_render_frame(&full, &yuv.frame, &rgb.frame, &good));
  EXPECT_EQ(1, vera_render_frame(&full, &yuv.frame, &yuv.frame, &good));  // 4:2:0 as target
  for (const auto change : std::vector<void (*)(vera_frame&)>{
           [](vera_frame& v) { v.struct_size = sizeof(v) - 8; },
           [](vera_frame& v) { v.planes[1] = nullptr; },
           [](vera_frame& v) { v.planes[1] = static_cast<char*>(v.planes[1]) + 1; },
           [](vera_frame& v) { v.row_stride_bytes[1] = 8; },
           [](vera_frame& v) { v.row_stride_bytes[0] = PTRDIFF_MAX - 1; },
           [](vera_frame& v) { v.width = 6; }, [](vera_frame& v) { v.format = kEnd; },
           [](vera_frame& v) { v.reserved = 1; }}) {
    vera_frame src = yuv.frame, dst = rgb.frame;
    change(src);
    change(dst);
    EXPECT_EQ(1, vera_render_frame(&full, &src, &rgb.frame, &good));
    EXPECT_EQ(1, vera_render_frame(&full, &yuv.frame, &dst, &good));
  }
  for (const auto change : std::vector<void (*)(vera_frame&)>{
           [](vera_frame& v) { v.yuv_matrix = 3; }, [](vera_frame& v) { v.yuv_range = -1; }}) {
    vera_frame src = yuv.frame;
    change(src);
    EXPECT_EQ(1, vera_render_frame(&full, &src, &rgb.frame, &good));
  }
  vera_frame same = rgb.frame;
  same.planes[2] = same.planes[0];  // two planes of the target in one place
  EXPECT_EQ(1, vera_render_frame(&full, &yuv.frame, &same, &good));
  EXPECT_EQ(1, vera_render_frame(&full, &rgb.frame, &same, &good));
  for (const auto change : std::vector<void (*)(vera_render_options&)>{
           [](vera_render_options& v) { v.interpolation = 2; },
           [](vera_render_options& v) { v.out_of_range = 1; },  // not between floats
           [](vera_render_options& v) { v.dither = 1; },        // not to 8 bits
           [](vera_render_options& v) { v.reserved = 1; }}) {
    vera_render_options options = good;
    change(options);
    EXPECT_EQ(1, vera_render_frame(&full, &yuv.frame, &rgb.frame, &options));
  }
  for (const auto change : std::vector<void (*)(vera_look&)>{
           [](vera_look& v) { v.struct_size = 8; }, [](vera_look& v) { v.curve_type = 3; },
           [](vera_look& v) { v.lut_type = -1; }, [](vera_look& v) { v.output_curve_size = 2; },
           [](vera_look& v) { v.lut = static_cast<const char*>(v.lut) + 2; }}) {
    vera_look bad = full;
    change(bad);
    EXPECT_EQ(1, vera_render_frame(&bad, &yuv.frame, &rgb.frame, &good));
  }
}

TEST(FramesTest, OlderOptionsMeanTheDefaults) {
  const Look look = MakeLook(2, 2, true);
  const vera_look full = Full(look.view);
  Canvas canvas(VERA_PIXEL_FORMAT_RGB8, 3, 3);
  vera_render_options options = Options(1.0f);
  options.struct_size = offsetof(vera_render_options, interpolation);
  options.interpolation = 77;  // beyond what an older caller has
  EXPECT_EQ(0, vera_render_frame(&full, &canvas.frame, &canvas.frame, &options));
}

}  // namespace
}  // namespace vera
