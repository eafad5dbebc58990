// The .cube reader by itself and through the C ABI; tests/sdk/test_core_cube.py compares it with
// Python's.
#include <gtest/gtest.h>

#include <clocale>
#include <filesystem>
#include <string>
#include <vector>

#include "sdk/cube.h"
#include "sdk/cube_reader.h"
#include "sdk/failure.h"
#include "vera/retoucher.h"

namespace vera {
namespace {

const std::string kHead = "LUT_3D_SIZE 2\n";
const std::string kRows = "0 0 0\n1 0 0\n0 1 0\n1 1 0\n0 0 1\n1 0 1\n0 1 1\n1 1 1\n";
const std::vector<float> kIdentity = {0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0,
                                      0, 0, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1};

Cube Read(const std::string& text, size_t portion = 0) {
  CubeReader reader("line ");
  if (portion == 0) portion = text.size() + 1;
  for (size_t at = 0; at < text.size(); at += portion) reader.Feed(text.substr(at, portion));
  return reader.Finish();
}

// The message of the refusal, "" where the text is read.
std::string Refusal(const std::string& text) {
  try {
    Read(text);
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status, VERA_STATUS_FILE_ERROR);
    return failure.message;
  }
  return "";
}

TEST(CubeReader, StyleOfOtherPrograms) {
  const std::string text =
      "\xEF\xBB\xBF# Resolve\r\n\r\n TITLE\t\"x # y\"\r\nLUT_3D_INPUT_RANGE 0 2.0\r" + kHead +
      "#c\n.0 0. +0\n1e0\t 0 0\n0 10E-1 0\n1 1 0\n0 0 1\n1 0 1\n0 1 1\n1.000 1 1";
  for (const size_t portion : {size_t{0}, size_t{1}, size_t{3}}) {
    const Cube cube = Read(text, portion);
    EXPECT_EQ(cube.title, "x # y");
    EXPECT_EQ(cube.lut_size, 2);
    EXPECT_EQ(cube.lut, kIdentity);
    EXPECT_EQ(cube.curve_size, 4096);
    EXPECT_EQ(cube.curves[4095], 0.5f);  // 1 in a domain of 0..2
  }
}

TEST(CubeReader, WhatIsWrittenReadsBack) {
  std::vector<float> lut;
  for (int i = 0; i < 3 * 17 * 17 * 17; ++i) lut.push_back(static_cast<float>(i % 1009) / 1009.0f);
  const Cube cube = Read(CubeText(lut, 17, "airy"));
  EXPECT_EQ(cube.title, "airy");
  ASSERT_EQ(cube.lut.size(), lut.size());
  // half a unit of the ninth decimal, and of the float
  for (size_t i = 0; i < lut.size(); ++i) ASSERT_NEAR(cube.lut[i], lut[i], 5.1e-10 + 6e-8 * lut[i]);
  EXPECT_EQ(cube.curves, (std::vector<float>{0, 1, 0, 1, 0, 1}));
}

TEST(CubeReader, OneDimensionalTablesBecomeCurves) {
  const Cube cube = Read("LUT_1D_SIZE 3\n0 -1 .25\n.5 .4 .3\n1 2 1\n");
  EXPECT_EQ(cube.curves, (std::vector<float>{0, 0.5f, 1, 0, 0.4f, 1, 0.25f, 0.3f, 1}));
  EXPECT_EQ(cube.lut, kIdentity);
  // the shaper's results are placed in the domain of the LUT
  const Cube both =
      Read("LUT_1D_SIZE 2\n" + kHead + "LUT_3D_INPUT_RANGE 0 2\n0 0 0\n1 2 4\n" + kRows);
  EXPECT_EQ(both.curves, (std::vector<float>{0, 0.5f, 0, 1, 0, 1}));
}

TEST(CubeReader, TheLongestCurveIsRead) {
  std::string text = "LUT_1D_SIZE 65536\n";
  for (int i = 0; i < 65536; ++i) text += "0 1 0\n";
  const Cube cube = Read(text);
  EXPECT_EQ(cube.curve_size, 4096);
  EXPECT_EQ(cube.curves[4096], 1.0f);
}

TEST(CubeReader, FaultsNameTheLine) {
  const std::string almost = kRows.substr(0, kRows.size() - 6);
  const struct {
    std::string text;
    int line;
    std::string message;
  } faults[] = {
      {"", 0, "without LUT_3D_SIZE"},
      {"0 0 0\n", 1, "before LUT_3D_SIZE"},
      {kHead + almost, 8, "after 7 of 8 entries"},
      {kHead + kRows + "0 0 0\n", 10, "more than the 8 entries"},
      {kHead + "0 0\n", 2, "2 values where 3"},
      {kHead + "0 0 nan\n", 2, "'nan' is not a finite"},
      {kHead + "0 -inf 0\n", 2, "'-inf' is not a finite"},
      {kHead + "0 0x1 0\n", 2, "'0x1' is not a finite"},
      {kHead + "0 0 1e\n", 2, "'1e' is not a finite"},
      {kHead + "0 0 .\n", 2, "'.' is not a finite"},
      {kHead + "0 0 1e999\n", 2, "too large"},
      {kHead + "0 0 65505\n", 2, "outside of -65504..65504"},
      {kHead + "0 0 1_0\n", 2, "'1_0' is not a finite"},
      {kHead + "0,0 0 0\n", 2, "'0,0' is not a finite"},
      {kHead + "# c\n" + kHead, 3, "given twice"},
      {kHead + kRows + "TITLE \"late\"\n", 10, "after the first table entry"},
      {"LUT_3D_SIZE 1\n", 1, "LUT size 1 not allowed: use 2..129"},
      {"LUT_3D_SIZE 130\n", 1, "LUT size 130 not allowed: use 2..129"},
      {"LUT_3D_SIZE 2.5\n", 1, "one whole number"},
      {"LUT_3D_SIZE 9999999999\n", 1, "one whole number"},
      {"LUT_1D_SIZE 65537\n", 1, "use 2..65536"},
      {"TITLE airy\n", 1, "double quotes"},
      {"TITLE \"a\" \"b\"\n", 1, "double quotes"},
      {"GAMMA 2\n", 1, "unknown keyword 'GAMMA'"},
      {kHead + "DOMAIN_MIN 0 0\n", 2, "2 values where 3"},
      {kHead + "DOMAIN_MAX 1 0 1\n" + kRows, 10, "must be below"},
      {kHead + "DOMAIN_MIN -1e308 0 0\nDOMAIN_MAX 1e308 1 1\n" + kRows, 11, "too wide"},
      {"LUT_1D_SIZE 2\n" + kHead + "DOMAIN_MIN 0 0 0\n0 0 0\n1 1 1\n" + kRows, 13, "of one table"},
      {"LUT_3D_SIZE 129\n", 1, "after 0 of 2146689 entries"},
      {std::string(5000, 'x'), 1, "not a .cube file"},
      {std::string(1024, '#') + "\n", 1, "not a .cube file"},
  };
  for (const auto& fault : faults) {
    const std::string message = Refusal(fault.text);
    EXPECT_EQ(message.rfind("line " + std::to_string(fault.line) + ": ", 0), 0u) << message;
    EXPECT_NE(message.find(fault.message), std::string::npos) << message;
  }
  EXPECT_EQ(Refusal(std::string(1023, '#') + "\n" + kHead + kRows), "");
}

TEST(CubeReader, MemoryGrowsWithTheFile) {
  CubeReader reader("");
  reader.Feed("LUT_1D_SIZE 65536\nLUT_3D_SIZE 129\n");
  EXPECT_THROW(reader.Finish(), Failure);
}

TEST(CubeReader, NumbersDoNotDependOnTheLocale) {
  const char* const before = std::setlocale(LC_NUMERIC, "de_DE.UTF-8");  // where it is installed
  EXPECT_EQ(Read("LUT_1D_SIZE 2\n0.25 .5 2.5e-1\n1 1 1\n").curves[0], 0.25f);
  if (before != nullptr) std::setlocale(LC_NUMERIC, "C");
}

TEST(CubeAbi, OpensAFileForTheRenderer) {
  const auto path = std::filesystem::temp_directory_path() / "vera-cube-test.cube";
  WriteFile(path.string(), "TITLE \"swap\"\n" + kHead +
                               "0 0 0\n0 0 1\n0 1 0\n0 1 1\n1 0 0\n1 0 1\n1 1 0\n1 1 1\n");
  vera_cube* cube = nullptr;
  vera_error error;
  ASSERT_EQ(vera_cube_open(path.string().c_str(), &cube, &error), VERA_STATUS_OK) << error.message;
  std::filesystem::remove(path);
  EXPECT_STREQ(vera_cube_title(cube), "swap");
  uint8_t pixels[] = {10, 20, 30, 200, 100, 0};
  vera_image image = {pixels, 2, 1, 6, VERA_PIXEL_FORMAT_RGB8};
  vera_render_options options = {};
  options.struct_size = sizeof(options);
  options.strength = 1.0f;
  ASSERT_EQ(vera_render(vera_cube_look(cube), &image, &image, &options), VERA_STATUS_OK);
  const std::vector<uint8_t> swapped = {30, 20, 10, 0, 100, 200};
  EXPECT_EQ(std::vector<uint8_t>(pixels, pixels + 6), swapped);
  vera_cube_close(cube);
}

TEST(CubeAbi, RefusesAndSaysWhy) {
  vera_cube* cube = nullptr;
  vera_error error;
  EXPECT_EQ(vera_cube_open("/none/a.cube", &cube, &error), VERA_STATUS_FILE_ERROR);
  EXPECT_EQ(std::string(error.message).rfind("Cannot read /none/a.cube: ", 0), 0u) << error.message;
  EXPECT_EQ(vera_cube_open(std::filesystem::temp_directory_path().string().c_str(), &cube, &error),
            VERA_STATUS_FILE_ERROR);
  EXPECT_EQ(vera_cube_parse("x", 1, &cube, &error), VERA_STATUS_FILE_ERROR);
  EXPECT_EQ(cube, nullptr);
  EXPECT_EQ(vera_cube_parse(nullptr, 1, &cube, &error), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(vera_cube_parse(nullptr, 0, &cube, &error), VERA_STATUS_FILE_ERROR);
  EXPECT_EQ(vera_cube_open(nullptr, &cube, nullptr), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(vera_cube_open("a", nullptr, nullptr), VERA_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(vera_cube_look(nullptr), nullptr);
  EXPECT_STREQ(vera_cube_title(nullptr), "");
  vera_cube_close(nullptr);
}

}  // namespace
}  // namespace vera
