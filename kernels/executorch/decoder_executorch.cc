// vera::decoder_layer, vera::embed, vera::last_norm and vera::logits for the ExecuTorch runtime.
#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>

#include <cmath>
#include <cstring>

#include "vera/decoder.h"

namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::KernelRuntimeContext;

bool IsPlain(const Tensor& t, ScalarType type, int dimensions) {
  return t.scalar_type() == type && t.dim() == dimensions &&
         executorch::runtime::tensor_is_contiguous(t);
}

// A packed matrix of `columns` columns; false where the tensors do not hold one.
bool ReadMatrix(const Tensor& weights, const Tensor& scales, int64_t rows, int64_t columns,
                vera_matrix* matrix) {
  if (!IsPlain(weights, ScalarType::Byte, 3) || weights.size(2) != 64 || columns < 32) return false;
  const int64_t blocks = weights.size(0);
  if (rows < 1 || (rows + 15) / 16 != blocks) return false;
  *matrix = {weights.const_data_ptr<uint8_t>(), scales.const_data_ptr(),
             static_cast<int32_t>(rows), static_cast<int32_t>(columns), 0, 0};
  if (weights.size(1) * 4 == columns) {
    matrix->bits = 8;
    return IsPlain(scales, ScalarType::Float, 2) && scales.size(0) == blocks &&
           scales.size(1) == 16;
  }
  matrix->bits = 4;
  if (weights.size(1) * 8 != columns || !IsPlain(scales, ScalarType::Half, 3) ||
      scales.size(0) != blocks || scales.size(2) != 16 || scales.size(1) < 1 ||
      columns % scales.size(1) != 0) {
    return false;
  }
  matrix->group = static_cast<int32_t>(columns / scales.size(1));
  return true;
}

bool ReadShape(const Tensor& x, const Tensor& keys, const Tensor& values, const Tensor& cosines,
               const Tensor& sines, double eps, vera_decoder_shape* shape) {
  if (!IsPlain(x, ScalarType::Float, 3) || x.size(0) != 1) return false;
  if (!IsPlain(keys, ScalarType::Half, 4) || !IsPlain(values, ScalarType::Half, 3)) return false;
  const int64_t kv = values.size(0), length = values.size(1), size = values.size(2);
  if (keys.size(0) != kv || keys.size(1) * 16 != length || keys.size(2) != size ||
      keys.size(3) != 16) {
    return false;
  }
  for (const Tensor* table : {&cosines, &sines}) {
    if (!IsPlain(*table, ScalarType::Float, 2) || table->size(0) != length ||
        table->size(1) != size) {
      return false;
    }
  }
  *shape = {};
  shape->hidden = static_cast<int32_t>(x.size(2));
  shape->kv_heads = static_cast<int32_t>(kv);
  shape->head_dim = static_cast<int32_t>(size);
  shape->max_length = static_cast<int32_t>(length);
  shape->rms_eps = static_cast<float>(eps);
  shape->cosines = cosines.const_data_ptr<float>();
  shape->sines = sines.const_data_ptr<float>();
  return true;
}

bool IsVector(const Tensor& t, int64_t size) {
  return IsPlain(t, ScalarType::Float, 1) && t.size(0) == size;
}

