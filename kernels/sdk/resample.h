// Pictures in other sizes, the same bytes on every machine.
#ifndef VERA_SDK_RESAMPLE_H_
#define VERA_SDK_RESAMPLE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "sdk/parts.h"

namespace vera {

// Filters of Pillow's resize: their shape and reach.
enum class Filter { kBilinear, kBicubic, kLanczos };

// The weights of each output sample: those of source samples first .. first + size - 1, which add up
// to 1. The geometry is that of Pillow's resize: `span` source samples, of which `samples` are there
// (a last one may stand for less than a whole), become `size`.
struct Weights {
  Weights(Filter filter, int64_t samples, double span, int64_t size);

  struct Window {
    int64_t first, size, at;  // at: of its first weight in `values`
  };
  std::vector<Window> windows;
  std::vector<double> values;
};

// Eight-bit RGB without padding between rows.
struct Codes {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;

  Codes() = default;
  Codes(int64_t w, int64_t h)
      : width(w), height(h), rgb(static_cast<size_t>(w) * static_cast<size_t>(h) * 3) {}
};

// One row of 8-bit RGB of the source; `scratch` may be used for it.
using RowOfCodes = std::function<const uint8_t*(int64_t y, std::vector<uint8_t>* scratch)>;

// What Pillow's Image.resize gives for 8-bit pictures, to the byte: weights of 22 bits, first the
// rows, then the columns, each rounded to codes. False if stopped.
bool ResizeCodes(const RowOfCodes& row, int64_t width, int64_t height, Filter filter, Codes* out,
                 const Stopped& stopped);

}  // namespace vera

#endif  // VERA_SDK_RESAMPLE_H_
