#include "sdk/prompt.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "sdk/failure.h"
#include "sdk/unicode.h"

namespace vera {
namespace {

constexpr char kImage[] = "{image}", kText[] = "{text}";
constexpr int kLevels = 64;

struct Group {
  const char* title;
  int begin, end;
};
constexpr Group kGroups[VERA_GROUP_COUNT] = {{"Light Adjustment", 0, 10},
                                             {"Color and Temperature Adjustment", 10, 14},
                                             {"Specific Color Adjustment", 14, 38}};

// How a mark is spelled in a text where it must not be obeyed.
std::string Spelled(const std::string& mark) {
  const size_t first = mark.find_first_not_of("<>");
  if (first == std::string::npos) return "";
  const size_t last = mark.find_last_not_of("<>");
  const std::string inner = mark.substr(first, last - first + 1);
  if (inner != mark) return inner;
  std::u32string characters;
  DecodeUtf8(mark, &characters);
  return EncodeUtf8(characters.substr(1));
}

// The wish in lower case with single spaces, as vera-nano reads it; fails where it has not 1..400
// characters.
std::string CheckedWish(const std::string& wish) {
  std::u32string characters;
  if (!DecodeUtf8(wish, &characters)) {
    Fail(VERA_STATUS_INVALID_ARGUMENT, "The style wish is no UTF-8: give UTF-8.");
  }
  std::u32string text;
  for (const char32_t c : Lower(characters)) {
    if (!IsStripped(c)) {
      text += c;
    } else if (!text.empty() && text.back() != U' ') {
      text += U' ';
    }
  }
  if (!text.empty() && text.back() == U' ') text.pop_back();
  if (text.empty() || text.size() > VERA_MAX_WISH_CHARS) {
    Fail(VERA_STATUS_INVALID_ARGUMENT,
         "The style wish has " + std::to_string(text.size()) + " characters: use 1.." +
             std::to_string(VERA_MAX_WISH_CHARS) + ", for example \"warm and bright\".");
  }
  return EncodeUtf8(text);
}

// value * factor rounded to a whole number, exact halves to the even one, as Python's round does:
// on the exact value of the double, of which at most 53 bits count.
int64_t Rounded(double value, int64_t factor) {
  int power = 0;
  const double fraction = std::frexp(std::abs(value), &power);
  const uint64_t bits = static_cast<uint64_t>(std::ldexp(fraction, 53));
  const uint64_t scaled = bits * static_cast<uint64_t>(factor);  // factor <= 1000: below 2^63
  const int shift = 53 - power;
  if (shift >= 64) return 0;
  uint64_t whole = shift <= 0 ? scaled << -shift : scaled >> shift;
  if (shift > 0) {
    const uint64_t rest = scaled & ((uint64_t{1} << shift) - 1), half = uint64_t{1} << (shift - 1);
    if (rest > half || (rest == half && whole % 2 == 1)) ++whole;
  }
  return value < 0 ? -static_cast<int64_t>(whole) : static_cast<int64_t>(whole);
}

// The slider as a share of its range, in thousandths.
int64_t Share(float percent) { return Rounded(static_cast<double>(percent) / 100, 1000); }

// Thousandths as Python writes such a float: "0.333", "-0.05", "1.0".
std::string ShareText(float percent) {
  const int64_t share = Share(percent);
  const int64_t size = std::abs(share);
  std::string digits = std::to_string(1000 + size % 1000).substr(1);
  while (digits.size() > 1 && digits.back() == '0') digits.pop_back();
  const bool negative = std::signbit(percent);  // also of -0.0, which Python writes too
  return (negative ? "-" : "") + std::to_string(size / 1000) + "." + digits;
}

std::string SharesText(const float* sliders) {
  std::string text = "{";
  for (const Group& group : kGroups) {
    text += (group.begin == 0 ? "'" : ", '") + std::string(group.title) + "': {";
    for (int i = group.begin; i < group.end; ++i) {
      text += (i == group.begin ? "'" : ", '") + std::string(kSliders[i]) + "': " +
              ShareText(sliders[i]);
    }
    text += "}";
  }
  return text + "}";
}

std::string FusedText(const float* sliders) {
  std::string text;
  for (int i = 0; i < VERA_SLIDER_COUNT; ++i) {
    const int64_t value = Rounded(static_cast<double>(sliders[i]), 1);
    if (value == 0) continue;
    const int64_t size = std::abs(value);
    text += std::string(kSliders[i]) + (value > 0 ? "+" : "-") +
            std::to_string(100 + size / 10).substr(1) + std::to_string(size % 10);
  }
  return text;
}

size_t Missing(const Tokenizer& tokenizer, const std::vector<std::string>& tokens) {
  return static_cast<size_t>(std::count_if(
      tokens.begin(), tokens.end(), [&](const auto& t) { return tokenizer.IdOf(t) < 0; }));
}

PromptFormat FormatOf(const Tokenizer& tokenizer) {
  for (const PromptFormat& format : {NanoFormat(true), NanoFormat(false), ChatFormat()}) {
    if (Missing(tokenizer, format.specials) != 0) continue;
    const size_t unmeasured = Missing(tokenizer, format.measures);
    if (unmeasured == 0) return format;
    if (unmeasured < format.measures.size()) {
      Fail(VERA_STATUS_BUNDLE_ERROR,
           "The tokenizer lacks " + std::to_string(unmeasured) + " of " +
               std::to_string(format.measures.size()) +
               " measure tokens: it is of another release; export again.");
    }
  }
  Fail(VERA_STATUS_BUNDLE_ERROR,
       "The tokenizer lacks the special tokens of both families: use the checkpoint's own, and "
       "export again.");
}

}  // namespace

Vocabulary::Vocabulary(Tokenizer tokenizer)
    : tokenizer_(std::move(tokenizer)), format_(FormatOf(tokenizer_)) {
  std::vector<std::string> marks = format_.specials;
  for (const auto& [id, content] : tokenizer_.specials()) marks.push_back(content);
  marks.insert(marks.end(), format_.marks.begin(), format_.marks.end());
  std::set<std::string> seen;
  for (const std::string& mark : marks) {
    if (seen.insert(mark).second) marks_.emplace_back(mark, Spelled(mark));
  }
  for (auto at = format_.specials.end() - 3; at != format_.specials.end(); ++at) {
    retouch_.push_back(tokenizer_.IdOf(*at));
  }
  for (const std::string& end : format_.end) ends_.insert(tokenizer_.IdOf(end));
  ends_.insert(retouch_[0]);
  for (const std::string& token : format_.prompt_only) {
    const int32_t id = tokenizer_.IdOf(token);
    if (id >= 0) ruled_out_.push_back(id);
  }
  ruled_out_.insert(ruled_out_.end(), retouch_.begin() + 1, retouch_.end());
  for (const std::string& token : format_.measures) measures_.push_back(tokenizer_.IdOf(token));
}

std::string Vocabulary::Plain(std::string text) const {
  // again until none is left: "<<auto>>" would give one
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& [mark, spelled] : marks_) {
      size_t at = text.find(mark);
      while (at != std::string::npos) {
        text.replace(at, mark.size(), spelled);
        changed = true;
        at = text.find(mark, at + spelled.size());
      }
    }
  }
  return text;
}

