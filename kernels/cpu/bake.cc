// The C ABI of the bake: checks every argument, then evaluates the network tile by tile.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "cpu/bake_args.h"
#include "cpu/check.h"
#include "cpu/guard.h"
#include "cpu/tiles.h"
#include "ops/bake/bake.h"
#include "vera/vera.h"

namespace vera {
namespace {

constexpr int64_t kWorkPoints = 4 * static_cast<int64_t>(kTilePoints);  // vera.h says 192
constexpr int32_t kMaxWidth = 4096;
constexpr int32_t kMaxLayers = 8;
constexpr int32_t kMaxLatentSize = 65536;
constexpr int64_t kMaxPoints = int64_t{1} << 40;

bool AllAllowed(const float* values, size_t count) {
  // Written so that NaN fails.
  return values != nullptr && std::all_of(values, values + count, [](float value) {
           return std::abs(value) <= static_cast<float>(kMaxBakeValue);
         });
}

bool LayerIsValid(const vera_renderer_layer& layer, size_t inputs, size_t latents) {
  if (layer.width < 1 || layer.width > kMaxWidth || layer.reserved != 0) return false;
  const size_t width = static_cast<size_t>(layer.width);
  return AllAllowed(layer.weight, width * inputs) && AllAllowed(layer.bias, width) &&
         AllAllowed(layer.norm_weight, width) && AllAllowed(layer.norm_bias, width) &&
         AllAllowed(layer.latent_weight, width * latents) && AllAllowed(layer.latent_bias, width);
}

bool ReadWeights(const vera_renderer_weights* from, vera_renderer_weights* to) {
  if (!CopyStruct(from, sizeof(*to), sizeof(*to), to)) return false;
  if (to->layers == nullptr || to->layer_count < 1 || to->layer_count > kMaxLayers ||
      to->latent_size < 1 || to->latent_size > kMaxLatentSize || to->output < 0 ||
      to->output > VERA_RENDERER_OUTPUT_RESIDUAL || to->precision < 0 ||
      to->precision > VERA_PRECISION_INT8 || to->reserved != 0 ||
      !(to->norm_epsilon >= 1e-12f && to->norm_epsilon <= 1.0f)) {
    return false;
  }
  size_t inputs = 3;
  for (int i = 0; i < to->layer_count; ++i) {
    if (!LayerIsValid(to->layers[i], inputs, 3 * static_cast<size_t>(to->latent_size))) {
      return false;
    }
    inputs = static_cast<size_t>(to->layers[i].width);
  }
  return AllAllowed(to->out_weight, 3 * inputs) && AllAllowed(to->out_bias, 3);
}

bool ReadBakeOptions(const vera_bake_options* from, vera_bake_options* to) {
  return CopyStruct(from, sizeof(*to), sizeof(*to), to) && to->threads >= 0 &&
         to->threads <= 64 && to->reserved == 0;
}

bool LookIsValid(const vera_renderer* renderer, const float* latents, const float* strengths) {
  return renderer != nullptr && AllAllowed(latents, 3 * renderer->packed.latent_size) &&
         strengths != nullptr && std::all_of(strengths, strengths + 3, [](float strength) {
           return strength >= 0.0f && strength <= 1.5f;
         });
}

bool PointersAligned(std::initializer_list<const float*> pointers) {
  return std::all_of(pointers.begin(), pointers.end(), [](const float* pointer) {
    return reinterpret_cast<uintptr_t>(pointer) % alignof(float) == 0;
  });
}

// Nodes are visited in columns of 4 x 3 (green, blue) along red, so that those of a tile lie close
// together: many features are then 0 in all of them.
constexpr int64_t kColumnGreen = 4, kColumnBlue = 3;

// Where colours come from: given ones, or the nodes of a lattice.
struct Points {
  const float* rgb;
  std::vector<float> axes;  // 3 x size, for a lattice
  int64_t size;
  int64_t count;

