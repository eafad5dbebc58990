// The vision tower's layers in double precision, without any trick; for tests.
#ifndef VERA_OPS_VISION_VISION_REF_H_
#define VERA_OPS_VISION_VISION_REF_H_

#include <cstdint>
#include <vector>

#include "ops/vision/vision.h"

namespace vera {
namespace vision_ref {

// (height, width, channels)
struct Image {
  int height, width, channels;
  std::vector<double> values;

  Image(int h, int w, int c) : height(h), width(w), channels(c), values(size_t(h) * w * c) {}
  double& At(int y, int x, int c) { return values[(size_t(y) * width + x) * channels + c]; }
  double At(int y, int x, int c) const { return values[(size_t(y) * width + x) * channels + c]; }
};

double FromHalf(uint16_t half);
Image FromHalves(const std::vector<uint16_t>& halves, int height, int width, int channels);

// The whole number at (row, column) of a packed matrix.
int Weight(const vera_vision_matrix& matrix, int row, int column);

Image Stem(const vera_vision_stem& stem, const std::vector<float>& pixels, int size);
Image Down(const vera_vision_down& down, const Image& x);
Image Depthwise(const vera_vision_depthwise& depthwise, const Image& x);
Image Block(const vera_vision_block& block, const Image& x);
Image Attention(const vera_vision_attention& attention, const Image& x);
Image Tokens(const vera_vision_tokens& tokens, const Image& x);

}  // namespace vision_ref
}  // namespace vera

#endif  // VERA_OPS_VISION_VISION_REF_H_