std::vector<int32_t> Vocabulary::Encode(const std::string& text) const {
  return tokenizer_.Encode(Plain(text));
}

std::string Vocabulary::Decode(const std::vector<int32_t>& ids) const {
  std::vector<std::vector<int32_t>> parts(1);
  for (const int32_t id : ids) {
    if (tokenizer_.specials().count(id) != 0) {
      parts.emplace_back();
    } else {
      parts.back().push_back(id);
    }
  }
  if (parts.size() == 1) return tokenizer_.Decode(parts[0]);
  std::string text;
  for (const std::vector<int32_t>& part : parts) {
    const std::string line = Strip(tokenizer_.Decode(part));
    if (!line.empty()) text += (text.empty() ? "" : "\n") + line;
  }
  return text;
}

// What stands before the text is encoded with it, for tokens may span both; what follows begins with
// a special token.
std::vector<int32_t> Vocabulary::Filled(const std::string& part, const std::string& text,
                                        size_t limit) const {
  const size_t place = part.find(kText);
  if (place == std::string::npos) return tokenizer_.Encode(part);
  std::vector<int32_t> ids = tokenizer_.Encode(part.substr(0, place) + text);
  if (limit > 0 && ids.size() > limit) ids.resize(limit);
  const std::vector<int32_t> tail = tokenizer_.Encode(part.substr(place + sizeof(kText) - 1));
  ids.insert(ids.end(), tail.begin(), tail.end());
  return ids;
}

