// The renderer against its double-precision reference, on every instruction set of the machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "ops/render/render.h"
#include "ops/render/render_test_util.h"
#include "vera/vera.h"

namespace vera {
namespace {

constexpr vera_pixel_format kFormats[] = {
    VERA_PIXEL_FORMAT_RGB8,   VERA_PIXEL_FORMAT_RGBA8,  VERA_PIXEL_FORMAT_BGRA8,
    VERA_PIXEL_FORMAT_RGB16,  VERA_PIXEL_FORMAT_RGBA16, VERA_PIXEL_FORMAT_RGBF32,
    VERA_PIXEL_FORMAT_RGBAF32};

struct Picture {
  Picture(vera_pixel_format format, int64_t width, int64_t height, int64_t padding_pixels = 0) {
    GetFormatInfo(format, &info);
    const ptrdiff_t stride = (width + padding_pixels) * info.pixel_bytes;
    bytes.resize(static_cast<size_t>(stride * height));
    image = {bytes.data(), width, height, stride, format};
  }
  Picture(const Picture& other) : info(other.info), bytes(other.bytes), image(other.image) {
    image.data = bytes.data();
  }
  // Integer codes of all sizes; floats in [-1, 2] with NaN and both infinities between.
  void Fill() {
    Random random;
    for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(random.Bits());
    if (info.unit_bytes != 4) return;
    const float special[4] = {std::numeric_limits<float>::quiet_NaN(),
                              std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity(), -0.0f};
    float* samples = reinterpret_cast<float*>(bytes.data());
    for (size_t i = 0; i < bytes.size() / 4; ++i) {
      samples[i] = i % 17 == 5 ? special[i / 17 % 4] : 3.0f * random.Unit() - 1.0f;
    }
  }
  FormatInfo info;
  std::vector<unsigned char> bytes;
  vera_image image;
};

double SampleAt(const Picture& picture, size_t i) {
  switch (picture.info.unit_bytes) {
    case 1: return picture.bytes[i];
    case 2: return reinterpret_cast<const uint16_t*>(picture.bytes.data())[i];
    default: return static_cast<double>(
        reinterpret_cast<const float*>(picture.bytes.data())[i]);
  }
}

// Largest difference of samples; infinite if only one of two is NaN. Alpha counts like colour.
double LargestDifference(const Picture& a, const Picture& b) {
  double worst = 0.0;
  for (size_t i = 0; i < a.bytes.size() / static_cast<size_t>(a.info.unit_bytes); ++i) {
    const double x = SampleAt(a, i), y = SampleAt(b, i);
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    const double difference = std::abs(x - y);
    worst = std::max(worst, std::isnan(difference) ? HUGE_VAL : difference);
  }
  return worst;
}

TEST(RenderTest, MatchesReference) {
  const Look look = MakeLook(17, 9, false);
  OnEveryTarget([&] {
    for (const vera_pixel_format format : kFormats) {
      for (const int64_t width : {1, 7, 8, 9, 31, 32, 33, 127, 129, 1000}) {
        for (const float strength : {0.0f, 0.6f, 1.0f, 1.5f}) {
          Picture src(format, width, 3, 2);
          src.Fill();
          Picture expected = src, actual = src;
          const vera_render_options options = Options(strength);
          RenderReference(Full(look.view), FrameOf(src.image), FrameOf(expected.image), options);
          ASSERT_EQ(VERA_STATUS_OK, vera_render(&look.view, &src.image, &actual.image, &options));
          // Codes: float32 may fall to the other side of a half, one code value. Float: measured
          // 2.4e-7, from positions rounded to 2^-22 in a lattice of 9 and values rounded to 2^-24.
          ASSERT_LE(LargestDifference(expected, actual), src.info.unit_bytes == 4 ? 1e-5 : 1.0)
              << "format " << format << " width " << width << " strength " << strength;
        }
      }
    }
  });
}

uint64_t Fnv1a(uint64_t hash, const std::vector<unsigned char>& bytes) {
  for (const unsigned char byte : bytes) hash = (hash ^ byte) * 1099511628211ull;
  return hash;
}

// One number for all machines: x86 from SSSE3 to AVX-512, NEON and scalar give the same bytes.
TEST(RenderTest, SameBytesOnEveryTarget) {
  const Look look = MakeLook(33, 17, false);
  OnEveryTarget([&] {
    uint64_t hash = 14695981039346656037ull;
    for (const vera_pixel_format format : kFormats) {
      for (const float strength : {1.0f, 0.7f, 1.5f}) {
        Picture picture(format, 499, 7);
        picture.Fill();
        const vera_render_options options = Options(strength);
        ASSERT_EQ(VERA_STATUS_OK,
                  vera_render(&look.view, &picture.image, &picture.image, &options));
        hash = Fnv1a(hash, picture.bytes);
      }
    }
    EXPECT_EQ(17050959458618420634ull, hash);
  });
}

TEST(RenderTest, IdentityLutIsNoop) {
  for (const int lut_size : {2, 17, 33, 129}) {
    const Look look = MakeLook(256, lut_size, true);
    for (const vera_pixel_format format : {VERA_PIXEL_FORMAT_RGB8, VERA_PIXEL_FORMAT_RGBA16}) {
      Picture src(format, 256, 256);
      src.Fill();
      if (format == VERA_PIXEL_FORMAT_RGBA16) {  // every code once
        uint16_t* samples = reinterpret_cast<uint16_t*>(src.bytes.data());
        for (int i = 0; i < 4 * 65536; ++i) samples[i] = static_cast<uint16_t>(i / 4 * 40503);
      }
      for (const float strength : {0.5f, 1.0f}) {
        Picture out(src);
        const vera_render_options options = Options(strength);
        ASSERT_EQ(VERA_STATUS_OK, vera_render(&look.view, &src.image, &out.image, &options));
        EXPECT_EQ(src.bytes, out.bytes) << "lut " << lut_size << " strength " << strength;
      }
    }
  }
}

TEST(RenderTest, ThreadsAndTilingDoNotChangeBytes) {
  const Look look = MakeLook(33, 17, false);
  Picture whole(VERA_PIXEL_FORMAT_RGB8, 70001, 5, 3);  // rows longer than a tile
  whole.Fill();
  Picture threaded(whole), pieces(whole);
  const vera_render_options one = Options(0.9f, 1);
  const vera_render_options many = Options(0.9f, 7);
  ASSERT_EQ(VERA_STATUS_OK, vera_render(&look.view, &whole.image, &whole.image, &one));
  ASSERT_EQ(VERA_STATUS_OK, vera_render(&look.view, &threaded.image, &threaded.image, &many));
  EXPECT_EQ(whole.bytes, threaded.bytes);
  for (int64_t x = 0; x < pieces.image.width; x += 10007) {
    vera_image piece = pieces.image;
    piece.data = pieces.bytes.data() + 3 * x;
    piece.width = std::min<int64_t>(10007, pieces.image.width - x);
    ASSERT_EQ(VERA_STATUS_OK, vera_render(&look.view, &piece, &piece, &one));
  }
  EXPECT_EQ(whole.bytes, pieces.bytes);
}

TEST(RenderTest, GreyStaysGreyAndRises) {
  Look look = MakeLook(33, 9, true);
  for (float& v : look.lut) v = v * (2.0f - v);  // the same rising curve for each channel
  look.view.lut = look.lut.data();
  Picture picture(VERA_PIXEL_FORMAT_RGB16, 65536, 1);
  uint16_t* samples = reinterpret_cast<uint16_t*>(picture.bytes.data());
  for (int i = 0; i < 3 * 65536; ++i) samples[i] = static_cast<uint16_t>(i / 3);
  const vera_render_options options = Options(1.0f);
  ASSERT_EQ(VERA_STATUS_OK, vera_render(&look.view, &picture.image, &picture.image, &options));
  for (int i = 0; i < 65536; ++i) {
    ASSERT_EQ(samples[3 * i], samples[3 * i + 1]) << i;
    ASSERT_EQ(samples[3 * i], samples[3 * i + 2]) << i;
    ASSERT_GE(samples[3 * i], i > 0 ? samples[3 * i - 3] : 0) << i;
  }
}

// Looks beyond +-2 times strength do not fit into the integers of the 8-bit path: the same limits
// hold there.
TEST(RenderTest, LargeLutValuesMatchReference) {
  Look look = MakeLook(17, 9, false);
  for (const float largest : {2.0f, 2.0001f}) {
    look.lut[5] = largest;
    look.lut[40] = -largest;
    Picture src(VERA_PIXEL_FORMAT_RGB8, 4001, 3);
    src.Fill();
    for (const float strength : {0.0f, 0.6f, 1.0f, 1.5f}) {
      Picture expected = src, actual = src;
      const vera_render_options options = Options(strength);
      RenderReference(Full(look.view), FrameOf(src.image), FrameOf(expected.image), options);
      ASSERT_EQ(VERA_STATUS_OK, vera_render(&look.view, &src.image, &actual.image, &options));
      ASSERT_LE(LargestDifference(expected, actual), 1.0) << largest;
    }
  }
}

// How often the integers of the 8-bit path round to the other side than the truth.
TEST(RenderTest, EightBitCodesAreAlmostAlwaysTheNearest) {
  const Look look = MakeLook(33, 33, false);
  Picture src(VERA_PIXEL_FORMAT_RGB8, 20011, 3);
  src.Fill();
  Picture expected = src, actual = src;
  const vera_render_options options = Options(0.8f);
  RenderReference(Full(look.view), FrameOf(src.image), FrameOf(expected.image), options);
  ASSERT_EQ(VERA_STATUS_OK, vera_render(&look.view, &src.image, &actual.image, &options));
  size_t different = 0;
  for (size_t i = 0; i < src.bytes.size(); ++i) different += expected.bytes[i] != actual.bytes[i];
  const double share = static_cast<double>(different) / static_cast<double>(src.bytes.size());
  // Fractions of 14 bits, nodes of 1/64 code; measured 0.00230, the same on every machine.
  EXPECT_LT(share, 0.003);
}

struct Calls {
  int64_t count = 0, last = 0, total = 0;
  int32_t cancel = 0;
  bool cancel_at_once = false;
};

void CountCalls(void* user, int64_t done, int64_t total) {
  Calls* calls = static_cast<Calls*>(user);
  EXPECT_GE(done, calls->last);
  ++calls->count;
  calls->last = done;
  calls->total = total;
  if (calls->cancel_at_once) *const_cast<volatile int32_t*>(&calls->cancel) = 1;
}

TEST(RenderTest, CancelAndProgress) {
  const Look look = MakeLook(2, 2, true);
  Picture picture(VERA_PIXEL_FORMAT_RGB8, 1000, 1000);
  for (const bool cancel : {false, true}) {
    Calls calls;
    calls.cancel_at_once = cancel;
    vera_render_options options = Options(1.0f);
    options.cancel = &calls.cancel;
    options.progress = CountCalls;
    options.user = &calls;
    EXPECT_EQ(cancel ? VERA_STATUS_CANCELLED : VERA_STATUS_OK,
              vera_render(&look.view, &picture.image, &picture.image, &options));
    EXPECT_EQ(1000000, calls.total);
    if (cancel) {
      EXPECT_EQ(1, calls.count);
    } else {
      EXPECT_EQ(1000000, calls.last);
    }
  }
}

// Each row breaks one rule.
TEST(RenderTest, BadArgumentsAreRefused) {
  const Look look = MakeLook(2, 2, true);
  Picture src(VERA_PIXEL_FORMAT_RGB16, 4, 4), dst(VERA_PIXEL_FORMAT_RGB16, 4, 4);
  const vera_render_options good = Options(1.0f);
  const auto render = [&](vera_baked_look l, vera_image s, vera_image d, vera_render_options o) {
    return vera_render(&l, &s, &d, &o);
  };
  const auto with = [](auto value, auto change) {
    change(value);
    return value;
  };
  const auto& l = look.view;
  const vera_image s = src.image, d = dst.image;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  ASSERT_EQ(VERA_STATUS_OK, render(l, s, d, good));
  EXPECT_EQ(1, vera_render(nullptr, &s, &dst.image, &good));
  EXPECT_EQ(1, vera_render(&l, nullptr, &dst.image, &good));
  EXPECT_EQ(1, vera_render(&l, &s, nullptr, &good));
  EXPECT_EQ(1, vera_render(&l, &s, &dst.image, nullptr));
  for (const auto change : std::vector<void (*)(vera_baked_look&)>{
           [](vera_baked_look& v) { v.curves = nullptr; },
           [](vera_baked_look& v) { v.lut = nullptr; },
           [](vera_baked_look& v) { v.curve_size = 1; },
           [](vera_baked_look& v) { v.curve_size = 4097; },
           [](vera_baked_look& v) { v.lut_size = 1; },
           [](vera_baked_look& v) { v.lut_size = 130; }}) {
    EXPECT_EQ(1, render(with(l, change), s, d, good));
  }
  for (const auto change : std::vector<void (*)(vera_image&)>{
           [](vera_image& v) { v.data = nullptr; },
           [](vera_image& v) { v.width = -1; },
           [](vera_image& v) { v.height = -1; },
           [](vera_image& v) { v.width = 5; },
           [](vera_image& v) { v.height = 3; },
           [](vera_image& v) { v.row_stride_bytes = 22; },
           [](vera_image& v) { v.row_stride_bytes = -24; },
           [](vera_image& v) { v.row_stride_bytes = 25; },
           [](vera_image& v) { v.row_stride_bytes = PTRDIFF_MAX - 1; },
           [](vera_image& v) { v.data = static_cast<char*>(v.data) + 1; },
           [](vera_image& v) { v.format = VERA_PIXEL_FORMAT_RGBF16; },
           [](vera_image& v) { v.format = VERA_PIXEL_FORMAT_PLANAR16; },
           [](vera_image& v) { v.format = 17; },
           [](vera_image& v) { v.format = -1; },
           [](vera_image& v) { v.format = VERA_PIXEL_FORMAT_RGB8; }}) {
    EXPECT_EQ(1, render(l, with(s, change), d, good));
    EXPECT_EQ(1, render(l, s, with(d, change), good));
  }
  for (const float strength : {nan, -0.1f, 1.6f, std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(1, render(l, s, d, Options(strength)));
  }
  EXPECT_EQ(1, render(l, s, d, Options(1.0f, -1)));
  EXPECT_EQ(1, render(l, s, d, Options(1.0f, 65)));
  EXPECT_EQ(1, render(l, s, d, with(good, [](auto& o) { o.struct_size = 8; })));
  for (const float value : {nan, std::numeric_limits<float>::infinity(), 1e6f}) {
    Look bad = MakeLook(2, 2, true);
    bad.lut[23] = value;
    EXPECT_EQ(1, render(bad.view, s, d, good));
  }
  Look bad = MakeLook(2, 2, true);
  bad.curves[5] = nan;
  EXPECT_EQ(1, render(bad.view, s, d, good));
}

TEST(RenderTest, OverlapIsInPlaceOrNone) {
  const Look look = MakeLook(2, 2, true);
  const vera_render_options options = Options(1.0f);
  Picture canvas(VERA_PIXEL_FORMAT_RGB8, 20, 10);
  const auto render = [&](int from, int to, int width, int height) {
    vera_image src = canvas.image, dst = canvas.image;
    src.data = canvas.bytes.data() + 3 * from;
    dst.data = canvas.bytes.data() + 3 * to;
    src.width = dst.width = width;
    src.height = dst.height = height;
    return vera_render(&look.view, &src, &dst, &options);
  };
  EXPECT_EQ(VERA_STATUS_OK, render(0, 0, 20, 10));    // in place
  EXPECT_EQ(VERA_STATUS_OK, render(0, 10, 10, 10));   // left half to right half
  EXPECT_EQ(VERA_STATUS_OK, render(10, 0, 10, 10));   // right half to left half
  EXPECT_EQ(VERA_STATUS_OK, render(0, 100, 20, 5));   // upper half to lower half
  EXPECT_EQ(1, render(0, 1, 10, 10));
  EXPECT_EQ(1, render(9, 0, 10, 10));
  EXPECT_EQ(1, render(0, 80, 20, 5));
}

TEST(RenderTest, EmptyImagesDoNothing) {
  const Look look = MakeLook(2, 2, true);
  const vera_render_options options = Options(1.0f);
  for (const int64_t width : {0, 5}) {
    vera_image image = {nullptr, width, width == 0 ? 5 : 0, 0, VERA_PIXEL_FORMAT_RGB8};
    vera_image same = image;
    EXPECT_EQ(VERA_STATUS_OK, vera_render(&look.view, &image, &same, &options));
  }
}

TEST(RenderTest, NewerOptionsMustBeZeroWhereUnknown) {
  const Look look = MakeLook(2, 2, true);
  Picture picture(VERA_PIXEL_FORMAT_RGB8, 2, 2);
  struct Newer {
    vera_render_options known;
    int64_t unknown;
  } newer = {Options(1.0f), 0};
  newer.known.struct_size = sizeof(newer);
  EXPECT_EQ(0, vera_render(&look.view, &picture.image, &picture.image, &newer.known));
  newer.unknown = 1;
  EXPECT_EQ(1, vera_render(&look.view, &picture.image, &picture.image, &newer.known));
}

TEST(RenderTest, StatusTextAndVersion) {
  EXPECT_STREQ("the caller asked to stop", vera_status_text(VERA_STATUS_CANCELLED));
  EXPECT_STREQ("unknown status", vera_status_text(-5));
  EXPECT_STREQ(VERA_VERSION, vera_version());
}

}  // namespace
}  // namespace vera
