// Prompts of the three tasks as token ids, and answers as text, for both families: what
// vera_mobile/model/tokens.py and measures.py do.
#ifndef VERA_SDK_PROMPT_H_
#define VERA_SDK_PROMPT_H_

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sdk/tokenizer.h"
#include "vera/retoucher.h"

namespace vera {

extern const char* const kSliders[VERA_SLIDER_COUNT];

// Ids before and after the place of the image tokens; groups: what the latents are multiplied with.
struct Prompt {
  std::vector<int32_t> before, after;
  bool has_image = false;
  std::array<float, VERA_GROUP_COUNT> groups = {1.0f, 1.0f, 1.0f};
};

// What the prompts of a family are made of; the fields are those of PromptFormat in tokens.py.
struct PromptFormat {
  bool is_chat = false;
  std::string auto_task, style, param;
  std::vector<std::string> specials, end, prompt_only, marks, measures;
  size_t max_wish_tokens = 0;  // 0: no limit
  float temperature = 0.0f, top_p = 0.8f;
  int32_t max_tokens = 120;
};

PromptFormat NanoFormat(bool measured);
PromptFormat ChatFormat();

// Tokens of everything measured on a photo; levels of (3, size, size) float32.
std::vector<std::string> MeasurePieces();
std::vector<int> MeasuredLevels(const float* seen, size_t pixels);

class Vocabulary {
 public:
  // Fails with BUNDLE_ERROR for a tokenizer of neither family.
  explicit Vocabulary(Tokenizer tokenizer);

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const PromptFormat& format() const { return format_; }
  const std::vector<int32_t>& retouch() const { return retouch_; }
  bool IsEnd(int32_t token) const { return ends_.count(token) != 0; }

  // Ids of plain text: special tokens in it are spelled out, never obeyed.
  std::vector<int32_t> Encode(const std::string& text) const;
  // Text of ids; special tokens begin a new line within it.
  std::string Decode(const std::vector<int32_t>& ids) const;

  // seen: (3, S, S), what the vision tower gets, `pixels` = S * S; read where the format measures.
  Prompt Auto(const float* seen, size_t pixels) const;
  // Fails with INVALID_ARGUMENT for a wish that is no UTF-8 or has not 1..400 characters.
  Prompt Style(const std::string& wish, const float* seen, size_t pixels) const;
  // sliders: 38 values in percent. Fails with INVALID_ARGUMENT outside of -100..100.
  Prompt Param(const float* sliders) const;

  // Logits (count) with -infinity for what an answer never holds.
  void RuleOut(float* logits, size_t count) const;

 private:
  std::string Plain(std::string text) const;
  std::vector<int32_t> Filled(const std::string& part, const std::string& text,
                              size_t limit) const;
  Prompt Made(const std::string& wording, const std::string& text, size_t limit) const;
  void AddMeasures(const float* seen, size_t pixels, Prompt* prompt) const;

  Tokenizer tokenizer_;
  PromptFormat format_;
  std::vector<std::pair<std::string, std::string>> marks_;  // and how they are spelled instead
  std::set<int32_t> ends_;  // of the text: the answer's end, or the first retouch token
  std::vector<int32_t> retouch_, ruled_out_, measures_;
};

}  // namespace vera

#endif  // VERA_SDK_PROMPT_H_
