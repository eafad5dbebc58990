#include "sdk/source.h"

#include <algorithm>
#include <string>

#include "cpu/check.h"
#include "sdk/failure.h"

namespace vera {
namespace {

constexpr float kIdentityCurves[6] = {0, 1, 0, 1, 0, 1};
constexpr float kIdentityLut[24] = {0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0,
                                    0, 0, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1};

uint8_t* Offset(void* plane, ptrdiff_t bytes) { return static_cast<uint8_t*>(plane) + bytes; }

}  // namespace

Source::Source(const vera_frame* frame) {
  if (!ReadFrame(frame, &frame_, &info_) || frame_.width < 1 || frame_.height < 1) {
    Fail(VERA_STATUS_INVALID_ARGUMENT,
         "The photo is no picture as vera.h describes it: give a frame of a known format with at "
         "least one pixel.");
  }
  switch (frame_.format) {
    case VERA_PIXEL_FORMAT_RGBA8:
    case VERA_PIXEL_FORMAT_BGRA8:
    case VERA_PIXEL_FORMAT_RGBA16:
      step_ = 4;
      [[fallthrough]];
    case VERA_PIXEL_FORMAT_RGB8:
    case VERA_PIXEL_FORMAT_RGB16:
      direct_ = true;
      break;
    default:
      break;
  }
  wide_ = !direct_ || info_.sample == Sample::kUnsigned16;
}

const void* Source::Row(int64_t y, std::vector<uint16_t>* scratch) const {
  if (direct_) return Offset(frame_.planes[0], y * frame_.row_stride_bytes[0]);
  scratch->resize(static_cast<size_t>(frame_.width) * 3);
  ConvertRow(y, scratch->data());
  return scratch->data();
}

// 4:2:0 has chroma rows for two rows, which are mixed with those above and below: the row is then
// converted together with its surroundings, so that it comes out as in the whole picture.
void Source::ConvertRow(int64_t y, uint16_t* out) const {
  const bool subsampled = info_.layout == Layout::k420;
  const int64_t first = subsampled ? std::max<int64_t>(y / 2 * 2 - 2, 0) : y;
  const int64_t end = subsampled ? std::min(first + 6, frame_.height) : y + 1;
  vera_frame part = frame_;
  part.height = end - first;
  for (int p = 0; p < info_.planes; ++p) {
    const int64_t row = subsampled && p > 0 ? first / 2 : first;
    part.planes[p] = Offset(frame_.planes[p], row * frame_.row_stride_bytes[p]);
  }
  std::vector<uint16_t> rows;
  uint16_t* to = out;
  if (subsampled) {
    rows.resize(static_cast<size_t>(part.height * frame_.width) * 3);
    to = rows.data();
  }
  vera_frame target = {};
  target.struct_size = sizeof(target);
  target.format = VERA_PIXEL_FORMAT_RGB16;
  target.width = part.width;
  target.height = part.height;
  target.planes[0] = to;
  target.row_stride_bytes[0] = static_cast<ptrdiff_t>(frame_.width) * 6;
  vera_look look = {};
  look.struct_size = sizeof(look);
  look.curves = kIdentityCurves;
  look.lut = kIdentityLut;
  look.curve_size = look.lut_size = 2;
  vera_render_options options = {};
  options.struct_size = sizeof(options);
  options.threads = 1;
  const vera_status status = vera_render_frame(&look, &part, &target, &options);
  if (status != VERA_STATUS_OK) Fail(status, "The photo cannot be converted.");
  if (subsampled) {
    const size_t row = static_cast<size_t>(frame_.width) * 3;
    const uint16_t* from = to + static_cast<size_t>(y - first) * row;
    std::copy(from, from + row, out);
  }
}

const uint8_t* Source::Codes(int64_t y, std::vector<uint8_t>* scratch) const {
  std::vector<uint16_t> wide;
  const void* row = Row(y, &wide);
  if (direct_ && !wide_ && step_ == 3) return static_cast<const uint8_t*>(row);
  scratch->resize(static_cast<size_t>(frame_.width) * 3);
  const size_t step = static_cast<size_t>(step_);
  for (size_t x = 0; x < static_cast<size_t>(frame_.width); ++x) {
    for (size_t c = 0; c < 3; ++c) {
      const size_t at = x * step + (is_swapped() ? 2 - c : c);
      (*scratch)[3 * x + c] =
          wide_ ? static_cast<uint8_t>((static_cast<const uint16_t*>(row)[at] + 128u) / 257u)
                : static_cast<const uint8_t*>(row)[at];
    }
  }
  return scratch->data();
}

}  // namespace vera
