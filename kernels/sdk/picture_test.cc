// The picture that the model sees: every format gives the same, and flat stays flat.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "sdk/failure.h"
#include "sdk/picture.h"
#include "sdk/resample.h"
#include "sdk/source.h"

namespace vera {
namespace {

// Random 8-bit RGB, in several layouts of the same codes.
struct Picture {
  Picture(int64_t w, int64_t h) : width(w), height(h), rgb(static_cast<size_t>(w * h) * 3) {
    std::mt19937 random(7);
    for (uint8_t& code : rgb) code = static_cast<uint8_t>(random());
  }
  vera_frame Frame(vera_pixel_format format, void* plane, ptrdiff_t stride) const {
    vera_frame frame = {};
    frame.struct_size = sizeof(frame);
    frame.format = format;
    frame.width = width;
    frame.height = height;
    frame.planes[0] = plane;
    frame.row_stride_bytes[0] = stride;
    return frame;
  }
  int64_t width, height;
  std::vector<uint8_t> rgb;
};

std::vector<float> Prepared(const vera_frame& frame, Family family, int32_t size,
                            vera_color_space space = VERA_COLOR_SPACE_SRGB) {
  std::vector<float> out(static_cast<size_t>(size) * static_cast<size_t>(size) * 3);
  PreparePicture(&frame, space, family, size, nullptr, out.data());
  return out;
}

class Formats : public testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(Formats, AllGiveTheSame) {
  const auto [width, height] = GetParam();
  Picture picture(width, height);
  const size_t pixels = picture.rgb.size() / 3;
  std::vector<uint8_t> rgba(pixels * 4), bgra(pixels * 4), planar(pixels * 3);
  std::vector<uint16_t> wide(pixels * 3);
  std::vector<float> real(pixels * 3);
  for (size_t i = 0; i < pixels; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      const uint8_t code = picture.rgb[3 * i + c];
      rgba[4 * i + c] = bgra[4 * i + 2 - c] = planar[c * pixels + i] = code;
      wide[3 * i + c] = static_cast<uint16_t>(code * 257);
      real[3 * i + c] = static_cast<float>(code) / 255.0f;
    }
    rgba[4 * i + 3] = bgra[4 * i + 3] = static_cast<uint8_t>(i);
  }
  const ptrdiff_t w = width;
  vera_frame planes = picture.Frame(VERA_PIXEL_FORMAT_PLANAR8, planar.data(), w);
  for (int p = 0; p < 3; ++p) {
    planes.planes[p] = planar.data() + static_cast<size_t>(p) * pixels;
    planes.row_stride_bytes[p] = w;
  }
  const vera_frame frames[] = {
      picture.Frame(VERA_PIXEL_FORMAT_RGBA8, rgba.data(), 4 * w),
      picture.Frame(VERA_PIXEL_FORMAT_BGRA8, bgra.data(), 4 * w),
      picture.Frame(VERA_PIXEL_FORMAT_RGB16, wide.data(), 6 * w),
      picture.Frame(VERA_PIXEL_FORMAT_RGBF32, real.data(), 12 * w), planes};
  const vera_frame plain = picture.Frame(VERA_PIXEL_FORMAT_RGB8, picture.rgb.data(), 3 * w);
  for (const Family family : {Family::kNano, Family::kChat}) {
    const std::vector<float> expected = Prepared(plain, family, 64);
    for (const vera_frame& frame : frames) {
      EXPECT_EQ(Prepared(frame, family, 64), expected) << frame.format;
    }
  }
}

// Smaller and larger than the square, boxes that do not fit, one pixel.
INSTANTIATE_TEST_SUITE_P(Sizes, Formats,
                         testing::Values(std::tuple(1, 1), std::tuple(64, 64), std::tuple(97, 41),
                                         std::tuple(389, 64), std::tuple(801, 603)));

TEST(Picture, FlatStaysFlat) {
  Picture picture(1000, 700);
  for (const int code : {0, 1, 77, 254, 255}) {
    std::fill(picture.rgb.begin(), picture.rgb.end(), static_cast<uint8_t>(code));
    const vera_frame frame = picture.Frame(VERA_PIXEL_FORMAT_RGB8, picture.rgb.data(), 3000);
    for (const float value : Prepared(frame, Family::kNano, 128)) {
      ASSERT_EQ(value, static_cast<float>(code) / 255.0f);
    }
  }
}

// Double sums of the same weights.
TEST(Picture, MatchesPlainSums) {
  Picture picture(300, 200);
  const vera_frame frame = picture.Frame(VERA_PIXEL_FORMAT_RGB8, picture.rgb.data(), 900);
  const int32_t size = 96;  // 300 / 288: no boxes
  const std::vector<float> seen = Prepared(frame, Family::kNano, size);
  const Weights across(Filter::kLanczos, 300, 300, size), down(Filter::kLanczos, 200, 200, size);
  for (int64_t y = 0; y < size; y += 5) {
    for (int64_t x = 0; x < size; x += 5) {
      double sum = 0;
      const auto& columns = across.windows[static_cast<size_t>(x)];
      const auto& rows = down.windows[static_cast<size_t>(y)];
      for (int64_t j = 0; j < rows.size; ++j) {
        for (int64_t i = 0; i < columns.size; ++i) {
          const size_t at = static_cast<size_t>((rows.first + j) * 300 + columns.first + i) * 3;
          sum += down.values[static_cast<size_t>(rows.at + j)] *
                 across.values[static_cast<size_t>(columns.at + i)] * picture.rgb[at];
        }
      }
      const double expected = std::clamp(sum / 255.0, 0.0, 1.0);
      // half a step of 16 bits, and float sums; measured 8e-6
      ASSERT_NEAR(seen[static_cast<size_t>(y * size + x)], expected, 9e-6);
    }
  }
}

TEST(Picture, SrgbInOtherSpacesIsTheSameColour) {
  Picture picture(64, 64);
  for (const vera_color_space space : {1, 2, 3}) {
    for (size_t i = 0; i < picture.rgb.size(); i += 3) {
      const uint8_t grey = static_cast<uint8_t>(i / 48);
      for (size_t c = 0; c < 3; ++c) picture.rgb[i + c] = grey;
    }
    const vera_frame frame = picture.Frame(VERA_PIXEL_FORMAT_RGB8, picture.rgb.data(), 192);
    const std::vector<float> seen = Prepared(frame, Family::kNano, 64, space);
    for (size_t i = 0; i < 4096; ++i) {
      // all spaces have sRGB's white, so grey stays grey
      ASSERT_NEAR(seen[i], seen[4096 + i], 2e-5) << i;
      ASSERT_NEAR(seen[i], seen[8192 + i], 2e-5) << i;
      if (space != VERA_COLOR_SPACE_ADOBE_RGB) {
        ASSERT_NEAR(seen[i] * 255.0f, picture.rgb[3 * i], 0.01) << space;
      }
    }
  }
}

TEST(Picture, VideoIsAsItIsRendered) {
  const int64_t width = 38, height = 22;
  std::mt19937 random(3);
  std::vector<uint8_t> luma(static_cast<size_t>(width * height)), chroma(width * height / 2);
  for (uint8_t& code : luma) code = static_cast<uint8_t>(random());
  for (uint8_t& code : chroma) code = static_cast<uint8_t>(random());
  vera_frame frame = {};
  frame.struct_size = sizeof(frame);
  frame.format = VERA_PIXEL_FORMAT_NV12;
  frame.width = width;
  frame.height = height;
  frame.planes[0] = luma.data();
  frame.planes[1] = chroma.data();
  frame.row_stride_bytes[0] = frame.row_stride_bytes[1] = width;
  std::vector<uint16_t> whole(static_cast<size_t>(width * height) * 3), scratch;
  vera_frame target = {};
  target.struct_size = sizeof(target);
  target.format = VERA_PIXEL_FORMAT_RGB16;
  target.width = width;
  target.height = height;
  target.planes[0] = whole.data();
  target.row_stride_bytes[0] = width * 6;
  const float curves[6] = {0, 1, 0, 1, 0, 1}, lut[24] = {};
  vera_look look = {};
  look.struct_size = sizeof(look);
  look.curves = curves;
  look.lut = lut;
  look.curve_size = look.lut_size = 2;
  vera_render_options options = {};
  options.struct_size = sizeof(options);
  ASSERT_EQ(vera_render_frame(&look, &frame, &target, &options), VERA_STATUS_OK);
  const Source source(&frame);
  for (int64_t y = 0; y < height; ++y) {
    const uint16_t* row = static_cast<const uint16_t*>(source.Row(y, &scratch));
    ASSERT_TRUE(std::equal(row, row + 3 * width, whole.data() + 3 * width * y)) << y;
  }
}

TEST(Picture, RefusesAndCancels) {
  Picture picture(50, 50);
  const vera_frame frame = picture.Frame(VERA_PIXEL_FORMAT_RGB8, picture.rgb.data(), 150);
  std::vector<float> out(3 * 64 * 64);
  const auto status = [&](const vera_frame* photo, const char* family, int32_t size,
                          vera_color_space space, const int32_t* cancel) {
    vera_error error;
    return vera_prepare_picture(photo, space, family, size, cancel, out.data(), &error);
  };
  EXPECT_EQ(status(&frame, "vera-nano", 64, 0, nullptr), VERA_STATUS_OK);
  EXPECT_EQ(status(&frame, "nano", 64, 0, nullptr), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(status(&frame, "vera-nano", 0, 0, nullptr), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(status(&frame, "vera-nano", 64, 4, nullptr), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(status(nullptr, "vera-nano", 64, 0, nullptr), VERA_STATUS_INVALID_ARGUMENT);
  const int32_t cancel = 1;
  EXPECT_EQ(status(&frame, "vera-nano", 64, 0, &cancel), VERA_STATUS_CANCELLED);
  EXPECT_EQ(status(&frame, "vera-0.5b", 64, 0, &cancel), VERA_STATUS_CANCELLED);
}

}  // namespace
}  // namespace vera
