#include "sdk/cube.h"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <random>
#include <system_error>

#include "sdk/failure.h"

namespace vera {
namespace {

namespace fs = std::filesystem;

std::string Temporary() {
  std::random_device random;
  char digits[24];
  std::snprintf(digits, sizeof(digits), "%08x%08x", static_cast<unsigned>(random()),
                static_cast<unsigned>(random()));
  return ".vera-" + std::string(digits) + ".part";
}

bool Store(const fs::path& path, const std::string& content) {
  std::FILE* file = std::fopen(path.string().c_str(), "wbx");
  if (file == nullptr) return false;
  const bool written = std::fwrite(content.data(), 1, content.size(), file) == content.size();
  return std::fclose(file) == 0 && written;
}

}  // namespace

void AppendNineDecimals(float value, std::string* text) {
  constexpr uint64_t kUnit = 1000000000;
  int power = 0;
  const double fraction = std::frexp(static_cast<double>(value), &power);
  // value = bits 2^(power - 24), exactly; times 10^9 it stays below 2^54
  const uint64_t scaled = static_cast<uint64_t>(std::ldexp(fraction, 24)) * kUnit;
  const int shift = 24 - power;
  uint64_t whole = shift >= 64 ? 0 : scaled >> shift;
  if (shift > 0 && shift < 64) {
    const uint64_t rest = scaled & ((uint64_t{1} << shift) - 1), half = uint64_t{1} << (shift - 1);
    if (rest > half || (rest == half && whole % 2 == 1)) ++whole;
  }
  char digits[11];
  uint64_t left = whole;
  for (int i = 10; i >= 0; --i) {
    if (i == 1) {
      digits[i] = '.';
      continue;
    }
    digits[i] = static_cast<char>('0' + left % 10);
    left /= 10;
  }
  text->append(digits, 11);
}

std::string CubeText(const std::vector<float>& lut, int32_t size, const std::string& title) {
  std::string text = "TITLE \"" + title + "\"\nLUT_3D_SIZE " + std::to_string(size) +
                     "\nDOMAIN_MIN 0.0 0.0 0.0\nDOMAIN_MAX 1.0 1.0 1.0\n";
  text.reserve(text.size() + lut.size() * 12);
  for (size_t i = 0; i < lut.size(); ++i) {
    AppendNineDecimals(lut[i], &text);
    text += i % 3 == 2 ? '\n' : ' ';
  }
  return text;
}

void WriteFile(const std::string& path, const std::string& content) {
  const fs::path target = fs::u8path(path);
  std::error_code error;
  if (fs::is_directory(target, error)) {
    Fail(VERA_STATUS_FILE_ERROR, "Cannot write " + path + ": it is a folder. Give a file's name.");
  }
  const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
  if (!fs::is_directory(folder, error)) {
    Fail(VERA_STATUS_FILE_ERROR, "Cannot write " + path + ": the folder does not exist. Create it.");
  }
  const fs::path part = folder / Temporary();
  const bool stored = Store(part, content);
  if (stored) fs::rename(part, target, error);
  if (!stored || error) {
    std::error_code ignored;
    fs::remove(part, ignored);
    Fail(VERA_STATUS_FILE_ERROR,
         "Cannot write " + path + ": check free space and permissions of its folder.");
  }
}

}  // namespace vera
