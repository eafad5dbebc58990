// Characters as the tokenizers and Python's str see them; text is UTF-8, characters are UTF-32.
#ifndef VERA_SDK_UNICODE_H_
#define VERA_SDK_UNICODE_H_

#include <string>
#include <string_view>

namespace vera {

// False for text that is not UTF-8 (overlong forms, surrogates, beyond U+10FFFF); `out` then holds
// what stands before.
bool DecodeUtf8(std::string_view text, std::u32string* out);
void AppendUtf8(char32_t character, std::string* out);
std::string EncodeUtf8(const std::u32string& text);

// Bytes as text: what is no UTF-8 becomes U+FFFD, one for each longest beginning of a character
// (Unicode Standard, section 3.9, "U+FFFD substitution of maximal subparts").
std::string LossyUtf8(std::string_view bytes);

// \p{L}, \p{N} and \s of the splitting expressions; what the Digits splitter puts apart.
bool IsLetter(char32_t c);
bool IsNumber(char32_t c);
bool IsSpace(char32_t c);
bool IsDigit(char32_t c);

// str.isspace(), str.lower() and str.strip() of Python.
bool IsStripped(char32_t c);
std::u32string Lower(const std::u32string& text);
std::string Strip(const std::string& text);

// Normalization form C (Unicode Standard Annex 15).
std::u32string Nfc(const std::u32string& text);

}  // namespace vera

#endif  // VERA_SDK_UNICODE_H_
