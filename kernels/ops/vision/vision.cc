#include "ops/vision/vision.h"

#include <cmath>
#include <cstring>
#include <mutex>

namespace vera {

// VERA_DECODER_SETS: the instruction sets of cmake/decoder.cmake, for which this is compiled too.
#define X(set)                        \
  namespace set {                     \
  extern const VisionFunctions kVision; \
  }
VERA_DECODER_SETS
#undef X

namespace {

constexpr int kMostRows = 1 << 15, kMostChannels = 1 << 14, kMostPixels = 1 << 24;

struct Table {
  const VisionFunctions* usable[4];
  int count = 0;

  // those that the decoder found this machine to have
  Table() {
    const VisionFunctions* built[] = {
#define X(set) &set::kVision,
        VERA_DECODER_SETS
#undef X
    };
    int decoders = 0;
    const DecoderFunctions* const* all = AllDecoders(&decoders);
    for (int i = 0; i < decoders; ++i) {
      for (const VisionFunctions* one : built) {
        if (std::strcmp(one->name, all[i]->name) == 0) usable[count++] = one;
      }
    }
  }
};

const Table& Usable() {
  static const Table table;
  return table;
}

bool MatrixIsValid(const vera_vision_matrix& m) {
  return m.weights != nullptr && m.rows >= 16 && m.rows % 16 == 0 && m.rows <= kMostRows &&
         m.columns >= 16 && m.columns % 16 == 0 && m.columns <= kMostRows &&
         (m.bits == 4 || m.bits == 6 || m.bits == 8);
}

bool PlainProductIsValid(const vera_vision_product& p, int rows, int columns) {
  return MatrixIsValid(p.matrix) && p.matrix.rows == rows && p.matrix.columns == columns &&
         p.multipliers != nullptr && p.biases != nullptr;
}

// With factors of its input.
bool ProductIsValid(const vera_vision_product& p, int rows, int columns) {
  return PlainProductIsValid(p, rows, columns) && p.inverses != nullptr;
}

bool DepthwiseIsValid(const vera_vision_depthwise& d, int stride) {
  return d.weights != nullptr && d.biases != nullptr && (d.kernel == 3 || d.kernel == 7) &&
         d.stride == stride && d.multiplier >= 1 && d.multiplier <= 16;
}

bool ChannelsAreValid(int channels) {
  return channels >= 16 && channels % 16 == 0 && channels <= kMostChannels;
}

bool ShapeIsValid(int height, int width, int channels) {
  return height >= 1 && width >= 1 && height <= 4096 && width <= 4096 &&
         height * width <= kMostPixels && ChannelsAreValid(channels);
}

bool StemIsValid(const vera_vision_stem& s) {
  return ChannelsAreValid(s.channels) && s.weights != nullptr && s.biases != nullptr &&
         DepthwiseIsValid(s.depthwise, 2) && s.depthwise.kernel == 3 &&
         s.depthwise.multiplier == 1 &&
         ProductIsValid(s.pointwise, s.pointwise.matrix.rows, s.channels);
}

bool BlockIsValid(const vera_vision_block& b, int channels) {
  const bool mixer = b.mixer.weights == nullptr ||
                     (DepthwiseIsValid(b.mixer, 1) && b.mixer.multiplier == 1);
  const float zero = b.reduce.zero;
  return mixer && b.inverses != nullptr && b.taps != nullptr && b.tap_multipliers != nullptr &&
         b.tap_offsets != nullptr && zero >= 0 && zero <= 255 && zero == std::floor(zero) &&
         PlainProductIsValid(b.expand, b.expand.matrix.rows, channels) &&
         ProductIsValid(b.reduce, channels, b.expand.matrix.rows);
}

bool AttentionIsValid(const vera_vision_attention& a, int channels) {
  return a.norm_weights != nullptr && a.norm_biases != nullptr && a.norm_eps > 0 &&
         a.head_dim >= 16 && a.head_dim % 16 == 0 && channels % a.head_dim == 0 &&
         PlainProductIsValid(a.qkv, 3 * channels, channels) &&
         PlainProductIsValid(a.out, channels, channels);
}

bool TokensAreValid(const vera_vision_tokens& t, int channels) {
  if (!DepthwiseIsValid(t.expand, 1)) return false;
  const int features = channels * t.expand.multiplier, squeezed = t.squeeze.matrix.rows;
  const int hidden = t.up.matrix.rows;
  return PlainProductIsValid(t.squeeze, squeezed, features) &&
         PlainProductIsValid(t.excite, features, squeezed) &&
         ProductIsValid(t.up, hidden, features) &&
         PlainProductIsValid(t.out, t.out.matrix.rows, hidden);
}

// Runs with the shared threads once the arguments hold.
template <class F>
vera_status Run(bool valid, const F& work) {
  if (!valid) return VERA_STATUS_INVALID_ARGUMENT;
  Pool& pool = SharedPool();
  const std::lock_guard<std::mutex> lock(pool.Owner());
  return work(pool) ? VERA_STATUS_OK : VERA_STATUS_OUT_OF_MEMORY;
}

}  // namespace

const VisionFunctions& Vision() { return *Usable().usable[0]; }

const VisionFunctions* const* AllVisions(int* count) {
  *count = Usable().count;
  return Usable().usable;
}

}  // namespace vera

