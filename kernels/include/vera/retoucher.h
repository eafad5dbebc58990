/* C ABI of libvera for apps: opens a bundle, plans a look with the app's model runtime, bakes it and
 * writes it. The pixels are then rendered by vera_render_frame (vera.h) or on the GPU (vera_gpu.h).
 *
 * Everything here is the same on every platform: the prompt, the picture that the model sees, the
 * choice of tokens, the look and its bytes. What runs the model is a `vera_planner`, a table of
 * functions that the app fills in: ExecuTorch on Android and iOS, Core ML on iOS.
 *
 * Valid C11 and C++17. No C++ exception leaves the library, nothing is printed, nothing is sent, no
 * photo or prompt is kept after the call that it was given to. Strings are UTF-8, and borrowed by the
 * call that takes them. Where a handle is returned, it is NULL after an error.
 */
#ifndef VERA_RETOUCHER_H_
#define VERA_RETOUCHER_H_

#include "vera/vera.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors ---- */

enum { VERA_MESSAGE_BYTES = 512 };

/* What went wrong, for people: what failed, the value, what is allowed, what to do. Filled in by the
 * call that takes it (also with VERA_STATUS_OK and an empty message); NULL where nobody reads it.
 * Cut at a whole character, always ended by 0. Never holds a wish, an answer or pixels. */
typedef struct vera_error {
  vera_status status;
  char message[VERA_MESSAGE_BYTES];
} vera_error;

/* ---- Bundle ---- */

/* A folder that `vera export` wrote, opened and checked. Never changes; any number of threads. */
typedef struct vera_bundle vera_bundle;

/* What the manifest says, in numbers. A number that does not apply is 0. */
typedef struct vera_bundle_info {
  size_t struct_size; /* sizeof(vera_bundle_info) as the caller was compiled */
  int32_t format_version;
  int32_t image_size;      /* S, side of the picture that the vision tower takes */
  int32_t image_tokens;    /* T */
  int32_t hidden_size;     /* H */
  int32_t vocab_size;      /* V, rows of the table; the tokenizer may know fewer */
  int32_t max_length;      /* positions of the cache */
  int32_t prefill_tokens;  /* at most so many in one step */
  int32_t latent_size;     /* L */
  int32_t reference_size;  /* E, side of the reference encoder's pictures; 0: no encoder */
  int32_t file_count;
  int64_t size_bytes;      /* of all files */
} vera_bundle_info;

/* Opens the bundle in `folder`: reads bundle.json, and checks size and SHA-256 of every file (reads
 * the bundle once; progress counts bytes; cancel is seen within 1 MiB). Nothing outside the folder is
 * ever opened. FILE_ERROR: no such folder; BUNDLE_ERROR: the first defect; BUNDLE_VERSION_ERROR: of a
 * newer release; CANCELLED. cancel and progress may be NULL. */
VERA_API vera_status vera_bundle_open(const char* folder, const volatile int32_t* cancel,
                                      vera_progress progress, void* user, vera_bundle** bundle,
                                      vera_error* error);

/* NULL is allowed. The bundle must not be used by a retoucher any more. */
VERA_API void vera_bundle_close(vera_bundle* bundle);

VERA_API vera_status vera_bundle_get_info(const vera_bundle* bundle, vera_bundle_info* info);

/* "name", "recipe", "created_by", "commit", "family" ("vera-nano", "vera-0.5b"), "backend"
 * ("xnnpack", "coreml", "onnx", ...) or "manifest" (the whole JSON text). Lives as long as the
 * bundle; NULL for an unknown key. */
VERA_API const char* vera_bundle_text(const vera_bundle* bundle, const char* key);

/* Path of the file that holds a program ("vision", "embed", "decoder", "head", "reference", "bake")
 * or another file of the manifest ("tokenizer", "renderer"), checked again if it changed on disk
 * since, and the method to call in it ("forward", or "embed" of the decoder's file). `path` is
 * `path_bytes` long. INVALID_ARGUMENT: unknown name (listing the known ones) or too short a buffer;
 * BUNDLE_ERROR: changed since it was opened. `method` may be NULL; else it lives as long as the
 * bundle. */
