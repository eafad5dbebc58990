// .cube files (Adobe, "Cube LUT Specification 1.0").
#ifndef VERA_SDK_CUBE_H_
#define VERA_SDK_CUBE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace vera {

// A value of 0..1 with nine decimals, rounded as C's printf does it, without the locale's point.
void AppendNineDecimals(float value, std::string* text);

// The file of a 3-D table over [0, 1], red fastest, as Python's write_cube writes it.
std::string CubeText(const std::vector<float>& lut, int32_t size, const std::string& title);

// Writes a file through a temporary name in the same folder; an older one is replaced whole. Fails
// with FILE_ERROR; nothing is left behind then.
void WriteFile(const std::string& path, const std::string& content);

}  // namespace vera

#endif  // VERA_SDK_CUBE_H_