extern "C" {

vera_status vera_vision_stem_run(const vera_vision_stem* stem, const float* pixels, int32_t size,
                                 uint16_t* out) {
  const bool valid = stem != nullptr && pixels != nullptr && out != nullptr && size >= 4 &&
                     size <= 4096 && size % 4 == 0 && vera::StemIsValid(*stem);
  return vera::Run(valid, [&](vera::Pool& pool) {
    return vera::Vision().stem(pool, *stem, pixels, size, out);
  });
}

vera_status vera_vision_down_run(const vera_vision_down* down, const uint16_t* x, int32_t height,
                                 int32_t width, int32_t channels, uint16_t* out) {
  const bool valid =
      down != nullptr && x != nullptr && out != nullptr &&
      vera::ShapeIsValid(height, width, channels) && height % 2 == 0 && width % 2 == 0 &&
      vera::DepthwiseIsValid(down->spatial, 2) &&
      vera::ProductIsValid(down->pointwise, down->pointwise.matrix.rows,
                           channels * down->spatial.multiplier);
  return vera::Run(valid, [&](vera::Pool& pool) {
    return vera::Vision().down(pool, *down, x, {height, width, channels}, out);
  });
}

vera_status vera_vision_depthwise_run(const vera_vision_depthwise* depthwise, const uint16_t* x,
                                      int32_t height, int32_t width, int32_t channels,
                                      uint16_t* out) {
  const bool valid = depthwise != nullptr && x != nullptr && out != nullptr &&
                     vera::ShapeIsValid(height, width, channels) &&
                     vera::DepthwiseIsValid(*depthwise, 1) && depthwise->multiplier == 1;
  return vera::Run(valid, [&](vera::Pool& pool) {
    return vera::Vision().depthwise(pool, *depthwise, x, {height, width, channels}, out);
  });
}

vera_status vera_vision_block_run(const vera_vision_block* block, const uint16_t* x, int32_t height,
                                  int32_t width, int32_t channels, uint16_t* out) {
  const bool valid = block != nullptr && x != nullptr && out != nullptr &&
                     vera::ShapeIsValid(height, width, channels) &&
                     vera::BlockIsValid(*block, channels);
  return vera::Run(valid, [&](vera::Pool& pool) {
    return vera::Vision().block(pool, *block, x, {height, width, channels}, out);
  });
}

vera_status vera_vision_attention_run(const vera_vision_attention* attention, const uint16_t* x,
                                      int32_t positions, int32_t channels, uint16_t* out) {
  const bool valid = attention != nullptr && x != nullptr && out != nullptr && positions >= 1 &&
                     positions <= 1 << 16 && vera::ChannelsAreValid(channels) &&
                     vera::AttentionIsValid(*attention, channels);
  return vera::Run(valid, [&](vera::Pool& pool) {
    return vera::Vision().attention(pool, *attention, x, positions, channels, out);
  });
}

vera_status vera_vision_tokens_run(const vera_vision_tokens* tokens, const uint16_t* x,
                                   int32_t height, int32_t width, int32_t channels, float* out) {
  const bool valid = tokens != nullptr && x != nullptr && out != nullptr &&
                     vera::ShapeIsValid(height, width, channels) && height * width <= 1 << 16 &&
                     vera::TokensAreValid(*tokens, channels);
  return vera::Run(valid, [&](vera::Pool& pool) {
    return vera::Vision().tokens(pool, *tokens, x, {height, width, channels}, out);
  });
}

}  // extern "C"
