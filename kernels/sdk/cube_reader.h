// Reads .cube files (Adobe, "Cube LUT Specification 1.0", and the shaper of DaVinci Resolve) as
// Python's read_cube does, for vera_render. What is read is never trusted.
#ifndef VERA_SDK_CUBE_READER_H_
#define VERA_SDK_CUBE_READER_H_

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace vera {

using Triple = std::array<double, 3>;

// A look in the form of vera_baked_look.
struct Cube {
  std::string title;
  int32_t curve_size = 0;
  std::vector<float> curves;  // (3, curve_size) in [0, 1]: domain, and the 1-D table if there is one
  int32_t lut_size = 0;
  std::vector<float> lut;  // (lut_size^3, 3), red fastest; without a 3-D table the identity, size 2
};

// Takes a file in portions of any length. Memory grows with what was read, not with what is
// announced. Every fault is a Failure of VERA_STATUS_FILE_ERROR that names the line.
class CubeReader {
 public:
  // name: what messages begin with, "path:" or ""
  explicit CubeReader(std::string name) : name_(std::move(name)) {}

  void Feed(std::string_view bytes);

  // After the last portion; once.
  Cube Finish();

 private:
  struct Range {
    Triple first, last;
  };

  [[noreturn]] void Refuse(const std::string& message) const;
  void EndLine(bool has_end);
  void Keyword(std::u32string_view text);
  void Entry(std::u32string_view text);
  void Numbers(std::u32string_view text, size_t count, double* values) const;
  int32_t Size(const char* name, std::u32string_view text, int32_t most) const;
  Range RangeOf(const std::optional<std::array<double, 2>>& own) const;
  size_t Needed() const;

  std::string name_;
  std::string line_;
  bool after_return_ = false;
  int64_t line_number_ = 0, bytes_ = 0;
  std::set<std::string> seen_;
  std::string title_;
  int32_t curve_size_ = 0, lut_size_ = 0;
  std::optional<Triple> domain_min_, domain_max_;
  std::optional<std::array<double, 2>> curve_range_, lut_range_;
  std::vector<Triple> curve_;
  std::vector<float> lut_;
};

// The file at `path`, UTF-8. FILE_ERROR also where it cannot be read.
Cube ReadCube(const std::string& path);

}  // namespace vera

#endif  // VERA_SDK_CUBE_READER_H_
