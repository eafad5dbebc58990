// Rows of a photo in any pixel format.
#ifndef VERA_SDK_SOURCE_H_
#define VERA_SDK_SOURCE_H_

#include <cstdint>
#include <vector>

#include "ops/render/formats.h"
#include "vera/vera.h"

namespace vera {

// A photo whose rows are read as interleaved samples of 8 or 16 bits: as they lie in memory where
// they are so, else converted (vera_render_frame with strength 0).
class Source {
 public:
  // Fails with INVALID_ARGUMENT for a frame that vera.h forbids, or without pixels.
  explicit Source(const vera_frame* frame);

  int64_t width() const { return frame_.width; }
  int64_t height() const { return frame_.height; }
  bool is_wide() const { return wide_; }  // 16 bits a sample
  int step() const { return step_; }      // samples a pixel
  bool is_swapped() const { return frame_.format == VERA_PIXEL_FORMAT_BGRA8; }

  // Row y; `scratch` may be used for it.
  const void* Row(int64_t y, std::vector<uint16_t>* scratch) const;

  // Row y as 8-bit RGB; 16 bits are rounded to the nearest code.
  const uint8_t* Codes(int64_t y, std::vector<uint8_t>* scratch) const;

 private:
  void ConvertRow(int64_t y, uint16_t* out) const;

  vera_frame frame_ = {};
  FormatInfo info_;
  bool wide_ = false, direct_ = false;
  int step_ = 3;
};

}  // namespace vera

#endif  // VERA_SDK_SOURCE_H_
