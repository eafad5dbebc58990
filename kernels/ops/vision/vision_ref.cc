#include "ops/vision/vision_ref.h"

#include <algorithm>
#include <cmath>

namespace vera {
namespace vision_ref {
namespace {

using Row = std::vector<double>;

double Gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }

// To the nearest number of 11 bits, as half floats between 2^-14 and 65504 are.
double RoundToHalf(double x) {
  int exponent;
  std::frexp(x, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(x, 11 - exponent)), exponent - 11);
}

void Apply(Image& image, double (*function)(double)) {
  for (double& v : image.values) v = function(v);
}

Row Pixel(const Image& image, size_t pixel) {
  const auto begin = image.values.begin() + static_cast<ptrdiff_t>(pixel * image.channels);
  return {begin, begin + image.channels};
}

// What is left of a row that went through codes with a step and a zero of its own.
Row ThroughCodes(const Row& x) {
  double low = 0, high = 0;
  for (const double v : x) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
  const double step = high > low ? (high - low) / 255 : 1, zero = std::nearbyint(-low / step);
  Row out;
  for (const double v : x) {
    out.push_back((std::clamp(std::nearbyint(v / step) + zero, 0.0, 255.0) - zero) * step);
  }
  return out;
}

Row Times(const vera_vision_product& p, const Row& x) {
  Row out(p.matrix.rows);
  for (int r = 0; r < p.matrix.rows; ++r) {
    double sum = 0;
    for (int c = 0; c < p.matrix.columns; ++c) sum += Weight(p.matrix, r, c) * x[c];
    out[r] = p.multipliers[r] * sum + p.biases[r];
  }
  return out;
}

// A product of each pixel, whose channels are multiplied by the inverses first, if there are any.
Image TimesEach(const vera_vision_product& p, const Image& x, const float* inverses) {
  Image out(x.height, x.width, p.matrix.rows);
  for (size_t i = 0; i < size_t(x.height) * x.width; ++i) {
    Row row = Pixel(x, i);
    for (int c = 0; inverses != nullptr && c < x.channels; ++c) row[c] *= inverses[c];
    const Row made = Times(p, ThroughCodes(row));
    std::copy(made.begin(), made.end(),
              out.values.begin() + static_cast<ptrdiff_t>(i * out.channels));
  }
  return out;
}

// The 7x7 convolution of a block, which rounds its input to whole steps.
Image MixWords(const vera_vision_block& b, const Image& y) {
  Image out(y.height, y.width, y.channels);
  for (int row = 0; row < y.height; ++row) {
    for (int column = 0; column < y.width; ++column) {
      for (int c = 0; c < y.channels; ++c) {
        double sum = 0;
        for (int i = std::max(0, 3 - row); i < std::min(7, y.height + 3 - row); ++i) {
          for (int j = std::max(0, 3 - column); j < std::min(7, y.width + 3 - column); ++j) {
            const double v = y.At(row + i - 3, column + j - 3, c) * b.inverses[c];
            const size_t at = ((size_t(c / 16) * 7 + i) * 4 + j / 2) * 32 + c % 16 * 2 + j % 2;
            sum += b.taps[at] * std::clamp(std::nearbyint(v), -32767.0, 32767.0);
          }
        }
        out.At(row, column, c) = sum * b.tap_multipliers[c] + b.tap_offsets[c];
      }
    }
  }
  return out;
}

Row LayerNorm(const vera_vision_attention& a, Row x) {
  double mean = 0, variance = 0;
  for (const double v : x) mean += v / double(x.size());
  for (const double v : x) variance += (v - mean) * (v - mean) / double(x.size());
  for (size_t c = 0; c < x.size(); ++c) {
    x[c] = (x[c] - mean) / std::sqrt(variance + a.norm_eps) * a.norm_weights[c] + a.norm_biases[c];
  }
  return x;
}

// What a head of one position takes from all: softmax(q k) v.
void Attend(const std::vector<Row>& qkv, size_t position, int channels, int head, int size,
            Row& mixed) {
  Row weights;
  double most = -1e300, sum = 0;
  for (const Row& other : qkv) {
    double score = 0;
    for (int i = head * size; i < (head + 1) * size; ++i) {
      score += qkv[position][i] * other[channels + i];
    }
    weights.push_back(score / std::sqrt(double(size)));
    most = std::max(most, weights.back());
  }
  for (double& w : weights) sum += w = std::exp(w - most);
  for (int i = head * size; i < (head + 1) * size; ++i) {
    for (size_t p = 0; p < qkv.size(); ++p) {
      mixed[i] += weights[p] / sum * qkv[p][2 * channels + i];
    }
  }
}

}  // namespace

double FromHalf(uint16_t half) {
  const int exponent = (half >> 10) & 31, fraction = half & 1023;
  const double size = exponent == 0 ? std::ldexp(fraction, -24)
                                    : std::ldexp(1024 + fraction, exponent - 25);
  return half & 0x8000 ? -size : size;
}

Image FromHalves(const std::vector<uint16_t>& halves, int height, int width, int channels) {
  Image image(height, width, channels);
  for (size_t i = 0; i < image.values.size(); ++i) image.values[i] = FromHalf(halves[i]);
  return image;
}