VERA_API vera_status vera_bundle_program(const vera_bundle* bundle, const char* name, char* path,
                                         size_t path_bytes, const char** method,
                                         vera_error* error);

/* ---- The model's runtime, given by the app ---- */

/* What `step` needs to compute of the logits: none (the next token is known), those of tokens that
 * answers use (others may be -infinity), all. */
typedef int32_t vera_wanted_logits;
enum { VERA_LOGITS_NONE = 0, VERA_LOGITS_ANSWER = 1, VERA_LOGITS_ALL = 2 };

typedef int32_t vera_stage;
enum {
  VERA_STAGE_PREPARE = 0,   /* the picture that the model sees */
  VERA_STAGE_VISION = 1,
  VERA_STAGE_PREFILL = 2,
  VERA_STAGE_DECODE = 3,
  VERA_STAGE_HEAD = 4,
  VERA_STAGE_REFERENCE = 5,
  VERA_STAGE_BAKE = 6
};
enum { VERA_STAGE_COUNT = 7 };

/* Functions that run the bundle's programs. Each is called on the thread that called the library,
 * never two at once for one retoucher, and returns a vera_status; a text for people may be written
 * into error->message (error is never NULL here). Arrays are the library's and are used only during
 * the call. Names and shapes are those of vera_bundle_info; all tensors are float32, row-major, ids
 * int64.
 *
 * encode_image: pixels (1, 3, S, S) encoded sRGB in [0, 1] -> tokens (1, T, H).
 * embed: ids (1, n), 1 <= n <= prefill_tokens -> embeds (1, n, H).
 * step: embeds (1, n, H) at positions start .. start + n - 1, 1 <= n <= prefill_tokens -> the last
 *   one's hidden state (H) and logits (V); logits is NULL when wanted is NONE. start 0 begins anew;
 *   going back is allowed, nothing past the position is seen.
 * head: hidden (1, 3, H) -> latents (3, L).
 * encode_reference: two pictures (1, 3, E, E) encoded sRGB in [0, 1] -> latents (3, L). May be NULL.
 * bake: `count` colours (count, 3) encoded RGB in [0, 1] and latents (3, L) -> (count, 3). Only for
 *   bundles without the file "renderer"; may be NULL otherwise.
 * release: gives memory back that is not needed to go on (stage >= 0: of that stage, which has ended;
 *   -1: of everything). The next call loads anew. May be NULL. */
typedef struct vera_planner {
  size_t struct_size; /* sizeof(vera_planner) as the caller was compiled */
  void* context;      /* passed on to each function */
  vera_status (*encode_image)(void* context, const float* pixels, float* tokens,
                              vera_error* error);
  vera_status (*embed)(void* context, const int64_t* ids, int32_t count, float* embeds,
                       vera_error* error);
  vera_status (*step)(void* context, const float* embeds, int32_t count, int32_t start,
                      vera_wanted_logits wanted, float* logits, float* hidden, vera_error* error);
  vera_status (*head)(void* context, const float* hidden, float* latents, vera_error* error);
  vera_status (*encode_reference)(void* context, const float* before, const float* after,
                                  float* latents, vera_error* error);
  vera_status (*bake)(void* context, const float* colours, int64_t count, const float* latents,
                      float* out, vera_error* error);
  void (*release)(void* context, vera_stage stage);
} vera_planner;

/* ---- Planning ---- */

/* A bundle with a runtime. Any number of threads may use it: plans queue, one at a time; bakes do not
 * wait for plans unless the planner bakes. */
typedef struct vera_retoucher vera_retoucher;

/* Reads tokenizer and renderer of the bundle, which must outlive the retoucher. `planner` is copied.
 * INVALID_ARGUMENT: a function is missing; BUNDLE_ERROR; OUT_OF_MEMORY. */
