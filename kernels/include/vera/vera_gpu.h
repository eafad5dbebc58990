/* C ABI of the GPU side of libvera_gpu: vera_bake and vera_render_frame on a Vulkan device.
 *
 * Valid C11 and C++17. Vulkan is looked up when a device is opened, so the library loads and its
 * CPU functions (vera.h) run on machines without it. No C++ exception leaves the library.
 */
#ifndef VERA_VERA_GPU_H_
#define VERA_VERA_GPU_H_

#include "vera/vera.h"
#include "vera/vera_shader.h" /* vera_gpu_precision */

#ifdef __cplusplus
extern "C" {
#endif

/* An opened device. Calls on one vera_gpu wait for each other; different ones are independent. */
typedef struct vera_gpu vera_gpu;

typedef struct vera_gpu_options {
  size_t struct_size; /* sizeof(vera_gpu_options) as the caller was compiled */
  /* -1: the first device that is a GPU. 0, 1, ...: that one of the system's list, which may be a
   * software renderer. */
  int32_t device_index;
  vera_gpu_precision precision;
} vera_gpu_options;

/* Opens a device and runs vera_gpu_self_test on it. *gpu is NULL unless the status is OK.
 *
 * message: NULL, or room for message_bytes bytes, where one line of English says why it failed
 *   (empty after success), cut to fit and ended by a zero.
 *
 * VERA_STATUS_INVALID_ARGUMENT for NULL pointers and values outside of the ranges above.
 * VERA_STATUS_UNSUPPORTED_FORMAT if there is no Vulkan 1.1, no such device, no half precision in
 *   its shaders where that is asked for, fewer than 5 storage buffers a shader, or if the device
 *   does not compute what the CPU does: use vera_bake and vera_render_frame then.
 * VERA_STATUS_OUT_OF_MEMORY, VERA_STATUS_INTERNAL_ERROR (the driver failed). */
VERA_API vera_status vera_gpu_open(const vera_gpu_options* options, vera_gpu** gpu, char* message,
                                   size_t message_bytes);

/* Renders small pictures of every format on the device and on the CPU, and bakes a small network
 * and renders with that LUT.
 *
 * VERA_STATUS_UNSUPPORTED_FORMAT if the pictures differ by more than one code of 8 bits, or in
 * float by more than 1e-5 (0.004 with HALF), or the LUTs by more than 1e-5 (0.004 with HALF). */
VERA_API vera_status vera_gpu_self_test(vera_gpu* gpu);

/* vera_render_frame on the device: the same arguments, rules and result, but for these:
 *
 * - src and dst have the same format: RGBA8, BGRA8, RGBAF16 or RGBAF32.
 * - The result is within one code (8 bits), one step (half) or 1e-5 (float) of the reference's, not
 *   always the CPU's bytes. It does not depend on tiling.
 * - options->threads is ignored. cancel is read, and progress called, once per tile of up to
 *   1,048,576 pixels.
 *
 * VERA_STATUS_UNSUPPORTED_FORMAT for other formats; the rest as vera_render_frame. After
 * VERA_STATUS_INTERNAL_ERROR (the driver lost the device) some pixels of dst may be written and
 * the vera_gpu should be closed. */
VERA_API vera_status vera_gpu_render(vera_gpu* gpu, const vera_look* look, const vera_frame* src,
                                     const vera_frame* dst, const vera_render_options* options);

/* ---- Bake: latents -> LUT on the device, where a render reads it ---- */

/* The weights of a vera_renderer in the device's memory. */
typedef struct vera_gpu_renderer vera_gpu_renderer;

/* Copies the weights of a FLOAT32 renderer to the device. `renderer` must stay until the
 * vera_gpu_renderer is destroyed. *made is NULL unless the status is OK.
 *
 * VERA_STATUS_INVALID_ARGUMENT for NULL pointers. VERA_STATUS_UNSUPPORTED_FORMAT for an INT8
 * renderer, or one with a hidden layer, but for the last, wider than 256: use vera_bake then.
 * VERA_STATUS_OUT_OF_MEMORY, VERA_STATUS_INTERNAL_ERROR. */
VERA_API vera_status vera_gpu_renderer_create(vera_gpu* gpu, const vera_renderer* renderer,
                                              vera_gpu_renderer** made);

/* Frees a renderer that no call uses any more, before or after its vera_gpu. NULL is allowed. */
VERA_API void vera_gpu_renderer_destroy(vera_gpu_renderer* renderer);

/* A baked LUT in the device's memory: 16 bytes a node, 8 with HALF. */
typedef struct vera_gpu_lut vera_gpu_lut;

/* vera_bake on the device: the same arguments and rules, but for these:
 *
 * - renderer was made with this gpu. *lut is NULL unless the status is OK.
 * - Values lie in [0, 1], within 1e-5 of the network in double precision; with HALF within 0.004
 *   for up to four hidden layers of weights as training starts with, and more for deeper ones.
 * - options->threads is ignored. cancel is read, and progress called, once per 4096 nodes.
 *
 * What the latents add is computed on the CPU, once per look. */
VERA_API vera_status vera_gpu_bake(vera_gpu* gpu, const vera_gpu_renderer* renderer,
                                   const float* latents, const float* strengths,
                                   const float* axes, int32_t lut_size, vera_gpu_lut** lut,
                                   const vera_bake_options* options);

/* Copies a LUT to `out`: lut_size^3 x 3 float32, as vera_bake writes it.
 *
 * VERA_STATUS_INVALID_ARGUMENT for NULL pointers and a lut of another gpu. */
VERA_API vera_status vera_gpu_lut_read(vera_gpu* gpu, const vera_gpu_lut* lut, float* out);

/* Frees a LUT that no call uses any more, before or after its vera_gpu. NULL is allowed. */
VERA_API void vera_gpu_lut_destroy(vera_gpu_lut* lut);

/* vera_gpu_render with a LUT that lies on the device. look holds the curves; its lut is NULL, its
 * lut_type 0, its lut_size that of the LUT. lut was made with this gpu. */
VERA_API vera_status vera_gpu_render_lut(vera_gpu* gpu, const vera_look* look,
                                         const vera_gpu_lut* lut, const vera_frame* src,
                                         const vera_frame* dst,
                                         const vera_render_options* options);

/* The driver's name of the device; valid until vera_gpu_close. NULL for NULL. */
VERA_API const char* vera_gpu_device_name(const vera_gpu* gpu);

/* Frees everything; NULL is allowed. No call may be running on it. */
VERA_API void vera_gpu_close(vera_gpu* gpu);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* VERA_VERA_GPU_H_ */
