// The C ABI: checks every argument, then renders tile by tile.
#include "vera/vera.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <new>

#include "cpu/check.h"
#include "cpu/tiles.h"
#include "ops/render/render.h"

namespace vera {
namespace {

// 32,768 pixels are below 1 ms with SIMD and below 10 ms without: the promise on `cancel`.
constexpr int64_t kTilePixels = 32768;

// A look of so many nodes an axis or more is made ready by all threads: below it they cost more
// than they save.
constexpr int32_t kSharedLutSize = 49;

// Tiles cover whole rows where rows are short, and parts of a row where one is longer than a tile.
struct Tiling {
  Tiling(int64_t image_width, int64_t image_height)
      : width(image_width),
        height(image_height),
        tile_width(std::min(image_width, kTilePixels)),
        tile_height(std::max<int64_t>(1, kTilePixels / tile_width)),
        columns((width + tile_width - 1) / tile_width),
        rows((height + tile_height - 1) / tile_height) {}
  int64_t count() const { return columns * rows; }
  // Pixels of the first `tiles` tiles if all were full; at most the image.
  int64_t PixelsDone(int64_t tiles) const {
    return tiles == count() ? width * height
                            : std::min(width * height, tiles * tile_width * tile_height);
  }
  int64_t width, height, tile_width, tile_height, columns, rows;
};

struct Frames {
  vera_frame src;
  vera_frame dst;
  vera_render_options options;
};

const uint8_t* RowOf(const vera_frame& frame, int plane, int64_t row) {
  return static_cast<const uint8_t*>(frame.planes[plane]) + row * frame.row_stride_bytes[plane];
}

// Chroma rows lie between two rows of luma: row y is nearer to chroma row y / 2, and next to it is
// the one above for even y and the one below for odd y; beyond the edge the last one counts.
void SetSourceRow(const RenderJob& job, const vera_frame& src, int64_t x, int64_t y,
                  RowSpan* span) {
  const bool subsampled = job.src.layout == Layout::k420;
  const int64_t last = (src.height + 1) / 2 - 1;
  const int64_t far_row = std::clamp<int64_t>(y / 2 + (y % 2 == 0 ? -1 : 1), 0, last);
  for (int p = 0; p < job.src.planes; ++p) {
    if (subsampled) {
      span->src[p] = RowOf(src, p, p == 0 ? y : y / 2);
      span->src_far[p] = p == 0 ? nullptr : RowOf(src, p, far_row);
    } else {
      span->src[p] = RowOf(src, p, y) + x * job.src.pixel_bytes;
    }
  }
}

RowSpan SpanOf(const RenderJob& job, const Tiling& tiling, const Frames& frames, int64_t x,
               int64_t y) {
  RowSpan span = {};
  span.x = x;
  span.width = tiling.width;
  span.pixels = static_cast<size_t>(std::min(tiling.tile_width, tiling.width - x));
  SetSourceRow(job, frames.src, x, y, &span);
  for (int p = 0; p < job.dst.planes; ++p) {
    span.dst[p] = const_cast<uint8_t*>(RowOf(frames.dst, p, y)) + x * job.dst.pixel_bytes;
  }
  const vera_render_options& options = frames.options;
  span.dither_phase = DitherPhase(x, y) + DitherPhase(options.origin_x, options.origin_y);
  return span;
}

void RenderTile(const RenderJob& job, const Tiling& tiling, int64_t tile, const Frames& frames) {
  const int64_t x = tile % tiling.columns * tiling.tile_width;
  const int64_t y_begin = tile / tiling.columns * tiling.tile_height;
  const int64_t y_end = std::min(y_begin + tiling.tile_height, tiling.height);
  constexpr int64_t kSpans = 64;
  RowSpan spans[kSpans];
  for (int64_t y = y_begin; y < y_end; y += kSpans) {
    const int64_t count = std::min(kSpans, y_end - y);
    for (int64_t i = 0; i < count; ++i) spans[i] = SpanOf(job, tiling, frames, x, y + i);
    RenderSpans(job, spans, static_cast<size_t>(count));
  }
}

bool RenderTiles(const RenderJob& job, const Frames& frames) {
  const vera_render_options& options = frames.options;
  const Tiling tiling(frames.src.width, frames.src.height);
  return RunTiles(
      tiling.count(), ThreadCount(options.threads, tiling.count()),
      [&] { return IsCancelled(options.cancel); },
      [&](int64_t tile) { RenderTile(job, tiling, tile, frames); },
      [&](int64_t done) {
        if (options.progress == nullptr) return;
        options.progress(options.user, tiling.PixelsDone(done), tiling.width * tiling.height);
      });
}

vera_status Render(const vera_look* given_look, const vera_frame* src, const vera_frame* dst,
                   const vera_render_options* options) {
  vera_look look;
  Frames frames;
  RenderJob job;
  if (!ReadLook(given_look, &look) || !ReadOptions(options, &frames.options) ||
      !ReadFrame(src, &frames.src, &job.src) || !ReadFrame(dst, &frames.dst, &job.dst) ||
      !FramesFit(frames.src, job.src, frames.dst, job.dst, frames.options)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  const bool empty = frames.src.width == 0 || frames.src.height == 0;
  if (!empty && !OverlapIsAllowed(frames.src, job.src, frames.dst, job.dst)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  job.src_format = frames.src.format;
  job.dst_format = frames.dst.format;
  job.strength = frames.options.strength;
  job.trilinear = frames.options.interpolation == VERA_INTERPOLATION_TRILINEAR;
  job.extend = frames.options.out_of_range == VERA_OUT_OF_RANGE_EXTEND;
  job.dither = frames.options.dither == VERA_DITHER_ORDERED;
  job.yuv = GetYuvToRgb(frames.src.yuv_matrix, frames.src.yuv_range,
                        job.src.sample == Sample::kUnsigned8 ? 8 : 10);
  const vera_render_options& read = frames.options;
  const int threads = look.lut_size < kSharedLutSize ? 1 : read.threads;
  const vera_status status = PrepareLook(
      look,
      [&](int64_t count, const std::function<void(int64_t)>& work) {
        return RunTiles(count, ThreadCount(threads, count), [&] { return IsCancelled(read.cancel); },
                        work, [](int64_t) {});
      },
      &job);
  if (status != VERA_STATUS_OK || empty) return status;
  return RenderTiles(job, frames) ? VERA_STATUS_OK : VERA_STATUS_CANCELLED;
}

// False for formats of more than one plane.
bool FrameOf(const vera_image* image, vera_frame* frame) {
  if (image == nullptr || image->format > VERA_PIXEL_FORMAT_RGBAF16) return false;
  *frame = {};
  frame->struct_size = sizeof(*frame);
  frame->format = image->format;
  frame->width = image->width;
  frame->height = image->height;
  frame->planes[0] = image->data;
  frame->row_stride_bytes[0] = image->row_stride_bytes;
  return true;
}

}  // namespace
}  // namespace vera

vera_status vera_render_frame(const vera_look* look, const vera_frame* src, const vera_frame* dst,
                              const vera_render_options* options) {
  try {
    return vera::Render(look, src, dst, options);
  } catch (const std::bad_alloc&) {
    return VERA_STATUS_OUT_OF_MEMORY;
  } catch (...) {
    return VERA_STATUS_INTERNAL_ERROR;
  }
}

vera_status vera_render(const vera_baked_look* look, const vera_image* src, vera_image* dst,
                        const vera_render_options* options) {
  vera_frame from, to;
  if (look == nullptr || !vera::FrameOf(src, &from) || !vera::FrameOf(dst, &to) ||
      src->format != dst->format) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  vera_look full = {};
  full.struct_size = sizeof(full);
  full.curves = look->curves;
  full.curve_size = look->curve_size;
  full.lut = look->lut;
  full.lut_size = look->lut_size;
  return vera_render_frame(&full, &from, &to, options);
}

const char* vera_status_text(vera_status status) {
  switch (status) {
#define VERA_STATUS(name, code, text) \
  case code:                          \
    return text;
#include "vera/status_list.h"
    default:
      return "unknown status";
  }
}

const char* vera_version(void) { return VERA_VERSION; }
