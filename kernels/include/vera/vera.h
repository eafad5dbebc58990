/* C ABI of libvera: applies a baked look (three curves and a 3-D LUT) to pixels.
 *
 * Valid C11 and C++17. The caller owns all memory and it is only used during the call; nothing is
 * kept between calls, there is no global state, and every function may be called from any number
 * of threads at once (on different destinations). No C++ exception leaves the library.
 */
#ifndef VERA_VERA_H_
#define VERA_VERA_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#if defined(VERA_BUILDING)
#define VERA_API __declspec(dllexport)
#else
#define VERA_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define VERA_API __attribute__((visibility("default")))
#else
#define VERA_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* VERA_STATUS_OK, VERA_STATUS_INVALID_ARGUMENT, ...: see status_list.h. */
typedef int32_t vera_status;
enum {
#define VERA_STATUS(name, code, text) VERA_STATUS_##name = code,
#include "status_list.h"
};

/* Samples are in the byte order of the machine. 8-, 10- and 16-bit samples of RGB use their whole
 * range for [0, 1]; alpha is straight (not multiplied into the colour).
 *
 * RGB8 .. BGRA8: interleaved, in the order of the name. RGBF16, RGBAF16: IEEE half precision.
 * RGB10A2: 32 bits a pixel: red in bits 0..9, green 10..19, blue 20..29, alpha 30..31 (Android's
 *   RGBA_1010102).
 * PLANAR_*: three planes R, G, B of width x height samples.
 * 4:2:0, only as a source: NV12 has a plane of Y (8 bits) and one of Cb, Cr in turn; I420 has
 *   planes Y, Cb, Cr (8 bits); P010 is NV12 with 16-bit samples whose upper 10 bits count. Chroma
 *   planes have (width + 1) / 2 x (height + 1) / 2 samples, sited left (at even columns, between
 *   two rows), and are interpolated linearly. */
typedef int32_t vera_pixel_format;
enum {
  VERA_PIXEL_FORMAT_RGB8 = 0,
  VERA_PIXEL_FORMAT_RGBA8 = 1,
  VERA_PIXEL_FORMAT_RGB16 = 2,
  VERA_PIXEL_FORMAT_RGBA16 = 3,
  VERA_PIXEL_FORMAT_RGBF32 = 4,
  VERA_PIXEL_FORMAT_RGBAF32 = 5,
  VERA_PIXEL_FORMAT_BGRA8 = 6,
  VERA_PIXEL_FORMAT_RGB10A2 = 7,
  VERA_PIXEL_FORMAT_RGBF16 = 8,
  VERA_PIXEL_FORMAT_RGBAF16 = 9,
  VERA_PIXEL_FORMAT_PLANAR8 = 10,
  VERA_PIXEL_FORMAT_PLANAR16 = 11,
  VERA_PIXEL_FORMAT_PLANARF32 = 12,
  VERA_PIXEL_FORMAT_PLANARF16 = 13,
  VERA_PIXEL_FORMAT_NV12 = 14,
  VERA_PIXEL_FORMAT_I420 = 15,
  VERA_PIXEL_FORMAT_P010 = 16
};

/* How Y, Cb, Cr make R, G, B (ITU-R BT.709, BT.601, BT.2020 non-constant luminance). */
typedef int32_t vera_yuv_matrix;
enum { VERA_YUV_MATRIX_BT709 = 0, VERA_YUV_MATRIX_BT601 = 1, VERA_YUV_MATRIX_BT2020 = 2 };

/* VIDEO: Y 16..235, Cb and Cr 16..240 (times 4 for 10 bits). FULL: all codes. */
typedef int32_t vera_yuv_range;
enum { VERA_YUV_RANGE_VIDEO = 0, VERA_YUV_RANGE_FULL = 1 };

/* A view of pixels in one plane (formats 0..9): sample c of pixel (x, y) lies at data + y * row_stride_bytes + x * pixel bytes
 * + c * sample bytes. data and row_stride_bytes are multiples of the sample bytes; the stride is
 * at least width * pixel bytes; width and height are 0..2^30. data may be NULL when the image
 * has no pixels. */
