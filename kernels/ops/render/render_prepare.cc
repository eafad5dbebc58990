#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <new>

#include "ops/render/render.h"

namespace vera {
namespace {

// Keeps every sum and product of RenderSpan finite; the largest half-precision number.
constexpr float kMaxLutMagnitude = 65504.0f;

template <typename T>
std::unique_ptr<T[]> Allocate(size_t count) {
  return std::unique_ptr<T[]>(new (std::nothrow) T[count]);
}

template <typename T>
AlignedArray<T> AllocateAligned(size_t count) {
  void* memory = ::operator new(count * sizeof(T), AlignedDelete::kLine, std::nothrow);
  return AlignedArray<T>(static_cast<T*>(memory));
}

// clamp(value) * scale for each; false if one is not finite.
bool CopyCurves(const void* values, vera_value_type type, size_t count, float scale, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const float value = ReadValue(values, type, i);
    if (!std::isfinite(value)) return false;
    out[i] = std::clamp(value, 0.0f, 1.0f) * scale;
  }
  return true;
}

// In double, so that the table holds the nearest float to the true position.
void PrepareCodes8(PreparedLook* out) {
  const int last = out->curve_size - 1;
  for (int c = 0; c < 3; ++c) {
    const float* curve = out->curves.get() + c * out->curve_size;
    for (int code = 0; code < 256; ++code) {
      const double t = code * last / 255.0;
      const int i = std::min(static_cast<int>(t), last - 1);
      const double low = curve[i];
      out->codes8[c * 256 + code] = static_cast<float>(low + (t - i) * (curve[i + 1] - low));
    }
  }
}

template <vera_value_type kType, typename Use>
void ForNodes(const void* lut, size_t begin, size_t end, Use use) {
  for (size_t i = begin; i < end; ++i) {
    use(i, ReadValue(lut, kType, 3 * i), ReadValue(lut, kType, 3 * i + 1),
        ReadValue(lut, kType, 3 * i + 2));
  }
}

// Calls use(node, r, g, b) for each node of a plane of the LUT. What is done with LUT values goes
// plane by plane, so that threads share it and cancel is seen.
template <typename Use>
void ForNodesOf(const vera_look& look, int64_t plane, Use use) {
  const size_t n = static_cast<size_t>(look.lut_size);
  const size_t begin = static_cast<size_t>(plane) * n * n, end = begin + n * n;
  switch (look.lut_type) {
    case VERA_VALUE_FLOAT32: return ForNodes<VERA_VALUE_FLOAT32>(look.lut, begin, end, use);
    case VERA_VALUE_FLOAT16: return ForNodes<VERA_VALUE_FLOAT16>(look.lut, begin, end, use);
    default: return ForNodes<VERA_VALUE_UNORM16>(look.lut, begin, end, use);
  }
}

vera_status PrepareNodes(const vera_look& look, const ForEach& for_each, float* out) {
  std::atomic<bool> bad{false};
  const auto fits = [](float value) { return std::fabs(value) <= kMaxLutMagnitude; };  // no NaN
  const bool complete = for_each(look.lut_size, [&](int64_t plane) {
    bool all_fit = true;
    ForNodesOf(look, plane, [&](size_t i, float r, float g, float b) {
      all_fit = all_fit && fits(r) && fits(g) && fits(b);
      float* node = out + 4 * i;
      node[0] = r;
      node[1] = g;
      node[2] = b;
      node[3] = 0.0f;
    });
    if (!all_fit) bad.store(true, std::memory_order_relaxed);
  });
  if (!complete) return VERA_STATUS_CANCELLED;
  return bad.load() ? VERA_STATUS_INVALID_ARGUMENT : VERA_STATUS_OK;
}

// The integer path has neither output curves nor dither nor trilinear interpolation.
bool MayBeEightBit(const vera_look& look, const RenderJob& job) {
  return job.src.sample == Sample::kUnsigned8 && job.src.layout != Layout::k420 &&
         job.dst.sample == Sample::kUnsigned8 && !job.trilinear && !job.dither &&
         look.output_curve_size == 0;
}

// In steps of 1/64 code, with half a code more: sums are then only truncated.
int16_t ScaledNode(float value) {
  const double scaled = static_cast<double>(value) * (255 * kFixedCode);
  return static_cast<int16_t>(static_cast<int32_t>(scaled + 65536.5) - 65536 + kFixedCode / 2);
}

// Where LUT values times strength keep to the integers.
struct FixedNodes {
  float strength;
  int lut_size;
  int16_t* out;

