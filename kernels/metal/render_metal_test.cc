// The text for Metal, compiled for the host with the header of shim/, against the reference.
#include "metal_stdlib"

namespace render_text {
#include "metal/render.metal"
}  // namespace render_text

#undef constant
#undef device
#undef thread
#undef threadgroup

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "vera/vera_shader.h"
#include "vulkan/gpu_test_util.h"

namespace vera {
namespace {

using namespace render_text;

// A look as the kernels read it.
struct DeviceLook {
  DeviceLook(const vera_look& look, const vera_render_options& options, vera_pixel_format format,
             bool half) {
    const vera_gpu_precision precision = half ? VERA_GPU_PRECISION_HALF : VERA_GPU_PRECISION_FLOAT;
    vera_shader_render_sizes sizes;
    EXPECT_EQ(0, vera_shader_render_size(&look, precision, &sizes));
    curves.resize(sizes.curves_bytes / sizeof(curves[0]));
    output_curves.resize(sizes.output_curves_bytes / sizeof(output_curves[0]));
    nodes.resize(sizes.nodes_bytes / sizeof(nodes[0]));
    vera_shader_render_params filled;
    EXPECT_EQ(0, vera_shader_pack_render(&look, &options, format, precision, curves.data(),
                                         nodes.data(), output_curves.data(), &filled));
    static_assert(sizeof(filled) == sizeof(params), "");
    std::memcpy(&params, &filled, sizeof(params));
  }
  std::vector<float> curves, output_curves;
  std::vector<metal::packed_uint2> nodes;
  RenderParams_0 params;
};

// One call for each thread of whole groups, so that some lie outside of the picture.
template <typename Call>
void ForEachThread(const Pixels& picture, Call call) {
  const metal::uint width = (static_cast<metal::uint>(picture.frame.width) + 15) / 16 * 16;
  const metal::uint height = (static_cast<metal::uint>(picture.frame.height) + 7) / 8 * 8;
  for (metal::uint y = 0; y < height; ++y) {
    for (metal::uint x = 0; x < width; ++x) call(metal::uint3(x, y, 0));
  }
}

template <typename Pixel, typename Kernel>
void RunBuffers(Kernel kernel, DeviceLook* look, const Pixels& src, Pixels* dst) {
  std::vector<Pixel> in(src.bytes.size() / sizeof(Pixel)), out(in.size());
  std::memcpy(static_cast<void*>(in.data()), src.bytes.data(), src.bytes.size());
  ForEachThread(src, [&](const metal::uint3& id) {
    kernel(id, &look->params, look->curves.data(), look->output_curves.data(),
           in.data(), out.data(), look->nodes.data());
  });
  std::memcpy(dst->bytes.data(), static_cast<const void*>(out.data()), dst->bytes.size());
}

// UNORM8 texels are code / 255, and are written back to the nearest code, as a GPU does.
template <typename Kernel>
void RunTextures(Kernel kernel, DeviceLook* look, const Pixels& src, Pixels* dst) {
  const metal::uint width = static_cast<metal::uint>(src.frame.width);
  std::vector<metal::float4> in(src.samples() / 4), out(in.size());
  for (size_t i = 0; i < src.samples(); ++i) {
    const float value = static_cast<float>(src.At(i));
    in[i / 4][i % 4] = src.unit() == 1 ? value / 255.0f : value;
  }
  ForEachThread(src, [&](const metal::uint3& id) {
    kernel(id, &look->params, look->curves.data(), look->output_curves.data(),
           {in.data(), width}, {out.data(), width}, look->nodes.data());
  });
  for (size_t i = 0; i < src.samples(); ++i) {
    const float value = out[i / 4][i % 4];
    const uint16_t half = metal::half(value).bits;
    if (src.unit() == 1) dst->bytes[i] = static_cast<uint8_t>(value * 255.0f + 0.5f);
    if (src.unit() == 2) std::memcpy(&dst->bytes[2 * i], &half, 2);
    if (src.unit() == 4) std::memcpy(&dst->bytes[4 * i], &value, 4);
  }
}

void Run(DeviceLook* look, bool half, bool textures, const Pixels& src, Pixels* dst) {
  using metal::packed_uint2, metal::packed_uint4, metal::uint;
  if (textures && src.unit() == 1) {
    half ? RunTextures(renderTexture8Half, look, src, dst)
         : RunTextures(renderTexture8, look, src, dst);
  } else if (textures && src.unit() == 4) {
    half ? RunTextures(renderTextureF32Half, look, src, dst)
         : RunTextures(renderTextureF32, look, src, dst);
  } else if (textures) {
    half ? RunTextures(renderTextureF16Half, look, src, dst)
         : RunTextures(renderTextureF16, look, src, dst);
  } else if (src.unit() == 1) {
    half ? RunBuffers<uint>(renderRgba8Half, look, src, dst)
         : RunBuffers<uint>(renderRgba8, look, src, dst);
  } else if (src.unit() == 2) {
    half ? RunBuffers<packed_uint2>(renderRgbaF16Half, look, src, dst)
         : RunBuffers<packed_uint2>(renderRgbaF16, look, src, dst);
  } else {
    half ? RunBuffers<packed_uint4>(renderRgbaF32Half, look, src, dst)
         : RunBuffers<packed_uint4>(renderRgbaF32, look, src, dst);
  }
}

void CheckAllFormats(bool half, bool textures) {
  const Look look = MakeLook(33, 17, false), second = MakeLook(33, 2, false);
  for (const vera_pixel_format format : kGpuFormats) {
    if (textures && format == VERA_PIXEL_FORMAT_BGRA8) continue;
    for (int kind = 0; kind < 4; ++kind) {
      vera_look full = Full(look.view);
      if (kind == 2) full.output_curves = second.curves.data();
      if (kind == 2) full.output_curve_size = 33;
      Pixels src(format, 151, 37, 0);
      src.Fill();
      vera_render_options options = Options(kind == 0 ? 1.0f : 0.8f);
      options.interpolation = kind == 1;
      options.dither = kind == 3 && !src.info.is_float();
      options.out_of_range = kind == 3 && src.info.is_float();
      options.origin_x = -3;
      options.origin_y = 1000;
      Pixels expected(src), actual(src);
      RenderReference(full, src.frame, expected.frame, options);
      DeviceLook ready(full, options, format, half);
      ready.params.width_0 = 151;
      ready.params.height_0 = 37;
      Run(&ready, half, textures, src, &actual);
      const Difference found = Compare(expected, actual);
      std::printf("format %d, kind %d: largest error %.3g, %.4f equal\n", format, kind,
                  found.largest, found.equal);
      if (half && src.info.is_float()) {
        EXPECT_LE(found.largest, 0.002) << format << " " << kind;
      } else {
        EXPECT_LE(found.worst, 1.0) << format << " " << kind;
      }
      EXPECT_GE(found.equal, !half && src.unit() == 1 ? 0.999 : 0.0);
    }
  }
}

TEST(RenderMetalTest, BuffersInFloatMatchReference) { CheckAllFormats(false, false); }
TEST(RenderMetalTest, BuffersInHalfMatchReference) { CheckAllFormats(true, false); }
TEST(RenderMetalTest, TexturesInFloatMatchReference) { CheckAllFormats(false, true); }
TEST(RenderMetalTest, TexturesInHalfMatchReference) { CheckAllFormats(true, true); }

}  // namespace
}  // namespace vera