  // Red, green and blue index of the node that is visited as number `at`.
  std::array<int64_t, 3> Node(int64_t at) const {
    const int64_t slab = at / (kColumnBlue * size * size);
    const int64_t depth = std::min(kColumnBlue, size - slab * kColumnBlue);
    const int64_t in_slab = at - slab * kColumnBlue * size * size;
    const int64_t column = in_slab / (kColumnGreen * depth * size);
    const int64_t width = std::min(kColumnGreen, size - column * kColumnGreen);
    const int64_t in_column = in_slab - column * kColumnGreen * depth * size;
    const int64_t in_slice = in_column % (width * depth);
    return {in_column / (width * depth), column * kColumnGreen + in_slice % width,
            slab * kColumnBlue + in_slice / width};
  }

  // Colours [begin, begin + points) as channels; the rest of the tile repeats the last one.
  void Load(int64_t begin, int64_t points, Tile* tile) const {
    for (int64_t i = 0; i < static_cast<int64_t>(kTilePoints); ++i) {
      const int64_t at = begin + std::min(i, points - 1);
      const std::array<int64_t, 3> node = rgb == nullptr ? Node(at) : std::array<int64_t, 3>{};
      for (size_t c = 0; c < 3; ++c) {
        tile->rgb[c][i] = rgb != nullptr ? rgb[3 * at + static_cast<int64_t>(c)]
                                         : axes[c * static_cast<size_t>(size) +
                                                static_cast<size_t>(node[c])];
      }
    }
  }

  // Writes the first `points` results of a tile to where they belong.
  void Store(const Tile& tile, int64_t begin, int64_t points, float* out) const {
    if (rgb != nullptr) {
      std::copy(tile.out, tile.out + 3 * points, out + 3 * begin);
      return;
    }
    for (int64_t i = 0; i < points; ++i) {
      const std::array<int64_t, 3> node = Node(begin + i);
      const int64_t at = node[0] + size * (node[1] + size * node[2]);
      std::copy(tile.out + 3 * i, tile.out + 3 * i + 3, out + 3 * at);
    }
  }
};

// Memory for tiles, lent to one thread at a time.
class TilePool {
 public:
  TilePool(const PackedRenderer& renderer, int threads) {
    for (int i = 0; i < threads; ++i) {
      free_.push_back(std::make_unique<TileMemory>(renderer));
    }
  }
  std::unique_ptr<TileMemory> Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::unique_ptr<TileMemory> memory = std::move(free_.back());
    free_.pop_back();
    return memory;
  }
  void Return(std::unique_ptr<TileMemory> memory) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(memory));  // never more than were there at first: no allocation
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<TileMemory>> free_;
};

vera_status Evaluate(const PackedRenderer& renderer, const float* latents, const float* strengths,
                     const Points& points, float* out, const vera_bake_options& options) {
  if (points.count == 0) return VERA_STATUS_OK;
  const Biases biases = MakeBiases(renderer, latents, strengths);
  const int64_t works = (points.count + kWorkPoints - 1) / kWorkPoints;
  const int threads = ThreadCount(options.threads, works);
  TilePool pool(renderer, threads);
  const auto work = [&](int64_t index) {
    std::unique_ptr<TileMemory> memory = pool.Take();
    Tile tile;
    const int64_t end = std::min(points.count, (index + 1) * kWorkPoints);
    for (int64_t begin = index * kWorkPoints; begin < end; begin += kTilePoints) {
      const int64_t count = std::min(end - begin, static_cast<int64_t>(kTilePoints));
      points.Load(begin, count, &tile);
      EvaluateTile(renderer, biases, *memory, tile);
      points.Store(tile, begin, count, out);
    }
    pool.Return(std::move(memory));
  };
  const bool complete = RunTiles(
      works, threads, [&] { return IsCancelled(options.cancel); }, work,
      [&](int64_t done) {
        if (options.progress == nullptr) return;
        options.progress(options.user, std::min(points.count, done * kWorkPoints), points.count);
      });
  return complete ? VERA_STATUS_OK : VERA_STATUS_CANCELLED;
}