typedef struct vera_image {
  void* data;
  int64_t width;
  int64_t height;
  ptrdiff_t row_stride_bytes;
  vera_pixel_format format;
} vera_image;

/* A view of pixels in any format, up to three planes. Planes that the format lacks are ignored.
 * Each plane is aligned like its samples (RGB10A2: 4 bytes), has a stride of at least its row, and
 * may be NULL when the image has no pixels. yuv_matrix and yuv_range count for 4:2:0 only. */
typedef struct vera_frame {
  size_t struct_size; /* sizeof(vera_frame) as the caller was compiled */
  vera_pixel_format format;
  vera_yuv_matrix yuv_matrix;
  vera_yuv_range yuv_range;
  int32_t reserved; /* 0 */
  int64_t width;
  int64_t height;
  void* planes[3];
  ptrdiff_t row_stride_bytes[3];
} vera_frame;

/* A look in the encoding of the pixels that it is applied to (no colour conversion is done).
 *
 * curves: 3 x curve_size float32, one channel after the other (R, G, B), samples evenly spaced
 *   over [0, 1], piecewise linear between them; values are clamped to [0, 1].
 * lut: lut_size^3 x 3 float32, red index fastest as in a .cube file: node (r, g, b) starts at
 *   3 * (r + n * g + n * n * b). Values are encoded RGB, meant for [0, 1]; values outside, up to
 *   +-65504, are interpolated as they are and only the result is clamped. */
typedef struct vera_baked_look {
  const float* curves;
  int32_t curve_size; /* 2..4096 */
  const float* lut;
  int32_t lut_size; /* 2..129 */
} vera_baked_look;

/* How the values of a vera_look are stored; UNORM16 is value = code / 65535. */
typedef int32_t vera_value_type;
enum { VERA_VALUE_FLOAT32 = 0, VERA_VALUE_FLOAT16 = 1, VERA_VALUE_UNORM16 = 2 };

/* vera_baked_look with values of other types and curves after the LUT.
 *
 * output_curves: like curves, applied to the result of the LUT clamped to [0, 1], before the mix;
 *   NULL (and size 0) for none. */
typedef struct vera_look {
  size_t struct_size; /* sizeof(vera_look) as the caller was compiled */
  const void* curves;
  const void* lut;
  const void* output_curves;
  int32_t curve_size; /* 2..4096 */
  vera_value_type curve_type;
  int32_t lut_size; /* 2..129 */
  vera_value_type lut_type;
  int32_t output_curve_size; /* 2..4096, or 0 */
  vera_value_type output_curve_type;
} vera_look;

/* TRILINEAR weighs all eight nodes of a cell; greys may then take on colour from the other nodes.*/
typedef int32_t vera_interpolation;
enum { VERA_INTERPOLATION_TETRAHEDRAL = 0, VERA_INTERPOLATION_TRILINEAR = 1 };

/* What happens outside of [0, 1]. CLAMP: input and result are clamped. EXTEND, only from float or
 * half to float or half: the look is applied to the clamped input, the offset of the input from
 * its clamped value is added to the result, and the result is not clamped, so that highlights
 * above 1 survive. NaN counts as 0 in both; infinities stay what they are under EXTEND. */
typedef int32_t vera_out_of_range;
enum { VERA_OUT_OF_RANGE_CLAMP = 0, VERA_OUT_OF_RANGE_EXTEND = 1 };

/* ORDERED, only for 8-bit results: rounds up where the fraction of the code exceeds a fixed
 * pattern of the pixel's position (origin added), the same for all channels: no bands in smooth
 * gradients, codes that are met exactly stay, grey stays grey. */
typedef int32_t vera_dither;
enum { VERA_DITHER_NONE = 0, VERA_DITHER_ORDERED = 1 };

/* Called on the thread that called vera_render, at most once per tile (32,768 pixels), with
 * growing done_pixels; the last call of a render that succeeds has done == total. Must not throw
 * or long-jump. */
typedef void (*vera_progress)(void* user, int64_t done_pixels, int64_t total_pixels);

