#include "sdk/json.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "sdk/unicode.h"

namespace vera {
namespace {

// Looks at brackets only: what else is wrong, the parser finds.
bool DepthIsAllowed(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return false;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return true;
}

void AppendEscape(char32_t unit, std::string* out) {
  char text[8];
  std::snprintf(text, sizeof(text), "\\u%04x", static_cast<unsigned>(unit));
  *out += text;
}

// "d.ddde-05" of a positive value, as its digits and the exponent; free of the locale's point.
void Scientific(float value, int digits, std::string* mantissa, int* exponent) {
  char text[48];
  std::snprintf(text, sizeof(text), "%.*e", digits - 1, static_cast<double>(value));
  mantissa->clear();
  const char* at = text;
  for (; *at != 'e'; ++at) {
    if (*at >= '0' && *at <= '9') *mantissa += *at;
  }
  *exponent = std::atoi(at + 1);
}

}  // namespace

bool ParseJson(std::string_view text, Json* value) {
  if (!DepthIsAllowed(text)) return false;
  *value = Json::parse(text.begin(), text.end(), nullptr, false);
  return !value->is_discarded();
}

const Json* Member(const Json& value, const char* key) {
  if (!value.is_object()) return nullptr;
  const auto found = value.find(key);
  return found == value.end() ? nullptr : &*found;
}

std::string JsonString(std::string_view text) {
  std::u32string characters;
  DecodeUtf8(text, &characters);
  std::string out = "\"";
  for (const char32_t c : characters) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\f': out += "\\f"; break;
      case '\b': out += "\\b"; break;
      default:
        if (c >= 0x10000) {
          AppendEscape(0xD800 + ((c - 0x10000) >> 10), &out);
          AppendEscape(0xDC00 + ((c - 0x10000) & 0x3FF), &out);
        } else if (c < 32 || c > 126) {
          AppendEscape(c, &out);
        } else {
          out += static_cast<char>(c);
        }
    }
  }
  return out + "\"";
}

std::string FloatText(float value) {
  if (value == 0.0f) return std::signbit(value) ? "-0.0" : "0.0";
  const std::string sign = value < 0 ? "-" : "";
  const float size = std::abs(value);
  std::string digits;
  int exponent = 0;
  for (int count = 1; count <= 9; ++count) {
    Scientific(size, count, &digits, &exponent);
    const std::string whole = digits + "e" + std::to_string(exponent - count + 1);
    if (std::strtof(whole.c_str(), nullptr) == size) break;
  }
  while (digits.size() > 1 && digits.back() == '0') digits.pop_back();
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    char tail[16];
    std::snprintf(tail, sizeof(tail), "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
    return sign + digits[0] + (count > 1 ? "." + digits.substr(1) : "") + tail;
  }
  if (exponent < 0) {
    return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  }
  if (count <= exponent + 1) {
    return sign + digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  }
  const size_t point = static_cast<size_t>(exponent + 1);
  return sign + digits.substr(0, point) + "." + digits.substr(point);
}

}  // namespace vera