VERA_API vera_status vera_retoucher_create(const vera_bundle* bundle, const vera_planner* planner,
                                           vera_retoucher** retoucher, vera_error* error);

/* NULL is allowed. No call may be running or begin afterwards. */
VERA_API void vera_retoucher_destroy(vera_retoucher* retoucher);

/* Colour space of a photo's encoded RGB. Other spaces are the app's to convert. */
typedef int32_t vera_color_space;
enum {
  VERA_COLOR_SPACE_SRGB = 0,
  VERA_COLOR_SPACE_DISPLAY_P3 = 1,
  VERA_COLOR_SPACE_ADOBE_RGB = 2,
  VERA_COLOR_SPACE_BT2020 = 3 /* with sRGB's transfer function */
};

typedef int32_t vera_task_kind;
enum {
  VERA_TASK_AUTO = 0,     /* from the photo alone */
  VERA_TASK_STYLE = 1,    /* after a wish in words */
  VERA_TASK_PARAM = 2,    /* by the 38 sliders */
  VERA_TASK_REFERENCE = 3 /* as `before` became `after` */
};

enum { VERA_SLIDER_COUNT = 38, VERA_GROUP_COUNT = 3, VERA_MAX_WISH_CHARS = 400 };

/* wish: 1..400 characters. sliders: 38 values in percent, -100..100, in the order of
 * vera_slider_name. before, after: upright pictures of one frame, in sRGB. Fields of other kinds are
 * ignored. */
typedef struct vera_task {
  size_t struct_size; /* sizeof(vera_task) as the caller was compiled */
  vera_task_kind kind;
  int32_t reserved; /* 0 */
  const char* wish;
  const float* sliders;
  const vera_frame* before;
  const vera_frame* after;
} vera_task;

/* Name of a slider as in Lightroom's XMP ("Exposure2012"), 0 <= index < 38, else NULL. */
VERA_API const char* vera_slider_name(int32_t index);

/* A plan: latents, text, tokens. Never changes; any number of threads; independent of the retoucher
 * and of the photo's size. */
typedef struct vera_plan_result vera_plan_result;

typedef struct vera_plan_options {
  size_t struct_size; /* sizeof(vera_plan_options) as the caller was compiled */
  /* Negative: as the model's family is used (greedy for vera-nano; 0.2, 0.8 and 1024 tokens for
   * vera-0.5b). temperature 0..2 (0: greedy), top_p above 0 up to 1, max_tokens 0..4096. */
  float temperature;
  float top_p;
  int32_t max_tokens;
  int32_t instant; /* not 0: the look first, its words after (on_look comes before on_text) */
  uint64_t seed;   /* 0..2^63-1 */
  /* May be NULL. A value other than 0 stops the plan before the next call of the planner, i.e. within
   * one token, and within 20 ms elsewhere. */
  const volatile int32_t* cancel;
  void* user; /* passed on to the three functions, each of which may be NULL and must not throw;
               * they are called on the calling thread */
  void (*on_stage)(void* user, vera_stage stage, float done); /* done: 0..1 of the whole plan */
  void (*on_text)(void* user, const char* piece); /* all pieces together are the text */
  /* The look is known; result is borrowed, vera_plan_result_copy keeps it. With `instant` its text
   * is still empty. Called once per plan. */
  void (*on_look)(void* user, const vera_plan_result* result);
} vera_plan_options;

/* Plans the look of a photo. photo: upright, any format of vera.h, at least one pixel; NULL only for
 * PARAM (which needs no picture) and REFERENCE. The same photo, task, bundle, options and planner
 * outputs give the same bytes everywhere. options may be NULL.
 * INVALID_ARGUMENT: bad photo, task or options; CANCELLED; UNSUPPORTED_FORMAT: REFERENCE where the
 * bundle has no encoder; what the planner returned (its message kept); MODEL_ERROR: its outputs are
 * not finite. */
