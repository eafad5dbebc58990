#include "sdk/cube_reader.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "sdk/failure.h"
#include "sdk/unicode.h"

namespace vera {
namespace {

constexpr int32_t kMinSize = 2, kMaxSize = 129, kMaxCurveSize = 65536;
constexpr size_t kMaxLine = 1024;                     // characters with the line's end
constexpr int64_t kMaxFileBytes = int64_t{512} << 20;  // 129^3 lines of 240 bytes
constexpr int32_t kMaxRenderedCurve = 4096;           // of vera_baked_look
constexpr double kMaxNode = 65504.0;                  // of vera_baked_look
constexpr size_t kPortionBytes = size_t{1} << 16;
constexpr int64_t kHugePower = 100000;  // beyond all that a line of digits can make up for
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool IsBlank(char32_t c) {
  return c < 128 ? c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31) : IsStripped(c);
}

bool IsDecimal(char32_t c) { return c >= '0' && c <= '9'; }

std::u32string_view Trimmed(std::u32string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

// The first word; `text` becomes what stands behind it.
std::u32string_view TakeWord(std::u32string_view* text) {
  size_t end = 0;
  while (end < text->size() && !IsBlank((*text)[end])) ++end;
  const std::u32string_view word = text->substr(0, end);
  *text = Trimmed(text->substr(end));
  return word;
}

std::vector<std::u32string_view> Words(std::u32string_view text) {
  std::vector<std::u32string_view> words;
  while (!text.empty()) words.push_back(TakeWord(&text));
  return words;
}

std::string Shown(std::u32string_view text) { return Quoted(EncodeUtf8(std::u32string(text))); }

// Moves `at` behind digits, which are appended; how many.
size_t TakeDigits(std::u32string_view word, size_t* at, std::string* digits) {
  const size_t first = *at;
  for (; *at < word.size() && IsDecimal(word[*at]); ++*at) {
    digits->push_back(static_cast<char>(word[*at]));
  }
  return *at - first;
}

// [+-]? (digits [. digits] | . digits) ([eE] [+-]? digits)?, rounded to the nearest double. strtod
// is given whole numbers and a power of ten: the point is what it reads by the locale.
bool ParseNumber(std::u32string_view word, double* value) {
  std::string number;
  size_t at = 0;
  const auto sign = [&](std::string* to) {
    if (at < word.size() && (word[at] == '+' || word[at] == '-')) {
      to->push_back(static_cast<char>(word[at++]));
    }
  };
  sign(&number);
  size_t count = TakeDigits(word, &at, &number), decimals = 0;
  if (at < word.size() && word[at] == '.') {
    ++at;
    decimals = TakeDigits(word, &at, &number);
  }
  if (count + decimals == 0) return false;
  int64_t power = 0;
  if (at < word.size() && (word[at] == 'e' || word[at] == 'E')) {
    ++at;
    std::string direction, digits;
    sign(&direction);
    if (TakeDigits(word, &at, &digits) == 0) return false;
    for (const char digit : digits) power = std::min(power * 10 + (digit - '0'), kHugePower);
    if (direction == "-") power = -power;
  }
  if (at != word.size()) return false;
  number += 'e' + std::to_string(power - static_cast<int64_t>(decimals));
  *value = std::strtod(number.c_str(), nullptr);
  return true;
}

// numpy.linspace, to the bit.
std::vector<double> Spread(double low, double high, int32_t count) {
  const double width = high - low, steps = count - 1, step = width / steps;
  std::vector<double> out(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) {
    out[static_cast<size_t>(i)] = (step == 0.0 ? i / steps * width : i * step) + low;
  }
  out.back() = high;
  return out;
}

// numpy.interp, to the bit: linear between the entries, the first and the last one outside.
double Interpolated(double x, const std::vector<double>& places, const std::vector<Triple>& curve,
                    size_t channel) {
  if (x < places.front()) return curve.front()[channel];
  const auto above = std::upper_bound(places.begin(), places.end(), x);
  const size_t j = static_cast<size_t>(above - places.begin()) - 1;
  const double low = curve[j][channel];
  if (above == places.end() || places[j] == x) return low;
  return (curve[j + 1][channel] - low) / (places[j + 1] - places[j]) * (x - places[j]) + low;
}

struct Closer {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

void CubeReader::Refuse(const std::string& message) const {
  Fail(VERA_STATUS_FILE_ERROR, name_ + std::to_string(line_number_) + ": " + message);
}

size_t CubeReader::Needed() const {
  const size_t side = static_cast<size_t>(lut_size_);
  return static_cast<size_t>(curve_size_) + side * side * side;
}

void CubeReader::Feed(std::string_view bytes) {
  bytes_ += static_cast<int64_t>(bytes.size());
  if (bytes_ > kMaxFileBytes) Refuse("the file has more than 512 MiB; this is no .cube file.");
  for (const char c : bytes) {
    const bool second_of_pair = c == '\n' && after_return_;
    after_return_ = c == '\r';
    if (second_of_pair) continue;
    if (c == '\n' || c == '\r') {
      EndLine(true);
      continue;
    }
    line_.push_back(c);
    // a character has up to four bytes
    if (line_.size() > 4 * kMaxLine + kByteOrderMark.size()) EndLine(false);
  }
}

void CubeReader::EndLine(bool has_end) {
  std::string_view raw = line_;
  if (line_number_ == 0 && raw.substr(0, kByteOrderMark.size()) == kByteOrderMark) {
    raw.remove_prefix(kByteOrderMark.size());
  }
  if (raw.empty() && !has_end) return;
  ++line_number_;
  std::u32string characters;
  DecodeUtf8(LossyUtf8(raw), &characters);
  if (characters.size() + (has_end ? 1 : 0) > kMaxLine) {
    Refuse("a line is longer than 1024 characters; this is not a .cube file.");
  }
  const std::u32string_view text = Trimmed(characters);
  if (!text.empty() && text[0] != '#') {
    const char32_t small = text[0] | 0x20;
    small >= 'a' && small <= 'z' ? Keyword(text) : Entry(text);
  }
  line_.clear();
}

void CubeReader::Numbers(std::u32string_view text, size_t count, double* values) const {
  const std::vector<std::u32string_view> words = Words(text);
  if (words.size() != count) {
    Refuse(std::to_string(words.size()) + " values where " + std::to_string(count) +
           " are expected.");
  }
  for (size_t i = 0; i < count; ++i) {
    if (!ParseNumber(words[i], &values[i])) {
      Refuse(Shown(words[i]) + " is not a finite decimal number.");
    }
    if (!std::isfinite(values[i])) Refuse("a value is too large; all must be finite.");
  }
}

int32_t CubeReader::Size(const char* name, std::u32string_view text, int32_t most) const {
  if (text.empty() || text.size() > 6 || !std::all_of(text.begin(), text.end(), IsDecimal)) {
    Refuse(std::string(name) + " needs one whole number, got " + Shown(text) + ".");
  }
  int32_t size = 0;
  for (const char32_t digit : text) size = size * 10 + static_cast<int32_t>(digit - '0');
  if (size < kMinSize || size > most) {
    Refuse("LUT size " + std::to_string(size) + " not allowed: use 2.." + std::to_string(most) +
           ".");
  }
  return size;
}

void CubeReader::Keyword(std::u32string_view text) {
  std::u32string_view rest = text;
  const std::u32string_view word = TakeWord(&rest);
  const std::string name = EncodeUtf8(std::u32string(word));
  if (!curve_.empty() || !lut_.empty()) {
    Refuse(Quoted(name) + " after the first table entry; keywords belong before it.");
  }
  const auto two = [&](std::optional<std::array<double, 2>>* to) {
    Numbers(rest, 2, to->emplace().data());
  };
  if (seen_.count(name) != 0) Refuse(name + " is given twice.");
  if (name == "TITLE") {
    const bool quoted = rest.size() >= 2 && rest.front() == '"' && rest.back() == '"';
    const std::u32string inner(quoted ? rest.substr(1, rest.size() - 2) : rest);
    if (!quoted || inner.find(U'"') != std::u32string::npos) {
      Refuse("TITLE needs a text in double quotes.");
    }
    title_ = EncodeUtf8(inner);
  } else if (name == "LUT_1D_SIZE") {
    curve_size_ = Size("LUT_1D_SIZE", rest, kMaxCurveSize);
  } else if (name == "LUT_3D_SIZE") {
    lut_size_ = Size("LUT_3D_SIZE", rest, kMaxSize);
  } else if (name == "DOMAIN_MIN") {
    Numbers(rest, 3, domain_min_.emplace().data());
  } else if (name == "DOMAIN_MAX") {
    Numbers(rest, 3, domain_max_.emplace().data());
  } else if (name == "LUT_1D_INPUT_RANGE") {
    two(&curve_range_);
  } else if (name == "LUT_3D_INPUT_RANGE") {
    two(&lut_range_);
  } else {
    Refuse("unknown keyword " + Quoted(name) + "; known: TITLE, LUT_1D_SIZE, LUT_3D_SIZE, "
           "DOMAIN_MIN, DOMAIN_MAX, LUT_1D_INPUT_RANGE, LUT_3D_INPUT_RANGE.");
  }
  seen_.insert(name);
}

void CubeReader::Entry(std::u32string_view text) {
  const size_t needed = Needed();
  if (needed == 0) Refuse("a table entry before LUT_3D_SIZE.");
  if (curve_.size() + lut_.size() / 3 == needed) {
    Refuse("more than the " + std::to_string(needed) + " entries that the sizes ask for.");
  }
  Triple values;
  Numbers(text, 3, values.data());
  if (curve_.size() < static_cast<size_t>(curve_size_)) {
    curve_.push_back(values);
    return;
  }
  for (const double value : values) {
    if (std::abs(value) > kMaxNode) Refuse("a value of the 3-D table is outside of -65504..65504.");
    lut_.push_back(static_cast<float>(value));
  }
}

CubeReader::Range CubeReader::RangeOf(const std::optional<std::array<double, 2>>& own) const {
  const auto [low, high] = own.value_or(std::array<double, 2>{0.0, 1.0});
  const Range range = {domain_min_.value_or(Triple{low, low, low}),
                       domain_max_.value_or(Triple{high, high, high})};
  for (size_t c = 0; c < 3; ++c) {
    if (!(range.first[c] < range.last[c])) {
      Refuse("the low end of the domain must be below its high end.");
    }
    if (!std::isfinite(range.last[c] - range.first[c])) Refuse("the domain is too wide.");
  }
  return range;
}

Cube CubeReader::Finish() {
  EndLine(false);
  const size_t needed = Needed(), found = curve_.size() + lut_.size() / 3;
  if (needed == 0) Refuse("the file ends without LUT_3D_SIZE.");
  if (found != needed) {
    Refuse("the file ends after " + std::to_string(found) + " of " + std::to_string(needed) +
           " entries.");
  }
  if (lut_size_ != 0 && curve_size_ != 0 && (domain_min_ || domain_max_)) {
    Refuse("DOMAIN_MIN and DOMAIN_MAX are for files of one table; a file of two has "
           "LUT_1D_INPUT_RANGE and LUT_3D_INPUT_RANGE.");
  }
  constexpr Triple kZeros = {0, 0, 0}, kOnes = {1, 1, 1};
  const Range unit = {kZeros, kOnes};
  const Range nodes = lut_size_ == 0 ? unit : RangeOf(lut_range_);
  const Range input = curve_size_ == 0 ? nodes : RangeOf(curve_range_);
  const int32_t size = curve_size_ == 0 ? 2 : curve_size_;
  const bool keeps = size <= kMaxRenderedCurve && input.first == kZeros && input.last == kOnes;

  Cube cube;
  cube.title = title_;
  cube.curve_size = keeps ? size : kMaxRenderedCurve;
  const std::vector<double> x = Spread(0.0, 1.0, cube.curve_size);
  for (size_t c = 0; c < 3; ++c) {
    const std::vector<double> places = Spread(input.first[c], input.last[c], size);
    for (const double at : x) {
      const double value = curve_.empty() ? at : Interpolated(at, places, curve_, c);
      const double inside = (value - nodes.first[c]) / (nodes.last[c] - nodes.first[c]);
      cube.curves.push_back(static_cast<float>(inside > 0.0 ? std::min(inside, 1.0) : 0.0));
    }
  }
  cube.lut_size = lut_size_ == 0 ? 2 : lut_size_;
  cube.lut = std::move(lut_);
  for (int i = 0; lut_size_ == 0 && i < 8; ++i) {
    for (int c = 0; c < 3; ++c) cube.lut.push_back(static_cast<float>(i >> c & 1));
  }
  return cube;
}

Cube ReadCube(const std::string& path) {
  const auto unreadable = [&] {
    Fail(VERA_STATUS_FILE_ERROR, "Cannot read " + path + ": " +
                                     std::generic_category().message(errno) + ". Check the path.");
  };
  const std::unique_ptr<std::FILE, Closer> file(
      std::fopen(std::filesystem::u8path(path).string().c_str(), "rb"));
  if (file == nullptr) unreadable();
  CubeReader reader(path + ":");
  std::vector<char> portion(kPortionBytes);
  while (const size_t count = std::fread(portion.data(), 1, portion.size(), file.get())) {
    reader.Feed({portion.data(), count});
  }
  if (std::ferror(file.get()) != 0) unreadable();
  return reader.Finish();
}

}  // namespace vera