int Weight(const vera_vision_matrix& m, int row, int column) {
  const int groups = (m.columns + 31) / 32, bytes = m.bits == 8 ? 512 : m.bits == 6 ? 400 : 272;
  const uint8_t* group = m.weights + (size_t(row / 16) * groups + column / 32) * bytes;
  const int piece = column % 32 / 4, at = row % 16 * 4 + column % 4;
  if (m.bits == 8) return static_cast<int8_t>(group[piece * 64 + at]);
  const int both = group[piece / 2 * 64 + at], lower = piece % 2 == 0 ? both & 15 : both >> 4;
  const int multiplier = group[bytes - 16 + row % 16];
  if (m.bits == 4) return int(std::floor((multiplier * (lower - 8) + 8) / 16.0));
  const int upper = group[256 + piece / 4 * 64 + at] >> (piece % 4 * 2) & 3;
  return int(std::floor((multiplier * ((upper << 4 | lower) - 32) + 32) / 64.0));
}

Image Depthwise(const vera_vision_depthwise& d, const Image& x) {
  const int pad = d.kernel / 2;
  Image out((x.height - 1) / d.stride + 1, (x.width - 1) / d.stride + 1, x.channels * d.multiplier);
  for (int y = 0; y < out.height; ++y) {
    for (int column = 0; column < out.width; ++column) {
      for (int o = 0; o < out.channels; ++o) {
        const int part = o / x.channels, c = o % x.channels;
        double sum = d.biases[o];
        for (int i = 0; i < d.kernel * d.kernel; ++i) {
          const int from_y = y * d.stride - pad + i / d.kernel;
          const int from_x = column * d.stride - pad + i % d.kernel;
          if (from_y < 0 || from_y >= x.height || from_x < 0 || from_x >= x.width) continue;
          sum += d.weights[(size_t(part) * d.kernel * d.kernel + i) * x.channels + c] *
                 x.At(from_y, from_x, c);
        }
        out.At(y, column, o) = sum;
      }
    }
  }
  return out;
}

Image Stem(const vera_vision_stem& s, const std::vector<float>& pixels, int size) {
  Image first(size / 2, size / 2, s.channels);
  for (int y = 0; y < size / 2; ++y) {
    for (int x = 0; x < size / 2; ++x) {
      for (int c = 0; c < s.channels; ++c) {
        double sum = s.biases[c];
        for (int tap = 0; tap < 27; ++tap) {
          const int from_y = 2 * y - 1 + tap / 9, from_x = 2 * x - 1 + tap / 3 % 3;
          if (from_y < 0 || from_y >= size || from_x < 0 || from_x >= size) continue;
          const float pixel = pixels[(size_t(tap % 3) * size + from_y) * size + from_x];
          sum += s.weights[tap * s.channels + c] * double(std::clamp(pixel, 0.0f, 1.0f));
        }
        first.At(y, x, c) = Gelu(sum);
      }
    }
  }
  Image second = Depthwise(s.depthwise, first);
  Apply(second, Gelu);
  Image out = TimesEach(s.pointwise, second, s.pointwise.inverses);
  Apply(out, Gelu);
  return out;
}

Image Down(const vera_vision_down& d, const Image& x) {
  Image spatial = Depthwise(d.spatial, x);
  Apply(spatial, Gelu);
  Image out = TimesEach(d.pointwise, spatial, d.pointwise.inverses);
  Apply(out, Gelu);
  return out;
}

Image Block(const vera_vision_block& b, const Image& x) {
  Image y = b.mixer.weights == nullptr ? x : Depthwise(b.mixer, x);
  Apply(y, RoundToHalf);  // without it every tenth code of the next step would be its neighbour
  Image hidden = TimesEach(b.expand, MixWords(b, y), nullptr);
  for (size_t i = 0; i < size_t(y.height) * y.width; ++i) {
    Row row = Pixel(hidden, i);
    for (size_t c = 0; c < row.size(); ++c) {
      const double code = std::nearbyint(Gelu(row[c]) * b.reduce.inverses[c] + b.reduce.zero);
      row[c] = std::clamp(code, 0.0, 255.0) - b.reduce.zero;
    }
    const Row add = Times(b.reduce, row);
    for (int c = 0; c < y.channels; ++c) y.values[i * y.channels + c] += add[c];
  }
  return y;
}

Image Attention(const vera_vision_attention& a, const Image& x) {
  Image out = x;
  const size_t positions = size_t(x.height) * x.width;
  std::vector<Row> qkv;
  for (size_t p = 0; p < positions; ++p) {
    qkv.push_back(Times(a.qkv, ThroughCodes(LayerNorm(a, Pixel(x, p)))));
  }
  for (size_t p = 0; p < positions; ++p) {
    Row mixed(x.channels);
    for (int head = 0; head < x.channels / a.head_dim; ++head) {
      Attend(qkv, p, x.channels, head, a.head_dim, mixed);
    }
    const Row add = Times(a.out, ThroughCodes(mixed));
    for (int c = 0; c < x.channels; ++c) out.values[p * x.channels + c] += add[c];
  }
  return out;
}

Image Tokens(const vera_vision_tokens& t, const Image& x) {
  Image features = Depthwise(t.expand, x);
  const size_t positions = size_t(x.height) * x.width;
  Row pooled(features.channels);
  for (size_t i = 0; i < features.values.size(); ++i) {
    pooled[i % features.channels] += features.values[i] / double(positions);
  }
  Row squeezed = Times(t.squeeze, ThroughCodes(pooled));
  for (double& v : squeezed) v = std::max(v, 0.0);
  const Row gates = Times(t.excite, ThroughCodes(squeezed));
  for (size_t i = 0; i < features.values.size(); ++i) {
    features.values[i] = Gelu(features.values[i] / (1 + std::exp(-gates[i % features.channels])));
  }
  Image up = TimesEach(t.up, features, t.up.inverses);
  Apply(up, Gelu);
  return TimesEach(t.out, up, nullptr);
}

}  // namespace vision_ref
}  // namespace vera