VERA_API vera_status vera_plan(vera_retoucher* retoucher, const vera_frame* photo,
                               vera_color_space space, const vera_task* task,
                               const vera_plan_options* options, vera_plan_result** result,
                               vera_error* error);

/* Gives the memory of all programs back (planner.release with -1), after a running plan has ended. */
VERA_API vera_status vera_retoucher_unload(vera_retoucher* retoucher);

VERA_API vera_plan_result* vera_plan_result_copy(const vera_plan_result* result);
VERA_API void vera_plan_result_destroy(vera_plan_result* result);
VERA_API const char* vera_plan_result_text(const vera_plan_result* result);
/* (3, latent_size): lighting, global colour, specific colour. */
VERA_API const float* vera_plan_result_latents(const vera_plan_result* result,
                                               int32_t* latent_size);
/* Ids of the text's tokens, without the retouch tokens. */
VERA_API const int32_t* vera_plan_result_tokens(const vera_plan_result* result, int32_t* count);
/* Milliseconds of a stage; 0 for one that did not run. */
VERA_API double vera_plan_result_stage_ms(const vera_plan_result* result, vera_stage stage);

/* The look as JSON, byte for byte what Python's Look.to_json writes (format vera-look, version 1);
 * strengths: 3 factors, 0..1.5. *needed: bytes with the 0 at the end; nothing is written into a
 * shorter `buffer` (which may be NULL with buffer_bytes 0), and INVALID_ARGUMENT is returned. */
VERA_API vera_status vera_plan_result_to_json(const vera_plan_result* result,
                                              const float* strengths, char* buffer,
                                              size_t buffer_bytes, size_t* needed);
/* Reads it back. FILE_ERROR: the text is no look of version 1. strengths: 3, may be NULL. */
VERA_API vera_status vera_plan_result_from_json(const char* json, vera_plan_result** result,
                                                float* strengths, vera_error* error);

/* ---- Baking ---- */

enum { VERA_CURVE_KNOTS = 65 };

/* Curves (3 x 65) and LUT (lut_size^3 x 3, red fastest) of a look, as vera_baked_look takes them;
 * the same bytes as Python's Look.bake. strengths: one factor per group, 0..1.5. lut_size: 17..65, 33
 * suits photos. threads: 0 for one a core. Any thread, without waiting for plans where the bundle has
 * the file "renderer". INVALID_ARGUMENT, CANCELLED, OUT_OF_MEMORY. */
VERA_API vera_status vera_bake_look(vera_retoucher* retoucher, const vera_plan_result* result,
                                    const float* strengths, int32_t lut_size, int32_t threads,
                                    const volatile int32_t* cancel, float* curves, float* lut,
                                    vera_error* error);

/* Writes the look as a uniform 3-D .cube, through a temporary name in the same folder; the same bytes
 * as Python's Look.save_cube. strength: 0..1.5, mix with the identity. */
VERA_API vera_status vera_save_cube(vera_retoucher* retoucher, const vera_plan_result* result,
                                    const float* strengths, float strength, int32_t lut_size,
                                    const char* path, vera_error* error);

/* ---- Looks of other programs: .cube files ---- */

/* A .cube file, read. Never changes; any number of threads. */
typedef struct vera_cube vera_cube;

/* Reads a .cube file (Adobe's Cube LUT Specification 1.0, and DaVinci Resolve's files of a 1-D table
 * before a 3-D one; 3-D sizes 2..129, 1-D 2..65536), to the same numbers as Python's
 * read_cube(path, with_curves=True).look(). What the file says is never trusted: memory grows with
 * the file, numbers do not depend on the locale. FILE_ERROR with the line, for a file that is missing,
 * malformed, over 512 MiB or has too few or many entries, a number that is not finite or a node outside
 * of -65504..65504; OUT_OF_MEMORY. */
VERA_API vera_status vera_cube_open(const char* path, vera_cube** cube, vera_error* error);

