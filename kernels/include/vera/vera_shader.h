/* C ABI of what the GPU shaders read: for apps that run kernels/metal/render.metal and bake.metal,
 * or the same in SPIR-V, on a device of their own. No device is needed here; libvera_gpu
 * (vera_gpu.h) does all this by itself. kernels/metal/README.md has the entry points and their
 * buffers.
 *
 * Valid C11 and C++17. The caller owns all memory, which is aligned to 4 bytes at least; nothing is
 * kept, and every function may be called from any number of threads at once. No C++ exception
 * leaves the library.
 */
#ifndef VERA_VERA_SHADER_H_
#define VERA_VERA_SHADER_H_

#include "vera/vera.h"

#ifdef __cplusplus
extern "C" {
#endif

/* FLOAT: all arithmetic in float32. HALF: the LUT is kept and its nodes are summed in half
 * precision, the rest is float32; results differ by up to one 8-bit code (0.002) more. A bake keeps
 * weights and what goes from layer to layer in half precision and sums in float32. */
typedef int32_t vera_gpu_precision;
enum { VERA_GPU_PRECISION_FLOAT = 0, VERA_GPU_PRECISION_HALF = 1 };

/* RenderParams of the shader, 32 bytes. */
typedef struct vera_shader_render_params {
  uint32_t width;  /* of what a dispatch renders, in pixels */
  uint32_t height;
  uint32_t dither_phase;
  uint32_t flags; /* 1 trilinear, 2 extend, 4 dither, 8 blue first, 16 nodes in half precision */
  float strength;
  int32_t curve_size;
  int32_t lut_size;
  int32_t output_curve_size;
} vera_shader_render_params;

/* BakeParams of the shader, 32 bytes. */
typedef struct vera_shader_bake_params {
  uint32_t first_node; /* of a dispatch: 0, or a multiple of the nodes of a group */
  uint32_t node_count;
  int32_t lut_size;
  int32_t layer_count;
  int32_t output;
  int32_t axes;
  uint32_t flags; /* 1 residual, 16 nodes in half precision */
  float norm_epsilon;
} vera_shader_bake_params;

/* BakeLayer of the shader, 24 bytes. */
typedef struct vera_shader_bake_layer {
  int32_t inputs;
  int32_t width;
  int32_t padded_width;
  int32_t weights;
  int32_t biases;
  float scale;
} vera_shader_bake_layer;

/* Bytes of the render shader's buffers, never 0. */
typedef struct vera_shader_render_sizes {
  size_t curves_bytes;
  size_t nodes_bytes;
  size_t output_curves_bytes;
} vera_shader_render_sizes;

/* What vera_shader_pack_render fills. A look whose lut is NULL has the lut_size of a LUT that lies
 * on the device, and nodes_bytes is that of its nodes.
 *
 * VERA_STATUS_INVALID_ARGUMENT as vera_render_frame. */
VERA_API vera_status vera_shader_render_size(const vera_look* look, vera_gpu_precision precision,
                                             vera_shader_render_sizes* sizes);

/* Fills the buffers of the render shader for pixels of `format`: RGBA8, BGRA8, RGBAF16 or RGBAF32.
 * Textures count as RGBA8, RGBAF16 or RGBAF32, whatever the order of their channels in memory.
 *
 * nodes: NULL if look->lut is NULL; then the nodes are those that the bake shader wrote in the same
 *   precision. output_curves: left alone where the look has none.
 * params: width and height become 0 and are the caller's to set. To render a tile whose first pixel
 *   is (x, y), add it to the origin in the options.
 *
 * VERA_STATUS_UNSUPPORTED_FORMAT for other formats; VERA_STATUS_INVALID_ARGUMENT as
 * vera_render_frame; VERA_STATUS_OUT_OF_MEMORY. The buffers are then undefined. */
VERA_API vera_status vera_shader_pack_render(const vera_look* look,
                                             const vera_render_options* options,
                                             vera_pixel_format format,
                                             vera_gpu_precision precision, void* curves,
                                             void* nodes, void* output_curves,
                                             vera_shader_render_params* params);

/* Bytes of the bake shader's buffers, never 0, and its groups of 128 threads. */
typedef struct vera_shader_bake_sizes {
  size_t weights_bytes; /* begins at a multiple of 16 bytes on the device */
  size_t layers_bytes;
  size_t look_bytes;
  size_t nodes_bytes;
  uint32_t group_nodes; /* nodes that one group bakes: 8, 16 with HALF */
  uint32_t groups;      /* for the whole lattice */
} vera_shader_bake_sizes;

/* VERA_STATUS_UNSUPPORTED_FORMAT for an INT8 renderer, or one with a hidden layer, but for the
 * last, wider than 256: use vera_bake then. VERA_STATUS_INVALID_ARGUMENT for NULL pointers and
 * values that vera_bake refuses. */
VERA_API vera_status vera_shader_bake_size(const vera_renderer* renderer, int32_t lut_size,
                                           vera_gpu_precision precision,
                                           vera_shader_bake_sizes* sizes);

/* Fills the buffers that stay as they are as long as the renderer is used. Errors as before. */
VERA_API vera_status vera_shader_pack_weights(const vera_renderer* renderer,
                                              vera_gpu_precision precision, void* weights,
                                              vera_shader_bake_layer* layers);

/* Fills what a look adds; the arguments are those of vera_bake. params: first_node is 0.
 *
 * Errors as before, and VERA_STATUS_OUT_OF_MEMORY. */
VERA_API vera_status vera_shader_pack_bake(const vera_renderer* renderer, const float* latents,
                                           const float* strengths, const float* axes,
                                           int32_t lut_size, vera_gpu_precision precision,
                                           float* look, vera_shader_bake_params* params);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* VERA_VERA_SHADER_H_ */
