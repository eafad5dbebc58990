// vera::vision_stem, vision_down, vision_depthwise, vision_block, vision_attention and vision_tokens
// for the ExecuTorch runtime.
#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>

#include <initializer_list>

#include "vera/vision.h"

namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::KernelRuntimeContext;

bool Has(const Tensor& t, ScalarType type, std::initializer_list<int64_t> sizes) {
  if (t.scalar_type() != type || t.dim() != static_cast<ssize_t>(sizes.size()) ||
      !executorch::runtime::tensor_is_contiguous(t)) {
    return false;
  }
  ssize_t i = 0;
  for (const int64_t size : sizes) {
    if (t.size(i++) != size) return false;
  }
  return true;
}

const uint16_t* Halves(const Tensor& t) { return static_cast<const uint16_t*>(t.const_data_ptr()); }

// An image (1, height, width, channels) of half floats.
bool IsImage(const Tensor& t) {
  return t.dim() == 4 && Has(t, ScalarType::Half, {1, t.size(1), t.size(2), t.size(3)}) &&
         t.numel() > 0;
}

int32_t Height(const Tensor& t) { return static_cast<int32_t>(t.size(1)); }
int32_t Width(const Tensor& t) { return static_cast<int32_t>(t.size(2)); }
int32_t Channels(const Tensor& t) { return static_cast<int32_t>(t.size(3)); }

// weights (blocks, groups, bytes of a group), outputs (2, rows): multipliers and biases.
bool ReadProduct(const Tensor& weights, const Tensor& outputs, int64_t columns,
                 vera_vision_product* p) {
  if (weights.dim() != 3 || outputs.dim() != 2) return false;
  const int64_t rows = outputs.size(1), bytes = weights.size(2);
  const int bits = bytes == 512 ? 8 : bytes == 400 ? 6 : bytes == 272 ? 4 : 0;
  if (bits == 0 || rows < 16 || rows > 32768 || columns < 16 || columns > 32768 ||
      !Has(weights, ScalarType::Byte, {(rows + 15) / 16, (columns + 31) / 32, bytes}) ||
      !Has(outputs, ScalarType::Float, {2, rows})) {
    return false;
  }
  const float* scales = outputs.const_data_ptr<float>();
  *p = {{weights.const_data_ptr<uint8_t>(), static_cast<int32_t>(rows),
         static_cast<int32_t>(columns), bits},
        nullptr, 0, scales, scales + rows};
  return true;
}

// With inverses (columns): factors of its input.
bool ReadProduct(const Tensor& weights, const Tensor& inverses, const Tensor& outputs,
                 int64_t columns, vera_vision_product* p) {
  if (!ReadProduct(weights, outputs, columns, p) ||
      !Has(inverses, ScalarType::Float, {columns})) {
    return false;
  }
  p->inverses = inverses.const_data_ptr<float>();
  return true;
}

// filter (multiplier * (kernel^2 + 1), channels): weights of all parts, then biases of all parts.
bool ReadDepthwise(const Tensor& filter, int kernel, int stride, int64_t channels,
                   vera_vision_depthwise* d) {
  if (filter.dim() != 2 || !Has(filter, ScalarType::Float, {filter.size(0), channels})) return false;
  const int64_t taps = int64_t{kernel} * kernel, parts = filter.size(0) / (taps + 1);
  if (parts < 1 || parts > 16 || filter.size(0) != parts * (taps + 1)) return false;
  const float* weights = filter.const_data_ptr<float>();
  *d = {weights, weights + parts * taps * channels, kernel, stride, static_cast<int32_t>(parts)};
  return true;
}

bool Finish(KernelRuntimeContext& context, vera_status status, const char* name) {
  if (status == VERA_STATUS_OK) return true;
  ET_LOG(Error, "vera::%s: %s", name, vera_status_text(status));
  context.fail(status == VERA_STATUS_OUT_OF_MEMORY ? Error::MemoryAllocationFailed
                                                   : Error::InvalidArgument);
  return false;
}