Prompt Vocabulary::Made(const std::string& wording, const std::string& text, size_t limit) const {
  Prompt prompt;
  const size_t image = wording.find(kImage);
  prompt.has_image = image != std::string::npos;
  if (!prompt.has_image) {
    prompt.before = Filled(wording, text, limit);
    return prompt;
  }
  prompt.before = Filled(wording.substr(0, image), "", 0);
  prompt.after = Filled(wording.substr(image + sizeof(kImage) - 1), text, limit);
  return prompt;
}

void Vocabulary::AddMeasures(const float* seen, size_t pixels, Prompt* prompt) const {
  if (measures_.empty()) return;
  const std::vector<int> levels = MeasuredLevels(seen, pixels);
  std::vector<int32_t> ids;
  for (size_t i = 0; i < levels.size(); ++i) {
    ids.push_back(measures_[i * kLevels + static_cast<size_t>(levels[i])]);
  }
  prompt->after.insert(prompt->after.begin(), ids.begin(), ids.end());
}

Prompt Vocabulary::Auto(const float* seen, size_t pixels) const {
  Prompt prompt = Made(format_.auto_task, "", 0);
  AddMeasures(seen, pixels, &prompt);
  return prompt;
}

Prompt Vocabulary::Style(const std::string& wish, const float* seen, size_t pixels) const {
  const std::string checked = CheckedWish(wish);
  // the public scripts change nothing of a wish, case and spaces included
  Prompt prompt =
      Made(format_.style, Plain(format_.is_chat ? wish : checked), format_.max_wish_tokens);
  AddMeasures(seen, pixels, &prompt);
  return prompt;
}

Prompt Vocabulary::Param(const float* sliders) const {
  for (int i = 0; i < VERA_SLIDER_COUNT; ++i) {
    if (std::abs(sliders[i]) <= 100.0f) continue;  // written so that NaN fails
    Fail(VERA_STATUS_INVALID_ARGUMENT, std::string("Slider ") + kSliders[i] + " is " +
                                           std::to_string(sliders[i]) +
                                           ": allowed are -100..100 (percent).");
  }
  if (!format_.is_chat) return Made(format_.param, FusedText(sliders), 0);
  Prompt prompt = Made(format_.param, SharesText(sliders), 0);
  for (size_t g = 0; g < VERA_GROUP_COUNT; ++g) {
    const bool on = std::any_of(sliders + kGroups[g].begin, sliders + kGroups[g].end,
                                [](float value) { return Share(value) != 0; });
    prompt.groups[g] = on ? 1.0f : 0.0f;
  }
  return prompt;
}

void Vocabulary::RuleOut(float* logits, size_t count) const {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  for (const int32_t id : ruled_out_) {
    if (static_cast<size_t>(id) < count) logits[id] = kNever;
  }
  // rows that pad the table stand for no token
  for (size_t i = static_cast<size_t>(tokenizer_.size()); i < count; ++i) logits[i] = kNever;
}

}  // namespace vera