typedef struct vera_render_options {
  /* sizeof(vera_render_options) as the caller was compiled. A shorter struct of an older header
   * (up to `user`) means 0 in the rest. A longer one of a newer header is accepted as long as the
   * part unknown to this library is all zero bytes. The same holds for the other structs. */
  size_t struct_size;
  /* out = in + strength * (look(in) - in); 0..1.5, where 0 leaves the photo as it is. */
  float strength;
  /* 1..64; 0 means one for each core. The result does not depend on it. */
  int32_t threads;
  /* May be NULL. A value other than 0 stops the work; read before each tile, so within 20 ms. */
  const volatile int32_t* cancel;
  vera_progress progress; /* may be NULL */
  void* user;             /* passed on to progress */
  vera_interpolation interpolation;
  vera_out_of_range out_of_range;
  vera_dither dither;
  int32_t reserved; /* 0 */
  /* Position of the image's first pixel in the whole picture, for the dither of tiles. */
  int64_t origin_x;
  int64_t origin_y;
} vera_render_options;

/* Renders src into dst, in this order: input curve per channel, LUT, output curve (if any), mix
 * in + strength * (result - in), clamp (or extend), round half up (or dither; half precision
 * rounds to nearest even).
 *
 * src and dst have the same width and height and any format each, 4:2:0 only as src. They are the
 * same pixels (same format, planes and strides: in place) or share none. Alpha is copied, and
 * scaled if the formats differ; it is 1 where only dst has it. The bytes written do not depend on
 * the number of threads, on tiling or on the instruction set. Extra memory: 16 bytes a LUT node
 * and about 16 KiB of stack a thread.
 *
 * VERA_STATUS_OK, also for images without pixels.
 * VERA_STATUS_INVALID_ARGUMENT for NULL pointers, values outside the ranges above, NaN or infinity
 *   in strength, curves or lut, unequal sizes, partial overlap; dst is untouched.
 * VERA_STATUS_OUT_OF_MEMORY if the copy of the look cannot be allocated; dst is untouched.
 * VERA_STATUS_CANCELLED if stopped by cancel, within 20 ms; some pixels of dst may be written.
 * VERA_STATUS_INTERNAL_ERROR for a bug of the library.
 *
 * Source of the interpolation: Kasson, Nin, Plouffe, Hafner, "Performing color space conversions
 * with three-dimensional linear interpolation", Journal of Electronic Imaging 4(3), 1995. */
VERA_API vera_status vera_render_frame(const vera_look* look, const vera_frame* src,
                                       const vera_frame* dst, const vera_render_options* options);

/* The same for float32 looks and pixels in one plane; src and dst have the same format. */
VERA_API vera_status vera_render(const vera_baked_look* look, const vera_image* src,
                                 vera_image* dst, const vera_render_options* options);

/* ---- Bake: the per-pixel network of a look, evaluated on a lattice or on free colours ---- */

/* One hidden layer: x = layernorm(relu(weight x + bias)) + latent_weight relu(latents) +
 * latent_bias. Matrices are row-major, one row per feature of this layer; weight has 3 columns in
 * the first layer and else the width of the layer before, latent_weight 3 * latent_size. */
typedef struct vera_renderer_layer {
  const float* weight;
  const float* bias;
  const float* norm_weight;
  const float* norm_bias;
  const float* latent_weight;
  const float* latent_bias;
  int32_t width;    /* 1..4096 */
  int32_t reserved; /* 0 */
} vera_renderer_layer;

/* SIGMOID: RGB = sigmoid(out). RESIDUAL: RGB = input + out, clamped to [0, 1]. */
typedef int32_t vera_renderer_output;
enum { VERA_RENDERER_OUTPUT_SIGMOID = 0, VERA_RENDERER_OUTPUT_RESIDUAL = 1 };

/* How the products between hidden layers are computed. INT8: weights in 8 bits with a scale per
 * feature, activations in 8 bits with a range per colour, sums in int32; the layer that reads RGB,
 * the one that writes it and everything between the products stay in float32. */
