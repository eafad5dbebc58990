// The .cube reader: text that is nearly right, or the fuzzer's bytes. What is read must be what the
// renderer takes, and must not depend on how the file is cut into portions.
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>

#include "fuzz/input.h"
#include "sdk/cube_reader.h"
#include "sdk/failure.h"

namespace {

constexpr const char* kWords[] = {"TITLE", "LUT_1D_SIZE", "LUT_3D_SIZE", "DOMAIN_MIN", "DOMAIN_MAX",
                                  "LUT_1D_INPUT_RANGE", "LUT_3D_INPUT_RANGE", "#", "\"a\"", "\"",
                                  "0", "1", "2", "3", ".5", "-1.25e-3", "1e308", "-1e308", "65504",
                                  "4096", "65536", "129", "1e-400", "\xC2\xA0",
                                  "\xEF\xBB\xBF", "\xFF"};
constexpr int kWordCount = sizeof(kWords) / sizeof(kWords[0]);

std::string AnyLine(vera::Input* input) {
  std::string line;
  for (int64_t words = input->Between(0, 5); words > 0; --words) {
    line += kWords[input->Between(0, kWordCount - 1)];
    line += input->Rarely(8) ? "\t" : " ";
  }
  return line;
}

std::string Number(vera::Input* input) {
  if (input->Rarely(16)) return kWords[input->Between(0, kWordCount - 1)];
  return std::to_string(input->Take<int16_t>() / 4096.0);
}

// A file of small tables with a few lines changed.
std::string NearlyRight(vera::Input* input) {
  const int64_t curve = input->Between(0, 3), lut = input->Between(0, 3);
  std::string text;
  for (int64_t lines = input->Between(0, 2); lines > 0; --lines) text += AnyLine(input) + "\n";
  if (curve > 1) text += "LUT_1D_SIZE " + std::to_string(curve) + "\n";
  if (lut > 1) text += "LUT_3D_SIZE " + std::to_string(lut) + "\r\n";
  if (input->Rarely(3)) text += "LUT_1D_INPUT_RANGE " + Number(input) + " " + Number(input) + "\n";
  if (input->Rarely(3)) text += "LUT_3D_INPUT_RANGE " + Number(input) + " " + Number(input) + "\r";
  if (input->Rarely(3)) text += "DOMAIN_MAX 2 " + Number(input) + " 1\n";
  const int64_t rows = (curve > 1 ? curve : 0) + (lut > 1 ? lut * lut * lut : 0);
  for (int64_t i = 0; i < rows; ++i) {
    text += Number(input) + " " + Number(input) + " " + Number(input) + "\n";
  }
  if (input->Rarely(8)) text += AnyLine(input);
  return text;
}

std::optional<vera::Cube> Read(const std::string& text, size_t portion) {
  vera::CubeReader reader("line ");
  try {
    for (size_t at = 0; at < text.size(); at += portion) reader.Feed(text.substr(at, portion));
    return reader.Finish();
  } catch (const vera::Failure& failure) {
    if (failure.status != VERA_STATUS_FILE_ERROR || failure.message.empty()) std::abort();
    return std::nullopt;
  }
}

void Check(const vera::Cube& cube) {
  const size_t side = static_cast<size_t>(cube.lut_size);
  if (cube.lut_size < 2 || cube.lut_size > 129 || cube.curve_size < 2 || cube.curve_size > 4096 ||
      cube.lut.size() != 3 * side * side * side ||
      cube.curves.size() != 3 * static_cast<size_t>(cube.curve_size)) {
    std::abort();
  }
  for (const float value : cube.lut) {
    if (!(std::abs(value) <= 65504.0f)) std::abort();
  }
  for (const float value : cube.curves) {
    if (!(value >= 0.0f && value <= 1.0f)) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vera::Input input(data, size);
  const size_t portion = static_cast<size_t>(input.Between(1, 40));
  const bool nearly = input.Take<uint8_t>() % 2 == 0;
  const std::string raw(reinterpret_cast<const char*>(input.data()), input.size());
  const std::string text = nearly ? NearlyRight(&input) : raw;
  const std::optional<vera::Cube> whole = Read(text, text.size() + 1);
  const std::optional<vera::Cube> cut = Read(text, portion);
  if (whole.has_value() != cut.has_value()) std::abort();
  if (!whole) return 0;
  Check(*whole);
  if (whole->title != cut->title || whole->curves != cut->curves || whole->lut != cut->lut) {
    std::abort();
  }
  return 0;
}