Tensor& StemOut(KernelRuntimeContext& context, const Tensor& pixels, const Tensor& conv,
                const Tensor& depthwise, const Tensor& weights, const Tensor& inverses,
                const Tensor& outputs, Tensor& out) {
  vera_vision_stem stem = {};
  const int64_t size = pixels.dim() == 4 ? pixels.size(3) : 0;
  const int64_t channels = conv.dim() == 2 ? conv.size(1) : 0;
  const bool fits = size >= 4 && size <= 4096 && Has(pixels, ScalarType::Float, {1, 3, size, size}) &&
                    Has(conv, ScalarType::Float, {28, channels}) &&
                    ReadDepthwise(depthwise, 3, 2, channels, &stem.depthwise) &&
                    ReadProduct(weights, inverses, outputs, channels, &stem.pointwise) &&
                    Has(out, ScalarType::Half, {1, size / 4, size / 4, stem.pointwise.matrix.rows});
  ET_KERNEL_CHECK_MSG(context, fits, InvalidArgument, out, "vera::vision_stem: other shapes");
  stem.channels = static_cast<int32_t>(channels);
  stem.weights = conv.const_data_ptr<float>();
  stem.biases = stem.weights + 27 * channels;
  Finish(context,
         vera_vision_stem_run(&stem, pixels.const_data_ptr<float>(), static_cast<int32_t>(size),
                              static_cast<uint16_t*>(out.mutable_data_ptr())),
         "vision_stem");
  return out;
}

Tensor& DownOut(KernelRuntimeContext& context, const Tensor& x, const Tensor& spatial,
                const Tensor& weights, const Tensor& inverses, const Tensor& outputs, Tensor& out) {
  vera_vision_down down = {};
  const bool fits =
      IsImage(x) && ReadDepthwise(spatial, 7, 2, Channels(x), &down.spatial) &&
      ReadProduct(weights, inverses, outputs, x.size(3) * down.spatial.multiplier,
                  &down.pointwise) &&
      Has(out, ScalarType::Half, {1, x.size(1) / 2, x.size(2) / 2, down.pointwise.matrix.rows});
  ET_KERNEL_CHECK_MSG(context, fits, InvalidArgument, out, "vera::vision_down: other shapes");
  Finish(context,
         vera_vision_down_run(&down, Halves(x), Height(x), Width(x), Channels(x),
                              static_cast<uint16_t*>(out.mutable_data_ptr())),
         "vision_down");
  return out;
}

Tensor& DepthwiseOut(KernelRuntimeContext& context, const Tensor& x, const Tensor& filter,
                     Tensor& out) {
  vera_vision_depthwise depthwise = {};
  const int kernel = filter.dim() == 2 && filter.size(0) == 10 ? 3 : 7;
  const bool fits = IsImage(x) && ReadDepthwise(filter, kernel, 1, Channels(x), &depthwise) &&
                    depthwise.multiplier == 1 &&
                    Has(out, ScalarType::Half, {1, x.size(1), x.size(2), x.size(3)});
  ET_KERNEL_CHECK_MSG(context, fits, InvalidArgument, out, "vera::vision_depthwise: other shapes");
  Finish(context,
         vera_vision_depthwise_run(&depthwise, Halves(x), Height(x), Width(x), Channels(x),
                                   static_cast<uint16_t*>(out.mutable_data_ptr())),
         "vision_depthwise");
  return out;
}

Tensor& BlockOut(KernelRuntimeContext& context, const Tensor& x, const Tensor& mixer,
                 const Tensor& codes, const Tensor& taps, const Tensor& expand,
                 const Tensor& expand_outputs, const Tensor& reduce, const Tensor& reduce_inverses,
                 const Tensor& reduce_outputs, int64_t zero, Tensor& out) {
  vera_vision_block block = {};
  const int64_t channels = x.dim() == 4 ? x.size(3) : 0;
  const bool mixes = mixer.dim() == 2 && mixer.size(0) > 0;
  const int64_t hidden = expand_outputs.dim() == 2 ? expand_outputs.size(1) : 0;
  const bool fits =
      IsImage(x) && (!mixes || ReadDepthwise(mixer, 3, 1, channels, &block.mixer)) &&
      Has(codes, ScalarType::Float, {3, channels}) &&
      Has(taps, ScalarType::Short, {channels / 16, 28, 32}) &&
      ReadProduct(expand, expand_outputs, channels, &block.expand) &&
      ReadProduct(reduce, reduce_inverses, reduce_outputs, hidden, &block.reduce) &&
      Has(out, ScalarType::Half, {1, x.size(1), x.size(2), channels});
  ET_KERNEL_CHECK_MSG(context, fits, InvalidArgument, out, "vera::vision_block: other shapes");
  block.inverses = codes.const_data_ptr<float>();
  block.tap_multipliers = block.inverses + channels;
  block.tap_offsets = block.tap_multipliers + channels;
  block.taps = taps.const_data_ptr<int16_t>();
  block.reduce.zero = static_cast<float>(zero);
  Finish(context,
         vera_vision_block_run(&block, Halves(x), Height(x), Width(x), Channels(x),
                               static_cast<uint16_t*>(out.mutable_data_ptr())),
         "vision_block");
  return out;
}