std::vector<float> EvenAxes(int32_t size) {
  std::vector<float> axes;
  for (int32_t i = 0; i < 3 * size; ++i) {
    axes.push_back(static_cast<float>(static_cast<double>(i % size) / (size - 1)));
  }
  return axes;
}

vera_status Bake(const vera_renderer* renderer, const float* latents, const float* strengths,
                 const float* axes, int32_t size, float* lut, const vera_bake_options* options) {
  LatticeBake read;
  if (!ReadLatticeBake(renderer, latents, strengths, axes, size, options, &read) ||
      lut == nullptr || !PointersAligned({lut})) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  const int64_t nodes = size;
  const Points points = {nullptr, std::move(read.axes), nodes, nodes * nodes * nodes};
  return Evaluate(renderer->packed, latents, strengths, points, lut, read.options);
}

vera_status BakePoints(const vera_renderer* renderer, const float* latents,
                       const float* strengths, const float* rgb, int64_t count, float* out,
                       const vera_bake_options* options) {
  vera_bake_options read;
  if (!ReadBakeOptions(options, &read) || count < 0 || count > kMaxPoints ||
      !PointersAligned({latents, strengths, rgb, out}) ||
      !LookIsValid(renderer, latents, strengths)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  if (count == 0) return VERA_STATUS_OK;
  const uintptr_t from = reinterpret_cast<uintptr_t>(rgb), to = reinterpret_cast<uintptr_t>(out);
  const uintptr_t bytes = static_cast<uintptr_t>(count) * 3 * sizeof(float);
  const bool apart = from == to || (from < to ? to - from : from - to) >= bytes;
  if (out == nullptr || !apart || !AllAllowed(rgb, static_cast<size_t>(count) * 3)) {
    return VERA_STATUS_INVALID_ARGUMENT;
  }
  return Evaluate(renderer->packed, latents, strengths, {rgb, {}, 0, count}, out, read);
}

vera_status CreateRenderer(const vera_renderer_weights* weights, vera_renderer** renderer) {
  if (renderer == nullptr) return VERA_STATUS_INVALID_ARGUMENT;
  *renderer = nullptr;
  vera_renderer_weights read;
  if (!ReadWeights(weights, &read)) return VERA_STATUS_INVALID_ARGUMENT;
  auto made = std::make_unique<vera_renderer>();
  PackRenderer(read, &made->packed);
  *renderer = made.release();
  return VERA_STATUS_OK;
}

}  // namespace

bool ReadLatticeBake(const vera_renderer* renderer, const float* latents, const float* strengths,
                     const float* axes, int32_t size, const vera_bake_options* options,
                     LatticeBake* read) {
  if (!ReadBakeOptions(options, &read->options) || size < 2 || size > 129 ||
      !PointersAligned({latents, strengths, axes}) ||
      !LookIsValid(renderer, latents, strengths) ||
      (axes != nullptr && !AllAllowed(axes, 3 * static_cast<size_t>(size)))) {
    return false;
  }
  read->axes = axes == nullptr ? EvenAxes(size) : std::vector<float>(axes, axes + 3 * size);
  return true;
}

}  // namespace vera

vera_status vera_renderer_create(const vera_renderer_weights* weights, vera_renderer** renderer) {
  return vera::Guarded([&] { return vera::CreateRenderer(weights, renderer); });
}

void vera_renderer_destroy(vera_renderer* renderer) { delete renderer; }

vera_status vera_bake(const vera_renderer* renderer, const float* latents, const float* strengths,
                      const float* axes, int32_t lut_size, float* lut,
                      const vera_bake_options* options) {
  return vera::Guarded([&] {
    return vera::Bake(renderer, latents, strengths, axes, lut_size, lut, options);
  });
}

vera_status vera_bake_points(const vera_renderer* renderer, const float* latents,
                             const float* strengths, const float* rgb, int64_t count, float* out,
                             const vera_bake_options* options) {
  return vera::Guarded([&] {
    return vera::BakePoints(renderer, latents, strengths, rgb, count, out, options);
  });
}