  bool Fit(float v) const {
    return std::fabs(v) <= kMaxLutMagnitude && std::fabs(v * strength) <= kFixedNodeMax;
  }
  // To both places that hold it, if it is not in the first row of its plane.
  void Store(size_t i, bool first_row, float r, float g, float b) const {
    const int16_t node[4] = {ScaledNode(r * strength), ScaledNode(g * strength),
                             ScaledNode(b * strength), 0};
    const size_t n = static_cast<size_t>(lut_size);
    int16_t* at = out + kFixedNode * i;
    std::memcpy(at, node, sizeof(node));
    if (!first_row) std::memcpy(at - kFixedNode * n + 4, node, sizeof(node));
  }
};

// *fits is false if a value does not fit, or is not a number. CANCELLED, or OK.
vera_status ScaleNodes(const vera_look& look, const FixedNodes& nodes, const ForEach& for_each,
                       bool* fits) {
  std::atomic<bool> bad{false};
  const bool complete = for_each(look.lut_size, [&](int64_t plane) {
    bool all_fit = true;
    const size_t n = static_cast<size_t>(look.lut_size);
    const size_t second_row = static_cast<size_t>(plane) * n * n + n;
    ForNodesOf(look, plane, [&](size_t i, float r, float g, float b) {
      all_fit = all_fit && nodes.Fit(r) && nodes.Fit(g) && nodes.Fit(b);
      if (all_fit) nodes.Store(i, i < second_row, r, g, b);
    });
    if (!all_fit) bad.store(true, std::memory_order_relaxed);
  });
  *fits = !bad.load();
  return complete ? VERA_STATUS_OK : VERA_STATUS_CANCELLED;
}

void PrepareFixedCodes(PreparedLook* out) {
  const int last = out->curve_size - 1, n = out->lut_size;
  for (int c = 0; c < 3; ++c) {
    const float* curve = out->curves.get() + c * out->curve_size;
    for (int code = 0; code < 256; ++code) {
      const double t = code * last / 255.0;
      const int i = std::min(static_cast<int>(t), last - 1);
      const double low = curve[i];
      const double position = low + (t - i) * (curve[i + 1] - low);
      const int cell = std::min(static_cast<int>(position), n - 2);
      const int fraction = static_cast<int>((position - cell) * kFixedOne + 0.5);
      out->fixed_codes[c * 256 + code] = cell << 15 | fraction;
      uint8_t* bytes = out->code_bytes.get() + c * 3 * 256 + code;
      bytes[0] = static_cast<uint8_t>(cell);
      bytes[256] = static_cast<uint8_t>(fraction);
      bytes[512] = static_cast<uint8_t>(fraction >> 8);
    }
  }
}

// Leaves out->fixed_nodes empty where the look does not fit into integers.
vera_status PrepareEightBit(const vera_look& look, float strength, const ForEach& for_each,
                            PreparedLook* out) {
  const size_t n = static_cast<size_t>(look.lut_size);
  AlignedArray<int16_t> nodes = AllocateAligned<int16_t>(kFixedNode * n * n * n);
  if (!nodes) return VERA_STATUS_OUT_OF_MEMORY;
  bool fits = false;
  vera_status status =
      ScaleNodes(look, {strength, look.lut_size, nodes.get()}, for_each, &fits);
  if (status != VERA_STATUS_OK || !fits) return status;
  status = PrepareCurves(look, out);
  if (status != VERA_STATUS_OK) return status;
  out->fixed_codes = Allocate<int32_t>(3 * 256);
  out->code_bytes = Allocate<uint8_t>(3 * 3 * 256);
  if (!out->fixed_codes || !out->code_bytes) return VERA_STATUS_OUT_OF_MEMORY;
  PrepareFixedCodes(out);
  out->fixed_nodes = std::move(nodes);
  return VERA_STATUS_OK;
}

bool AllocateNodes(bool codes8, PreparedLook* out) {
  const size_t n = static_cast<size_t>(out->lut_size);
  out->nodes = Allocate<float>(4 * n * n * n);
  if (codes8) out->codes8 = Allocate<float>(3 * 256);
  return out->nodes && (!codes8 || out->codes8);
}

}  // namespace

vera_status PrepareCurves(const vera_look& look, PreparedLook* out) {
  const size_t count = 3 * static_cast<size_t>(look.curve_size);
  const size_t output_count = 3 * static_cast<size_t>(look.output_curve_size);
  out->curve_size = look.curve_size;
  out->lut_size = look.lut_size;
  out->output_curve_size = look.output_curve_size;
  out->curves = Allocate<float>(count);
  if (output_count > 0) out->output_curves = Allocate<float>(output_count);
  if (!out->curves || (output_count > 0 && !out->output_curves)) {
    return VERA_STATUS_OUT_OF_MEMORY;
  }
  const float last = static_cast<float>(look.lut_size - 1);
  const bool finite =
      CopyCurves(look.curves, look.curve_type, count, last, out->curves.get()) &&
      CopyCurves(look.output_curves, look.output_curve_type, output_count, 1.0f,
                 out->output_curves.get());
  return finite ? VERA_STATUS_OK : VERA_STATUS_INVALID_ARGUMENT;
}

vera_status PrepareLook(const vera_look& look, const ForEach& for_each, RenderJob* job) {
  PreparedLook* out = &job->look;
  out->curve_size = look.curve_size;
  out->lut_size = look.lut_size;
  out->output_curve_size = look.output_curve_size;
  if (MayBeEightBit(look, *job)) {
    const vera_status status = PrepareEightBit(look, job->strength, for_each, out);
    if (status != VERA_STATUS_OK || out->fixed_nodes) return status;
  }
  const bool codes8 =
      job->src.sample == Sample::kUnsigned8 && job->src.layout != Layout::k420;
  vera_status status = PrepareCurves(look, out);
  if (status != VERA_STATUS_OK) return status;
  if (!AllocateNodes(codes8, out)) return VERA_STATUS_OUT_OF_MEMORY;
  status = PrepareNodes(look, for_each, out->nodes.get());
  if (status == VERA_STATUS_OK && codes8) PrepareCodes8(out);
  return status;
}

vera_status PrepareLook(const vera_look& look, RenderJob* job) {
  const ForEach one_after_the_other = [](int64_t count, const std::function<void(int64_t)>& work) {
    for (int64_t i = 0; i < count; ++i) work(i);
    return true;
  };
  return PrepareLook(look, one_after_the_other, job);
}

}  // namespace vera
