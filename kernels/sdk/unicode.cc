#include "sdk/unicode.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>

#include "sdk/unicode_tables.h"

namespace vera {
namespace {

// The entry of a sorted table whose range holds c, or nullptr.
template <typename Entry, size_t kCount>
const Entry* RangeOf(const Entry (&table)[kCount], char32_t c) {
  const Entry* found = std::upper_bound(
      std::begin(table), std::end(table), c,
      [](char32_t code, const Entry& entry) { return code < entry.first; });
  if (found == std::begin(table)) return nullptr;
  --found;
  return c <= found->last ? found : nullptr;
}

// Bytes of the character at the beginning of `bytes` in *size, and its code; 0 bytes for one that
// is wrong, *size is then what belongs together.
bool ReadCharacter(std::string_view bytes, char32_t* code, size_t* size) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned first = at(0);
  *size = 1;
  if (first < 0x80) {
    *code = first;
    return true;
  }
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return false;
  char32_t value = first & (0x7Fu >> length);
  for (; *size < length; ++*size) {
    if (*size == bytes.size()) return false;
    const unsigned next = at(*size);
    unsigned low = 0x80, high = 0xBF;
    if (*size == 1) {
      if (first == 0xE0) low = 0xA0;
      if (first == 0xED) high = 0x9F;
      if (first == 0xF0) low = 0x90;
      if (first == 0xF4) high = 0x8F;
    }
    if (next < low || next > high) return false;
    value = value << 6 | (next & 0x3F);
  }
  *code = value;
  return true;
}

constexpr char32_t kReplacement = 0xFFFD;
constexpr char32_t kCapitalSigma = 0x3A3, kSmallSigma = 0x3C3, kFinalSigma = 0x3C2;
constexpr char32_t kCapitalDottedI = 0x130, kDotAbove = 0x307;

// Whether a capital sigma at `at` ends a word: behind a letter with case, and none follows.
bool EndsWord(const std::u32string& text, size_t at) {
  size_t before = at;
  while (before > 0 && RangeOf(kCaseIgnored, text[before - 1]) != nullptr) --before;
  if (before == 0 || RangeOf(kCased, text[before - 1]) == nullptr) return false;
  size_t after = at + 1;
  while (after < text.size() && RangeOf(kCaseIgnored, text[after]) != nullptr) ++after;
  return after == text.size() || RangeOf(kCased, text[after]) == nullptr;
}

constexpr char32_t kHangulBase = 0xAC00, kLeadBase = 0x1100, kVowelBase = 0x1161,
                   kTrailBase = 0x11A7;
constexpr char32_t kLeads = 19, kVowels = 21, kTrails = 28;
constexpr char32_t kSyllables = kLeads * kVowels * kTrails;

void AppendDecomposed(char32_t c, std::u32string* out) {
  if (c - kHangulBase < kSyllables) {
    const char32_t index = c - kHangulBase;
    out->push_back(kLeadBase + index / (kVowels * kTrails));
    out->push_back(kVowelBase + index / kTrails % kVowels);
    if (index % kTrails != 0) out->push_back(kTrailBase + index % kTrails);
    return;
  }
  const auto* found = std::lower_bound(
      std::begin(kDecompositions), std::end(kDecompositions), c,
      [](const Decomposition& entry, char32_t code) { return entry.code < code; });
  if (found == std::end(kDecompositions) || found->code != c) {
    out->push_back(c);
    return;
  }
  const uint32_t* parts = kDecomposed + found->begin;
  out->append(parts, parts + found->size);
}

int ClassOf(char32_t c) {
  const ClassRange* found = c < 0x300 ? nullptr : RangeOf(kClasses, c);
  return found == nullptr ? 0 : found->order;
}

// 0 where the pair is not put together.
char32_t Composed(char32_t first, char32_t second) {
  if (first - kLeadBase < kLeads && second - kVowelBase < kVowels) {
    return kHangulBase + ((first - kLeadBase) * kVowels + second - kVowelBase) * kTrails;
  }
  const bool is_syllable = first - kHangulBase < kSyllables;
  if (is_syllable && (first - kHangulBase) % kTrails == 0 && second - kTrailBase - 1 < kTrails - 1) {
    return first + second - kTrailBase;
  }
  const std::array<char32_t, 2> pair = {first, second};
  const auto* found =
      std::lower_bound(std::begin(kCompositions), std::end(kCompositions), pair,
                       [](const Composition& entry, const std::array<char32_t, 2>& wanted) {
                         return std::array<char32_t, 2>{entry.first, entry.second} < wanted;
                       });
  const bool matches = found != std::end(kCompositions) && found->first == first &&
                       found->second == second;
  return matches ? found->whole : 0;
}

// Marks behind each other in ascending order of their classes; equal ones keep their order.
void OrderMarks(std::u32string* text) {
  size_t begin = 0;
  while (begin < text->size()) {
    if (ClassOf((*text)[begin]) == 0) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < text->size() && ClassOf((*text)[end]) != 0) ++end;
    std::stable_sort(text->begin() + static_cast<ptrdiff_t>(begin),
                     text->begin() + static_cast<ptrdiff_t>(end),
                     [](char32_t a, char32_t b) { return ClassOf(a) < ClassOf(b); });
    begin = end;
  }
}

}  // namespace