Tensor& DecoderLayerOut(KernelRuntimeContext& context, const Tensor& x, const Tensor& start,
                        const Tensor& attention_norm, const Tensor& qkv, const Tensor& qkv_scales,
                        const Tensor& qkv_bias, const Tensor& output, const Tensor& output_scales,
                        const Tensor& mlp_norm, const Tensor& gate_up,
                        const Tensor& gate_up_scales, const Tensor& down,
                        const Tensor& down_scales, const Tensor& cosines, const Tensor& sines,
                        Tensor& keys, Tensor& values, double eps, Tensor& out) {
  vera_decoder_shape shape;
  vera_decoder_layer layer = {};
  const bool fits =
      ReadShape(x, keys, values, cosines, sines, eps, &shape) &&
      qkv_bias.dim() == 1 && gate_up.dim() == 3 && IsVector(qkv_bias, qkv_bias.size(0)) &&
      ReadMatrix(qkv, qkv_scales, qkv_bias.size(0), shape.hidden, &layer.qkv) &&
      IsVector(attention_norm, shape.hidden) && IsVector(mlp_norm, shape.hidden);
  ET_KERNEL_CHECK_MSG(context, fits, InvalidArgument, out,
                      "vera::decoder_layer: x (1, n, H), caches or norms have other shapes");
  const int32_t all_heads = layer.qkv.rows / shape.head_dim;
  shape.heads = all_heads - 2 * shape.kv_heads;
  shape.inner = static_cast<int32_t>(gate_up.size(0)) * 8;
  const bool matrices =
      shape.heads >= 1 &&
      ReadMatrix(output, output_scales, shape.hidden, shape.heads * shape.head_dim,
                 &layer.output) &&
      ReadMatrix(gate_up, gate_up_scales, 2 * shape.inner, shape.hidden, &layer.gate_up) &&
      ReadMatrix(down, down_scales, shape.hidden, shape.inner, &layer.down);
  ET_KERNEL_CHECK_MSG(context, matrices && start.numel() == 1 &&
                                   start.scalar_type() == ScalarType::Long,
                      InvalidArgument, out,
                      "vera::decoder_layer: matrices do not fit the width, or start is not (1,)");
  ET_KERNEL_CHECK_MSG(context,
                      executorch::runtime::resize_tensor(out, x.sizes()) == Error::Ok,
                      InvalidArgument, out, "vera::decoder_layer: out is too small for x");
  layer.attention_norm = attention_norm.const_data_ptr<float>();
  layer.qkv_bias = qkv_bias.const_data_ptr<float>();
  layer.mlp_norm = mlp_norm.const_data_ptr<float>();
  layer.keys = static_cast<uint16_t*>(keys.mutable_data_ptr());
  layer.values = static_cast<uint16_t*>(values.mutable_data_ptr());
  const int64_t first = start.const_data_ptr<int64_t>()[0];
  const bool in_range = first >= 0 && first <= shape.max_length - x.size(1);
  ET_KERNEL_CHECK_MSG(context, in_range, InvalidArgument, out,
                      "vera::decoder_layer: positions lie outside of the cache");
  float* rows = out.mutable_data_ptr<float>();
  if (rows != x.const_data_ptr<float>()) {
    std::memcpy(rows, x.const_data_ptr<float>(), x.nbytes());
  }
  const vera_status status = vera_decoder_layer_run(
      &shape, &layer, rows, static_cast<int32_t>(x.size(1)), static_cast<int32_t>(first));
  ET_KERNEL_CHECK_MSG(context, status != VERA_STATUS_OUT_OF_MEMORY, MemoryAllocationFailed, out,
                      "vera::decoder_layer: not enough memory");
  ET_KERNEL_CHECK_MSG(context, status == VERA_STATUS_OK, InvalidArgument, out,
                      "vera::decoder_layer: %s", vera_status_text(status));
  return out;
}

