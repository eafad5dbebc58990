#include "sdk/words.h"

#include <cstddef>

#include "sdk/unicode.h"

namespace vera {

const char kQwenWords[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

bool IsNewline(char32_t c) { return c == '\r' || c == '\n'; }
bool IsMark(char32_t c) { return !IsSpace(c) && !IsLetter(c) && !IsNumber(c); }

template <typename Is>
size_t RunEnd(std::u32string_view text, size_t begin, Is is) {
  while (begin < text.size() && is(text[begin])) ++begin;
  return begin;
}

// Case folding as far as the contractions need it; U+017F is the long s.
char32_t Folded(char32_t c) {
  if (c >= 'A' && c <= 'Z') return c + 32;
  return c == 0x17F ? 's' : c;
}

// Characters of a contraction ('s, 've ...) that the text begins with, or 0.
size_t Contraction(std::u32string_view text, bool any_case) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  const auto letter = [&](size_t i) {
    return i >= text.size() ? 0 : any_case ? Folded(text[i]) : text[i];
  };
  const char32_t one = letter(1), two = letter(2);
  if (one == 's' || one == 't' || one == 'm' || one == 'd') return 2;
  const bool pair = (one == 'r' && two == 'e') || (one == 'v' && two == 'e') ||
                    (one == 'l' && two == 'l');
  return pair ? 3 : 0;
}

// White space, without the last of it where a word follows: that one belongs to the word.
size_t SpaceEnd(std::u32string_view text) {
  const size_t end = RunEnd(text, 0, IsSpace);
  return end == text.size() || end < 2 ? end : end - 1;
}

// Each function is the number of characters of the first word of a text that is not empty.
size_t NanoWord(std::u32string_view text) {
  if (const size_t size = Contraction(text, false)) return size;
  const size_t begin = text[0] == ' ' && text.size() > 1 ? 1 : 0;
  const char32_t c = text[begin];
  if (IsLetter(c)) return RunEnd(text, begin, IsLetter);
  if (IsNumber(c)) return RunEnd(text, begin, IsNumber);
  if (IsMark(c)) return RunEnd(text, begin, IsMark);
  return SpaceEnd(text);
}

size_t QwenWord(std::u32string_view text) {
  if (const size_t size = Contraction(text, true)) return size;
  const char32_t c = text[0];
  if (IsLetter(c)) return RunEnd(text, 0, IsLetter);
  if (IsNumber(c)) return 1;
  if (!IsNewline(c) && text.size() > 1 && IsLetter(text[1])) return RunEnd(text, 1, IsLetter);
  const size_t begin = c == ' ' && text.size() > 1 ? 1 : 0;
  if (IsMark(text[begin])) return RunEnd(text, RunEnd(text, begin, IsMark), IsNewline);
  const size_t spaces = RunEnd(text, 0, IsSpace);
  for (size_t end = spaces; end > 0; --end) {
    if (IsNewline(text[end - 1])) return end;
  }
  return SpaceEnd(text);
}

template <typename First>
void Split(std::u32string_view text, First first, const OnWord& on_word) {
  while (!text.empty()) {
    const size_t size = first(text);
    on_word(text.substr(0, size));
    text.remove_prefix(size);
  }
}

}  // namespace

void SplitNanoWords(std::u32string_view text, const OnWord& on_word) {
  while (!text.empty()) {
    const size_t size = RunEnd(text, 0, [](char32_t c) { return !IsDigit(c); });
    Split(text.substr(0, size), NanoWord, on_word);
    text.remove_prefix(size);
    if (text.empty()) return;
    Split(text.substr(0, 1), NanoWord, on_word);
    text.remove_prefix(1);
  }
}

void SplitQwenWords(std::u32string_view text, const OnWord& on_word) {
  Split(text, QwenWord, on_word);
}

}  // namespace vera