bool DecodeUtf8(std::string_view text, std::u32string* out) {
  while (!text.empty()) {
    char32_t code = 0;
    size_t size = 0;
    if (!ReadCharacter(text, &code, &size)) return false;
    out->push_back(code);
    text.remove_prefix(size);
  }
  return true;
}

void AppendUtf8(char32_t c, std::string* out) {
  const auto add = [&](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xC0 | c >> 6);
    add(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    add(0xE0 | c >> 12);
    add(0x80 | (c >> 6 & 0x3F));
    add(0x80 | (c & 0x3F));
  } else {
    add(0xF0 | c >> 18);
    add(0x80 | (c >> 12 & 0x3F));
    add(0x80 | (c >> 6 & 0x3F));
    add(0x80 | (c & 0x3F));
  }
}

std::string EncodeUtf8(const std::u32string& text) {
  std::string out;
  for (const char32_t c : text) AppendUtf8(c, &out);
  return out;
}

std::string LossyUtf8(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    char32_t code = 0;
    size_t size = 0;
    if (ReadCharacter(bytes, &code, &size)) {
      out.append(bytes.substr(0, size));
    } else {
      AppendUtf8(kReplacement, &out);
    }
    bytes.remove_prefix(size);
  }
  return out;
}

bool IsLetter(char32_t c) { return RangeOf(kLetters, c) != nullptr; }
bool IsNumber(char32_t c) { return RangeOf(kNumbers, c) != nullptr; }
bool IsSpace(char32_t c) { return RangeOf(kSpaces, c) != nullptr; }
bool IsDigit(char32_t c) { return RangeOf(kDigits, c) != nullptr; }
bool IsStripped(char32_t c) { return RangeOf(kStripped, c) != nullptr; }

std::u32string Lower(const std::u32string& text) {
  std::u32string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    const LowerRun* run = RangeOf(kLowerRuns, c);
    if (c == kCapitalSigma) {
      out.push_back(EndsWord(text, i) ? kFinalSigma : kSmallSigma);
    } else if (c == kCapitalDottedI) {
      out += {U'i', kDotAbove};
    } else if (run != nullptr && (c - run->first) % static_cast<uint32_t>(run->step) == 0) {
      out.push_back(static_cast<char32_t>(static_cast<int64_t>(c) + run->distance));
    } else {
      out.push_back(c);
    }
  }
  return out;
}

std::string Strip(const std::string& text) {
  std::u32string characters;
  DecodeUtf8(text, &characters);
  const auto first = std::find_if_not(characters.begin(), characters.end(), IsStripped);
  const auto last = std::find_if_not(characters.rbegin(), characters.rend(), IsStripped).base();
  return first < last ? EncodeUtf8(std::u32string(first, last)) : "";
}

std::u32string Nfc(const std::u32string& text) {
  // nothing below U+0300 is put together with what stands before it, or taken apart for good
  if (std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x300; })) return text;
  std::u32string parts;
  for (const char32_t c : text) AppendDecomposed(c, &parts);
  OrderMarks(&parts);
  std::u32string out;
  size_t starter = std::u32string::npos;
  int last_class = -1;  // of what was kept behind the starter; -1: nothing
  for (const char32_t c : parts) {
    const int order = ClassOf(c);
    if (starter != std::u32string::npos && last_class < order) {
      if (const char32_t whole = Composed(out[starter], c)) {
        out[starter] = whole;
        continue;
      }
    }
    if (order == 0) {
      starter = out.size();
      last_class = -1;
    } else {
      last_class = order;
    }
    out.push_back(c);
  }
  return out;
}

}  // namespace vera
