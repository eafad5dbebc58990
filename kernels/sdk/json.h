// JSON of hostile files: read strictly, with limits; and the two forms that Python writes.
#ifndef VERA_SDK_JSON_H_
#define VERA_SDK_JSON_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace vera {

using Json = nlohmann::json;

constexpr int kMaxJsonDepth = 64;

// False for text that is not JSON (RFC 8259, UTF-8), for numbers beyond double and for lists and
// objects nested more than kMaxJsonDepth deep. Of a key given twice the last one counts.
bool ParseJson(std::string_view text, Json* value);

// The member `key` of an object; nullptr where there is none or `value` is no object.
const Json* Member(const Json& value, const char* key);

// A text in quotes as Python's json.dumps writes it: all but ASCII as \uXXXX. `text` is UTF-8.
std::string JsonString(std::string_view text);

// The shortest decimal that reads back as `value`, in the form of Python's repr ("1.0", "0.8",
// "1e-05"). value: finite.
std::string FloatText(float value);

}  // namespace vera

#endif  // VERA_SDK_JSON_H_
