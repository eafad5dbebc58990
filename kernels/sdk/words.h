// How text is split into words before byte pairs are merged; part of a vocabulary's meaning.
#ifndef VERA_SDK_WORDS_H_
#define VERA_SDK_WORDS_H_

#include <functional>
#include <string>
#include <string_view>

namespace vera {

// The expression that Qwen2's tokenizer.json splits with, to the letter.
extern const char kQwenWords[];

using OnWord = std::function<void(std::u32string_view)>;

// GPT-2's words, after each digit was put apart.
void SplitNanoWords(std::u32string_view text, const OnWord& on_word);
// The words of kQwenWords.
void SplitQwenWords(std::u32string_view text, const OnWord& on_word);

}  // namespace vera

#endif  // VERA_SDK_WORDS_H_