Tensor& AttentionOut(KernelRuntimeContext& context, const Tensor& x, const Tensor& norm,
                     const Tensor& qkv, const Tensor& qkv_outputs, const Tensor& mix,
                     const Tensor& mix_outputs, int64_t head_dim, double eps, Tensor& out) {
  vera_vision_attention attention = {};
  const int64_t channels = x.dim() == 4 ? x.size(3) : 0;
  const bool fits = IsImage(x) && Has(norm, ScalarType::Float, {2, channels}) &&
                    ReadProduct(qkv, qkv_outputs, channels, &attention.qkv) &&
                    ReadProduct(mix, mix_outputs, channels, &attention.out) &&
                    Has(out, ScalarType::Half, {1, x.size(1), x.size(2), channels});
  ET_KERNEL_CHECK_MSG(context, fits, InvalidArgument, out, "vera::vision_attention: other shapes");
  attention.norm_weights = norm.const_data_ptr<float>();
  attention.norm_biases = attention.norm_weights + channels;
  attention.norm_eps = static_cast<float>(eps);
  attention.head_dim = static_cast<int32_t>(head_dim);
  Finish(context,
         vera_vision_attention_run(&attention, Halves(x), Height(x) * Width(x), Channels(x),
                                   static_cast<uint16_t*>(out.mutable_data_ptr())),
         "vision_attention");
  return out;
}

Tensor& TokensOut(KernelRuntimeContext& context, const Tensor& x, const Tensor& expand,
                  const Tensor& squeeze, const Tensor& squeeze_outputs, const Tensor& excite,
                  const Tensor& excite_outputs, const Tensor& up, const Tensor& up_inverses,
                  const Tensor& up_outputs, const Tensor& last, const Tensor& last_outputs,
                  Tensor& out) {
  vera_vision_tokens tokens = {};
  const int64_t channels = x.dim() == 4 ? x.size(3) : 0;
  const auto rows = [](const Tensor& outputs) {
    return outputs.dim() == 2 ? outputs.size(1) : 0;
  };
  const int64_t features = rows(excite_outputs);
  const bool fits = IsImage(x) && ReadDepthwise(expand, 3, 1, channels, &tokens.expand) &&
                    ReadProduct(squeeze, squeeze_outputs, features, &tokens.squeeze) &&
                    ReadProduct(excite, excite_outputs, rows(squeeze_outputs), &tokens.excite) &&
                    ReadProduct(up, up_inverses, up_outputs, features, &tokens.up) &&
                    ReadProduct(last, last_outputs, rows(up_outputs), &tokens.out) &&
                    Has(out, ScalarType::Float, {1, x.size(1) * x.size(2), rows(last_outputs)});
  ET_KERNEL_CHECK_MSG(context, fits, InvalidArgument, out, "vera::vision_tokens: other shapes");
  Finish(context,
         vera_vision_tokens_run(&tokens, Halves(x), Height(x), Width(x), Channels(x),
                                out.mutable_data_ptr<float>()),
         "vision_tokens");
  return out;
}

}  // namespace

EXECUTORCH_LIBRARY(vera, "vision_stem.out", StemOut);
EXECUTORCH_LIBRARY(vera, "vision_down.out", DownOut);
EXECUTORCH_LIBRARY(vera, "vision_depthwise.out", DepthwiseOut);
EXECUTORCH_LIBRARY(vera, "vision_block.out", BlockOut);
EXECUTORCH_LIBRARY(vera, "vision_attention.out", AttentionOut);
EXECUTORCH_LIBRARY(vera, "vision_tokens.out", TokensOut);