Tensor& EmbedOut(KernelRuntimeContext& context, const Tensor& ids, const Tensor& table,
                 const Tensor& scales, int64_t rows, Tensor& out) {
  vera_matrix matrix;
  const bool fits = IsPlain(ids, ScalarType::Long, 2) && ids.size(0) == 1 && out.dim() == 3 &&
                    ReadMatrix(table, scales, rows, out.size(2), &matrix);
  ET_KERNEL_CHECK_MSG(context, fits, InvalidArgument, out, "vera::embed: ids (1, n) or table");
  const Tensor::SizesType sizes[3] = {1, static_cast<Tensor::SizesType>(ids.size(1)),
                                      static_cast<Tensor::SizesType>(out.size(2))};
  ET_KERNEL_CHECK_MSG(context, executorch::runtime::resize_tensor(out, {sizes, 3}) == Error::Ok,
                      InvalidArgument, out, "vera::embed: out is too small for ids");
  const vera_status status =
      vera_matrix_rows(&matrix, ids.const_data_ptr<int64_t>(), static_cast<int32_t>(ids.size(1)),
                       out.mutable_data_ptr<float>());
  ET_KERNEL_CHECK_MSG(context, status == VERA_STATUS_OK, InvalidArgument, out, "vera::embed: %s",
                      vera_status_text(status));
  return out;
}

Tensor& LastNormOut(KernelRuntimeContext& context, const Tensor& x, const Tensor& weight,
                    double eps, Tensor& out) {
  const bool fits = IsPlain(x, ScalarType::Float, 3) && x.size(0) == 1 && x.size(1) >= 1 &&
                    IsVector(weight, x.size(2)) && out.numel() == x.size(2);
  ET_KERNEL_CHECK_MSG(context, fits, InvalidArgument, out, "vera::last_norm: x (1, n, H), (H,)");
  const float* last = x.const_data_ptr<float>() + (x.size(1) - 1) * x.size(2);
  const vera_status status =
      vera_rms_norm(last, weight.const_data_ptr<float>(), static_cast<int32_t>(x.size(2)),
                    static_cast<float>(eps), out.mutable_data_ptr<float>());
  ET_KERNEL_CHECK_MSG(context, status == VERA_STATUS_OK, InvalidArgument, out,
                      "vera::last_norm: %s", vera_status_text(status));
  return out;
}

Tensor& LogitsOut(KernelRuntimeContext& context, const Tensor& hidden, const Tensor& wanted,
                  const Tensor& table, const Tensor& scales, const Tensor& blocks, int64_t rows,
                  Tensor& out) {
  vera_matrix matrix;
  const bool fits = IsPlain(hidden, ScalarType::Float, 2) && hidden.size(0) == 1 &&
                    IsPlain(blocks, ScalarType::Int, 1) && wanted.numel() == 1 &&
                    wanted.scalar_type() == ScalarType::Long && out.numel() == rows &&
                    ReadMatrix(table, scales, rows, hidden.size(1), &matrix);
  ET_KERNEL_CHECK_MSG(context, fits, InvalidArgument, out, "vera::logits: hidden (1, H) or table");
  const int64_t mode = wanted.const_data_ptr<int64_t>()[0];
  ET_KERNEL_CHECK_MSG(context, mode >= 0 && mode <= 2, InvalidArgument, out,
                      "vera::logits: wanted is neither 0, 1 nor 2");
  float* values = out.mutable_data_ptr<float>();
  if (mode == 0) {
    std::memset(values, 0, out.nbytes());
    return out;
  }
  const bool some = mode == 1 && blocks.size(0) != table.size(0);
  if (some) {
    for (int64_t i = 0; i < rows; ++i) values[i] = -HUGE_VALF;
  }
  const vera_status status = vera_matrix_run(
      &matrix, hidden.const_data_ptr<float>(), 1, some ? blocks.const_data_ptr<int32_t>() : nullptr,
      some ? static_cast<int32_t>(blocks.size(0)) : 0, values);
  ET_KERNEL_CHECK_MSG(context, status == VERA_STATUS_OK, InvalidArgument, out, "vera::logits: %s",
                      vera_status_text(status));
  return out;
}

}  // namespace

EXECUTORCH_LIBRARY(vera, "decoder_layer.out", DecoderLayerOut);
EXECUTORCH_LIBRARY(vera, "embed.out", EmbedOut);
EXECUTORCH_LIBRARY(vera, "last_norm.out", LastNormOut);
EXECUTORCH_LIBRARY(vera, "logits.out", LogitsOut);