typedef int32_t vera_precision;
enum { VERA_PRECISION_FLOAT32 = 0, VERA_PRECISION_INT8 = 1 };

/* The network: x = 2 rgb - 1, the layers, out_weight x + out_bias, output. All values are finite,
 * up to +-65504. Read only by vera_renderer_create. */
typedef struct vera_renderer_weights {
  size_t struct_size; /* sizeof(vera_renderer_weights) as the caller was compiled */
  const vera_renderer_layer* layers;
  const float* out_weight; /* 3 rows of the last layer's width */
  const float* out_bias;   /* 3 */
  int32_t layer_count;     /* 1..8 */
  int32_t latent_size;     /* values of each of the 3 latents, 1..65536 */
  vera_renderer_output output;
  vera_precision precision;
  float norm_epsilon; /* added to the variance, 1e-12..1 */
  int32_t reserved;   /* 0 */
} vera_renderer_weights;

/* Weights made ready for this machine. Never changes, so any number of threads may use it. */
typedef struct vera_renderer vera_renderer;

/* Makes *renderer from weights, which may be freed afterwards. *renderer is NULL after an error:
 * INVALID_ARGUMENT for NULL pointers and values outside the ranges above, OUT_OF_MEMORY. Memory:
 * about that of the weights in float32. */
VERA_API vera_status vera_renderer_create(const vera_renderer_weights* weights,
                                          vera_renderer** renderer);

/* Frees a renderer that no call uses any more. NULL is allowed. */
VERA_API void vera_renderer_destroy(vera_renderer* renderer);

typedef struct vera_bake_options {
  size_t struct_size; /* sizeof(vera_bake_options) as the caller was compiled */
  /* 1..64; 0 means one for each core. The result does not depend on it. */
  int32_t threads;
  int32_t reserved; /* 0 */
  /* May be NULL. A value other than 0 stops the work; read before each 192 points. */
  const volatile int32_t* cancel;
  vera_progress progress; /* may be NULL; counts points, at most one call per 192 */
  void* user;             /* passed on to progress */
} vera_bake_options;

/* Writes the LUT of a look: lut_size^3 x 3 float32 encoded RGB in [0, 1], red index fastest, as in
 * vera_baked_look.
 *
 * latents: 3 x latent_size, lighting, global colour, specific colour, finite, up to +-65504.
 * strengths: 3 factors of the latents, 0..1.5; 0 switches a group off.
 * axes: 3 x lut_size float32, encoded input value of each node for red, green and blue, finite, up
 *   to +-65504; NULL for i / (lut_size - 1).
 * lut_size: 2..129.
 *
 * The bytes do not depend on the number of threads or on tiling, and are those of
 * vera_bake_points for the same colour. INT8: the same bytes on every instruction set. FLOAT32: the
 * same bytes wherever there is a fused multiply-add (AVX2, AVX-512, 64-bit ARM); other machines
 * differ by under 1e-5. Extra memory: 3 x 192 bytes x the largest width a thread.
 *
 * VERA_STATUS_INVALID_ARGUMENT for NULL pointers and values outside the ranges above,
 * VERA_STATUS_OUT_OF_MEMORY; lut is then untouched. VERA_STATUS_CANCELLED if stopped by cancel;
 * parts of lut may be written. */
VERA_API vera_status vera_bake(const vera_renderer* renderer, const float* latents,
                               const float* strengths, const float* axes, int32_t lut_size,
                               float* lut, const vera_bake_options* options);

/* The same for `count` colours, 0..2^40: rgb and out are count x 3 float32, the same array or
 * without any overlap. rgb is meant for [0, 1]; finite, up to +-65504. */
VERA_API vera_status vera_bake_points(const vera_renderer* renderer, const float* latents,
                                      const float* strengths, const float* rgb, int64_t count,
                                      float* out, const vera_bake_options* options);

/* English text for a status, never NULL; static memory. */
VERA_API const char* vera_status_text(vera_status status);

/* "major.minor.patch" of the library; static memory. */
VERA_API const char* vera_version(void);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* VERA_VERA_H_ */
