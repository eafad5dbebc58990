// Convolutions per channel: in float from half floats, and 7x7 in whole numbers of 16 bits.
#ifndef VERA_OPS_VISION_DEPTHWISE_INL_H_
#define VERA_OPS_VISION_DEPTHWISE_INL_H_

#include "ops/vision/bytes-inl.h"
#include "ops/vision/vision.h"

namespace vera {
namespace VERA_SET {

// Floats of a tile or half floats of an image.
inline F32 LoadPixel(const float* from) { return Load<F32>(from); }
inline F32 LoadPixel(const uint16_t* from) { return LoadHalf(from); }

// The taps of one output that lie in the image: begin and end of kernel rows or columns.
struct Span {
  int begin;
  int end;
};
inline Span InImage(int start, int kernel, int size) {
  return {start < 0 ? -start : 0, start + kernel > size ? size - start : kernel};
}

// bias + sum of taps at channels c .. c + 15; x: the pixel under the first tap, which may lie outside.
template <class T, int kKernel>
inline F32 SumTaps(const T* x, ptrdiff_t row, ptrdiff_t column, const float* weights, int channels,
                   F32 sum, Span rows, Span columns) {
  for (int i = rows.begin; i < rows.end; ++i) {
    for (int j = columns.begin; j < columns.end; ++j) {
      sum += LoadPixel(x + i * row + j * column) *
             Load<F32>(weights + static_cast<size_t>(i * kKernel + j) * channels);
    }
  }
  return sum;
}

template <class T, int kKernel>
inline F32 SumAllTaps(const T* x, ptrdiff_t row, ptrdiff_t column, const float* weights,
                      int channels, F32 sum) {
#pragma GCC unroll 7
  for (int i = 0; i < kKernel; ++i) {
#pragma GCC unroll 7
    for (int j = 0; j < kKernel; ++j) {
      sum += LoadPixel(x + i * row + j * column) *
             Load<F32>(weights + static_cast<size_t>(i * kKernel + j) * channels);
    }
  }
  return sum;
}

// sink(column, first channel of 16, values) for the outputs of row y, columns [from, to), of the
// multiplier's part `part`. x: the image of in_width columns and in_height rows whose first element
// is pixel (0, 0).
template <int kKernel, class T, class Sink>
void DepthwisePart(const vera_vision_depthwise& d, int part, const T* x, int in_height, int in_width,
                   int channels, int y, int from, int to, const Sink& sink) {
  const int pad = kKernel / 2;
  const float* weights = d.weights + static_cast<size_t>(part) * kKernel * kKernel * channels;
  const float* biases = d.biases + static_cast<size_t>(part) * channels;
  const ptrdiff_t column = channels, row = column * in_width;
  const int top = y * d.stride - pad;
  const Span rows = InImage(top, kKernel, in_height);
  for (int out = from; out < to; ++out) {
    const int left = out * d.stride - pad;
    const Span columns = InImage(left, kKernel, in_width);
    const bool whole = rows.begin == 0 && columns.begin == 0 && rows.end == kKernel &&
                       columns.end == kKernel;
    const ptrdiff_t at = top * row + left * column;
    for (int c = 0; c < channels; c += kLanes) {
      const F32 bias = Load<F32>(biases + c);
      const T* first = x + (at + c);
      sink(out, c,
           whole ? SumAllTaps<T, kKernel>(first, row, column, weights + c, channels, bias)
                 : SumTaps<T, kKernel>(first, row, column, weights + c, channels, bias, rows,
                                       columns));
    }
  }
}

// As DepthwisePart for any kernel and all parts; channels of part i follow those of part i - 1.
template <class T, class Sink>
void DepthwiseRow(const vera_vision_depthwise& d, const T* x, int in_height, int in_width,
                  int channels, int y, int from, int to, const Sink& sink) {
  for (int part = 0; part < d.multiplier; ++part) {
    const auto shifted = [&](int out, int c, F32 v) { sink(out, part * channels + c, v); };
    if (d.kernel == 3) {
      DepthwisePart<3>(d, part, x, in_height, in_width, channels, y, from, to, shifted);
    } else {
      DepthwisePart<7>(d, part, x, in_height, in_width, channels, y, from, to, shifted);
    }
  }
}

// Outputs of a row whose sums are held together.
#if defined(__AVX512F__)
constexpr int kOutputs = 8;
#else
constexpr int kOutputs = 4;
#endif

// An image of 16-bit numbers with a margin of zeros: 3, and 5 to the right.
struct WordImage {
  static constexpr int kMargin = 3, kMargins = 8;
  int16_t* values;
  int height;
  int width;
  int channels;

  size_t RowSize() const { return static_cast<size_t>(width + kMargins) * channels; }
  // the last outputs of a row are worked out with others, which read past it
  size_t Size() const { return RowSize() * (height + 2 * kMargin) + kOutputs * channels; }
  int16_t* At(int y, int x) const {
    return values + (y + kMargin) * RowSize() + static_cast<size_t>(x + kMargin) * channels;
  }
};

// sink(column, first channel of 16, sums) for row y and columns [from, to): exact sums of 49 products
// with taps (channels / 16, 7, 4, 16, 2): two columns together, the eighth 0.
template <class Sink>
void DepthwiseWords(const WordImage& image, const int16_t* taps, int y, int from, int to,
                    const Sink& sink) {
  constexpr int kRows = 7, kPairs = 4;
  const size_t row_size = image.RowSize(), channels = image.channels;
  for (int c = 0; c < image.channels; c += kLanes) {
    const int16_t* block = taps + static_cast<size_t>(c / kLanes) * kRows * kPairs * 2 * kLanes;
    for (int x = from; x < to; x += kOutputs) {
      const int16_t* at = image.At(y - WordImage::kMargin, x - WordImage::kMargin) + c;
      I32 sums[kOutputs] = {};
      for (int r = 0; r < kRows; ++r) {
        Pairs w[kPairs];
#pragma GCC unroll 4
        for (int k = 0; k < kPairs; ++k) {
          w[k] = Load<Pairs>(block + (r * kPairs + k) * 2 * kLanes);
        }
        const int16_t* row = at + r * row_size;
        U32 left = __builtin_convertvector(Load<U16>(row), U32);
#pragma GCC unroll 16
        for (int j = 0; j < kOutputs + 2 * (kPairs - 1); ++j) {
          const U32 right = __builtin_convertvector(Load<U16>(row + (j + 1) * channels), U32);
          const Pairs pair = (Pairs)(left | (right << 16));
          left = right;
#pragma GCC unroll 4
          for (int k = 0; k < kPairs; ++k) {
            const int i = j - 2 * k;
            if (i >= 0 && i < kOutputs) sums[i] = DotPairs(sums[i], pair, w[k]);
          }
        }
      }
      for (int i = 0; i < kOutputs && x + i < to; ++i) sink(x + i, c, sums[i]);
    }
  }
}

}  // namespace VERA_SET
}  // namespace vera

#endif  // VERA_OPS_VISION_DEPTHWISE_INL_H_
