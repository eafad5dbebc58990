// vera_render and vera_render_frame with hostile sizes, strides, formats and pointers.
//
// Most calls are valid and write into blocks of exactly the size that the C ABI asks for, so that
// AddressSanitizer sees one byte too many. In some a field is replaced by any number: such a call
// must be refused, or be valid after all for the memory that it names.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "fuzz/input.h"
#include "ops/render/formats.h"
#include "vera/vera.h"

namespace vera {
namespace {

constexpr int kHostile = 40;  // one call in so many has a wrong field, per field

// A heap block of exactly `size` bytes, filled from the input again and again.
struct Block {
  Block(size_t size, Input* input) : bytes(new uint8_t[size]), size(size) {
    const size_t given = std::min<size_t>(size, 64);
    for (size_t i = 0; i < given; ++i) bytes[i] = input->Take<uint8_t>();
    for (size_t i = given; i < size; ++i) bytes[i] = static_cast<uint8_t>(bytes[i % 64] + i / 64);
  }
  std::unique_ptr<uint8_t[]> bytes;
  size_t size;
};

int64_t HostileNumber(Input* input) {
  constexpr int64_t kEdges[] = {-1, 0, 1, INT32_MAX, INT32_MIN, int64_t{1} << 30, INT64_MAX,
                                INT64_MIN, INT64_MAX / 2, 1 << 16};
  const int64_t i = input->Between(0, 15);
  if (i >= 10) return input->Take<int64_t>();
  const uint64_t step = static_cast<uint64_t>(input->Between(-1, 1));
  return static_cast<int64_t>(static_cast<uint64_t>(kEdges[i]) + step);  // may wrap around
}

struct Values {
  std::vector<float> floats;
  std::vector<uint16_t> codes;
};

// Values of a curve or LUT, of which now and then one is any bit pattern.
const void* MakeValues(size_t count, vera_value_type type, Input* input, Values* values) {
  const size_t odd = input->Rarely(16) ? static_cast<size_t>(input->Between(0, 4095)) : SIZE_MAX;
  for (size_t i = 0; i < count; ++i) {
    const float value = static_cast<float>(i * 2654435761u % 4096) / 4095.0f;
    if (type == VERA_VALUE_FLOAT32) {
      values->floats.push_back(i == odd ? input->Take<float>() : value);
    } else {
      values->codes.push_back(i == odd ? input->Take<uint16_t>()
                                       : static_cast<uint16_t>(value * 15000.0f));
    }
  }
  if (type == VERA_VALUE_FLOAT32) return values->floats.data();
  return values->codes.data();
}

struct FuzzLook {
  explicit FuzzLook(Input* input) {
    view.struct_size = sizeof(view);
    view.curve_size = static_cast<int32_t>(input->Between(2, 40));
    view.lut_size = static_cast<int32_t>(input->Between(2, 9));
    view.curve_type = static_cast<int32_t>(input->Between(0, 2));
    view.lut_type = static_cast<int32_t>(input->Between(0, 2));
    const size_t n = static_cast<size_t>(view.lut_size);
    view.curves = MakeValues(3 * static_cast<size_t>(view.curve_size), view.curve_type, input,
                             &curves);
    view.lut = MakeValues(3 * n * n * n, view.lut_type, input, &lut);
    if (input->Take<uint8_t>() % 2 == 1) {
      view.output_curve_size = static_cast<int32_t>(input->Between(2, 20));
      view.output_curve_type = static_cast<int32_t>(input->Between(0, 2));
      view.output_curves = MakeValues(3 * static_cast<size_t>(view.output_curve_size),
                                      view.output_curve_type, input, &output_curves);
    }
    // Sizes may only become what must be refused: a larger valid size would be a lie of the caller.
    if (input->Rarely(kHostile)) view.curve_size = static_cast<int32_t>(input->Between(4097, 9999));
    if (input->Rarely(kHostile)) view.lut_size = -view.lut_size;
    if (input->Rarely(kHostile)) view.lut_size = static_cast<int32_t>(input->Between(130, 9999));
    if (input->Rarely(kHostile)) view.lut_type = static_cast<int32_t>(3 + input->Between(0, 99));
    if (input->Rarely(kHostile)) view.lut = nullptr;
    if (input->Rarely(kHostile)) view.output_curve_size = 0;
    if (input->Rarely(kHostile)) view.struct_size = input->Take<uint8_t>() % sizeof(view);
  }
  vera_look view = {};
  Values curves, lut, output_curves;
};

// A frame whose planes are blocks of exactly the bytes that its fields ask for.
struct FuzzFrame {
  FuzzFrame(int64_t width, int64_t height, bool source, Input* input) {
    view.struct_size = sizeof(view);
    view.format = static_cast<int32_t>(input->Between(0, source ? 16 : 13));
    view.width = width;
    view.height = height;
    view.yuv_matrix = static_cast<int32_t>(input->Between(0, 2));
    view.yuv_range = static_cast<int32_t>(input->Between(0, 1));
    FormatInfo info;
    GetFormatInfo(view.format, &info);
    for (int p = 0; p < info.planes; ++p) {
      const int64_t row = PlaneRowBytes(view.format, info, p, width);
      const int64_t rows = PlaneRows(info, p, height);
      const int64_t stride = row + info.unit_bytes * input->Between(0, 3);
      const int64_t bytes = rows == 0 ? 0 : (rows - 1) * stride + row;
      blocks.emplace_back(static_cast<size_t>(bytes), input);
      view.planes[p] = blocks.back().bytes.get();
      view.row_stride_bytes[p] = static_cast<ptrdiff_t>(stride);
    }
    Spoil(info, source, input);
  }
  // Each change must be refused: it asks for more than the planes hold, or for what is not allowed.
  void Spoil(const FormatInfo& info, bool source, Input* input) {
    const int p = static_cast<int>(input->Between(0, info.planes - 1));
    if (input->Rarely(kHostile)) view.planes[p] = nullptr;
    if (input->Rarely(kHostile)) {
      const int64_t stride = HostileNumber(input);
      const int64_t row = PlaneRowBytes(view.format, info, p, view.width);
      // A stride that fits would be right for a larger block than there is.
      if (stride < row || stride > PTRDIFF_MAX / 2) view.row_stride_bytes[p] = stride;
    }
    if (input->Rarely(kHostile)) view.width = Refused(view.width, source, input);
    if (input->Rarely(kHostile)) view.height = Refused(view.height, source, input);
    if (input->Rarely(kHostile)) {
      view.format = static_cast<int32_t>(17 + input->Between(0, 9999)) * (source ? 1 : -1);
    }
    if (input->Rarely(kHostile)) view.yuv_matrix = static_cast<int32_t>(HostileNumber(input));
    if (input->Rarely(kHostile)) view.reserved = input->Take<int32_t>();
    if (input->Rarely(kHostile)) view.struct_size = input->Take<uint8_t>() % sizeof(view);
  }
  // A destination's side is unlike the source's. A source may be rendered in place, where only a
  // side that is out of range cannot be valid.
  static int64_t Refused(int64_t side, bool source, Input* input) {
    const int64_t other = HostileNumber(input);
    const bool in_range = other >= 0 && other <= int64_t{1} << 30;
    return other == side || (source && in_range) ? -1 : other;
  }
  vera_frame view = {};
  std::vector<Block> blocks;
};

vera_render_options MakeOptions(Input* input, const volatile int32_t* cancel) {
  vera_render_options options = {};
  options.struct_size = sizeof(options);
  options.strength = static_cast<float>(input->Between(0, 150)) / 100.0f;
  options.threads = static_cast<int32_t>(input->Between(1, 3));
  options.interpolation = static_cast<int32_t>(input->Between(0, 1));
  options.out_of_range = input->Rarely(4) ? 1 : 0;
  options.dither = input->Rarely(4) ? 1 : 0;
  options.origin_x = input->Take<int64_t>();
  options.origin_y = input->Take<int64_t>();
  if (input->Rarely(8)) options.cancel = cancel;
  if (input->Rarely(kHostile)) options.strength = input->Take<float>();
  if (input->Rarely(kHostile)) options.threads = input->Take<int32_t>();
  if (input->Rarely(kHostile)) options.dither = input->Take<int32_t>();
  if (input->Rarely(kHostile)) options.struct_size = input->Take<uint8_t>() % sizeof(options);
  return options;
}

// What the library promises for any result.
void CheckStatus(vera_status status, bool differing_sides) {
  const bool known = status == VERA_STATUS_OK || status == VERA_STATUS_INVALID_ARGUMENT ||
                     status == VERA_STATUS_CANCELLED;
  if (!known) std::abort();
  if (differing_sides && status != VERA_STATUS_INVALID_ARGUMENT) std::abort();
}

void FuzzFrames(Input* input) {
  const int64_t width = input->Between(0, 70), height = input->Between(0, 9);
  const volatile int32_t cancel = static_cast<int32_t>(input->Between(0, 1));
  const FuzzLook look(input);
  const FuzzFrame src(width, height, true, input), dst(width, height, false, input);
  const vera_render_options options = MakeOptions(input, &cancel);
  const bool in_place = input->Rarely(4) && src.view.format < VERA_PIXEL_FORMAT_NV12;
  const vera_frame* to = in_place ? &src.view : &dst.view;
  const bool differ = src.view.width != to->width || src.view.height != to->height;
  CheckStatus(vera_render_frame(&look.view, &src.view, to, &options), differ);
}

void FuzzImages(Input* input) {
  const int64_t width = input->Between(0, 70), height = input->Between(0, 9);
  const volatile int32_t cancel = static_cast<int32_t>(input->Between(0, 1));
  const FuzzLook look(input);
  if (look.view.curve_type != 0 || look.view.lut_type != 0) return;
  const vera_baked_look baked = {static_cast<const float*>(look.view.curves), look.view.curve_size,
                                 static_cast<const float*>(look.view.lut), look.view.lut_size};
  const FuzzFrame frame(width, height, true, input);
  vera_image src = {frame.view.planes[0], frame.view.width, frame.view.height,
                    frame.view.row_stride_bytes[0], frame.view.format};
  const vera_render_options options = MakeOptions(input, &cancel);
  CheckStatus(vera_render(&baked, &src, &src, &options), false);
}

}  // namespace
}  // namespace vera

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vera::Input input(data, size);
  input.Take<uint8_t>() % 4 == 3 ? vera::FuzzImages(&input) : vera::FuzzFrames(&input);
  return 0;
}