/* The same from memory: what an app was handed without a path. data: `bytes` long, not kept. */
VERA_API vera_status vera_cube_parse(const char* data, size_t bytes, vera_cube** cube,
                                     vera_error* error);

/* NULL is allowed. */
VERA_API void vera_cube_close(vera_cube* cube);

/* Curves and LUT for vera_render, vera_render_frame or the GPU; in the encoding that the file was made
 * for (no colour conversion is done). Lives as long as the cube; NULL for NULL. */
VERA_API const vera_baked_look* vera_cube_look(const vera_cube* cube);

/* TITLE of the file, "" where it has none. Lives as long as the cube; "" for NULL. */
VERA_API const char* vera_cube_title(const vera_cube* cube);

/* ---- The picture that the model sees ---- */

/* The photo as the vision tower of a family takes it: out (3, size, size) float32 encoded sRGB in
 * [0, 1]; the same bytes on every machine. family: "vera-nano" (squeezed to the square) or
 * "vera-0.5b" (as the public scripts: short edge at 512, centred on black, scaled). */
VERA_API vera_status vera_prepare_picture(const vera_frame* photo, vera_color_space space,
                                          const char* family, int32_t size,
                                          const volatile int32_t* cancel, float* out,
                                          vera_error* error);

/* A picture of a reference pair as the reference encoder takes it, squeezed to the square: as above
 * for "vera-nano", in 8 bits, bilinear, for "vera-0.5b". */
VERA_API vera_status vera_prepare_reference(const vera_frame* photo, vera_color_space space,
                                            const char* family, int32_t size,
                                            const volatile int32_t* cancel, float* out,
                                            vera_error* error);

/* ---- The parts, each for itself: what other languages share with the plan, and tests compare ---- */

/* The next token of an answer. temperature 0: the first of the largest logits; else one draw with
 * SplitMix64 from the fewest tokens that have top_p of the probability, by whole-number weights, so
 * that every machine draws the same (the rule: kernels/sdk/sampling.h). logits: (count), -infinity
 * for what is ruled out. *state: the seed at first; advanced by each draw. INVALID_ARGUMENT for NaN,
 * +infinity and values outside of vera_plan_options' ranges. */
VERA_API vera_status vera_choose_token(const float* logits, int32_t count, float temperature,
                                       float top_p, uint64_t* state, int32_t* token);

/* vera_bake_look in three steps, for looks that something else evaluates: ask the look for the
 * VERA_CURVE_POINTS colours of `points` (x 3), make curves (3 x 65) of its answers, and take the
 * lattice's nodes from axes (3 x size), size 2..129. */
enum { VERA_CURVE_POINTS = 27 * VERA_CURVE_KNOTS };
VERA_API void vera_curve_points(float* points);
VERA_API vera_status vera_fit_curves(const float* colours, float* curves);
VERA_API vera_status vera_lattice_axes(const float* curves, int32_t size, float* axes);

/* Token ids of plain text (special tokens in it are spelled out), and text of ids. *count and *needed
 * are set also where the room is too small, which is INVALID_ARGUMENT. */
VERA_API vera_status vera_encode_text(const vera_retoucher* retoucher, const char* text,
                                      int32_t* ids, int32_t capacity, int32_t* count,
                                      vera_error* error);
VERA_API vera_status vera_decode_text(const vera_retoucher* retoucher, const int32_t* ids,
                                      int32_t count, char* buffer, size_t buffer_bytes,
                                      size_t* needed);

/* Ids of a task's prompt; the image's tokens stand before ids[*image_at] (-1: no image). seen:
 * (3, S, S) of vera_prepare_picture, NULL only for PARAM. groups: 3 factors of the latents, may be
 * NULL. */
VERA_API vera_status vera_prompt_tokens(const vera_retoucher* retoucher, const vera_task* task,
                                        const float* seen, int32_t* ids, int32_t capacity,
                                        int32_t* count, int32_t* image_at, float* groups,
                                        vera_error* error);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* VERA_RETOUCHER_H_ */
