// The layers of the vision tower. Compiled once for each instruction set.
//
// Between layers an image is half floats. Products take codes of 8 bits with a step and a zero for
// each pixel; only the hidden values of a block, too many to look at twice, have fixed ones.
#include "ops/vision/attention-inl.h"
#include "ops/vision/depthwise-inl.h"
#include "ops/vision/product-inl.h"
#include "ops/vision/tiles-inl.h"
#include "ops/vision/tokens-inl.h"
#include "ops/vision/vision.h"

namespace vera {
namespace VERA_SET {
namespace {

constexpr int kStemRows = 4, kStemColumns = 32;  // outputs that a thread takes at a time
constexpr int kPixelsTogether = 8;
constexpr size_t kHiddenBytes = 400 << 10;  // of a tile: half of a usual second-level cache
constexpr int kMostPixels = 256;
constexpr int kPiece = 64;  // pixels of a row whose floats lie side by side

int LeastInt(int a, int b) { return a < b ? a : b; }
int Ceil(int a, int b) { return (a + b - 1) / b; }

// --- stem

// What a thread holds of the first two layers for a tile of outputs at (y, x). The first layer's
// part begins at its row 2 y - 2 and column 2 x - 2; row and column 0 of it are not used.
struct StemTile {
  static constexpr int kRows = 2 * kStemRows + 2, kColumns = 2 * kStemColumns + 2;
  static constexpr int kWindow = 2 * kColumns + 1;  // pixels under a row, from column 4 x - 3 on
  float* window;  // (3 rows, 3 colours, kWindow)
  float* first;   // (kRows, kColumns, channels)
  float* second;  // (kStemColumns, channels)
  CodeRows codes;
  int8_t* unpacked;
};

// Rows 2 row - 1 .. 2 row + 1 of the photo, zero outside of it.
void FillWindow(const float* pixels, int size, int row, int left, const StemTile& tile) {
  for (int i = 0; i < 9; ++i) {
    const int y = 2 * row - 1 + i / 3;
    const bool inside = y >= 0 && y < size;
    const float* from = pixels + (static_cast<size_t>(i % 3) * size + (inside ? y : 0)) * size;
    float* to = tile.window + i * StemTile::kWindow;
    for (int j = 0; j < StemTile::kWindow; ++j) {
      const int x = left + j;
      const float v = inside && x >= 0 && x < size ? from[x] : 0.0f;
      to[j] = v > 0.0f ? (v < 1.0f ? v : 1.0f) : 0.0f;
    }
  }
}

// `kPixelsTogether` outputs of the first layer from window column `at` on, two apart.
inline void FirstLayer(const vera_vision_stem& s, const float* window, int at, float* out) {
  for (int c = 0; c < s.channels; c += kLanes) {
    F32 sum[kPixelsTogether];
    const F32 bias = Load<F32>(s.biases + c);
#pragma GCC unroll 8
    for (int p = 0; p < kPixelsTogether; ++p) sum[p] = bias;
    for (int tap = 0; tap < 27; ++tap) {
      const F32 weight = Load<F32>(s.weights + static_cast<size_t>(tap) * s.channels + c);
      const float* from = window + (tap / 9 * 3 + tap % 3) * StemTile::kWindow + tap / 3 % 3 + at;
#pragma GCC unroll 8
      for (int p = 0; p < kPixelsTogether; ++p) sum[p] += weight * from[2 * p];
    }
    for (int p = 0; p < kPixelsTogether; ++p) {
      Store(Gelu(sum[p]), out + static_cast<size_t>(p) * s.channels + c);
    }
  }
}

// The first layer for a tile; zeros outside of the layer's image, as the second layer pads.
void FillFirst(const vera_vision_stem& s, const float* pixels, int size, int y, int x,
               const StemTile& tile) {
  const int half = size / 2, top = 2 * y - 2, left = 2 * x - 2;
  const size_t row_size = static_cast<size_t>(StemTile::kColumns) * s.channels;
  for (int i = 1; i < StemTile::kRows; ++i) {
    float* row = tile.first + i * row_size;
    if (top + i < 0 || top + i >= half) {
      std::memset(row, 0, row_size * sizeof(float));
      continue;
    }
    FillWindow(pixels, size, top + i, 2 * left + 1, tile);
    // the last eight overlap those before: the count is no multiple of eight
    for (int j = 1; j < StemTile::kColumns; j += kPixelsTogether) {
      const int at = LeastInt(j, StemTile::kColumns - kPixelsTogether);
      FirstLayer(s, tile.window, 2 * at - 2, row + static_cast<size_t>(at) * s.channels);
    }
    for (int j = 0; j < StemTile::kColumns; ++j) {
      if (left + j >= 0 && left + j < half) continue;
      std::memset(row + static_cast<size_t>(j) * s.channels, 0, s.channels * sizeof(float));
    }
  }
}

void RunStemTile(const vera_vision_stem& s, const float* pixels, int size, int y, int x,
                 StemTile& tile, uint16_t* out) {
  const int side = size / 4, channels = s.channels;
  const int rows = LeastInt(kStemRows, side - y), columns = LeastInt(kStemColumns, side - x);
  FillFirst(s, pixels, size, y, x, tile);
  for (int i = 0; i < rows; ++i) {
    // a tile's first output is number 1 of its part, see StemTile
    DepthwiseRow(s.depthwise, tile.first, StemTile::kRows, StemTile::kColumns, channels, i + 1, 1,
                 columns + 1, [&](int column, int c, F32 v) {
                   Store(Gelu(v) * Load<F32>(s.pointwise.inverses + c),
                         tile.second + static_cast<size_t>(column - 1) * channels + c);
                 });
    for (int j = 0; j < columns; ++j) {
      QuantizeRow(tile.second + static_cast<size_t>(j) * channels, channels, tile.codes,
                  i * columns + j);
    }
  }
  tile.codes.count = rows * columns;
  const auto store = [&](int p, int block, F32 sums) {
    const size_t pixel = static_cast<size_t>(y + p / columns) * side + x + p % columns;
    StoreHalf(Gelu(Scaled(s.pointwise, block, sums)),
              out + pixel * s.pointwise.matrix.rows + block * kLanes);
  };
  Multiply(s.pointwise.matrix, 0, Blocks(s.pointwise.matrix), tile.codes, tile.unpacked, store);
}

StemTile LayOutStem(const vera_vision_stem& s, char*& at) {
  StemTile tile;
  const size_t pixels = kStemRows * kStemColumns, channels = s.channels;
  tile.window = Carve<float>(at, 9 * StemTile::kWindow);
  tile.first = Carve<float>(at, StemTile::kRows * StemTile::kColumns * channels);
  tile.second = Carve<float>(at, kStemColumns * channels);
  tile.codes = CarveCodes(at, s.channels, pixels);
  tile.unpacked = Carve<int8_t>(at, UnpackedBytes(s.pointwise.matrix));
  return tile;
}

bool RunStem(Pool& pool, const vera_vision_stem& s, const float* pixels, int size, uint16_t* out) {
  Workplace place;
  const auto none = [](char* at) { return at; };
  const auto own = [&](char* at) {
    LayOutStem(s, at);
    return at;
  };
  if (!place.Reserve(pool, none, own)) return false;
  const int rows = Ceil(size / 4, kStemRows), columns = Ceil(size / 4, kStemColumns);
  ForTiles(pool, static_cast<int64_t>(rows) * columns, [&](int64_t tile, int64_t thread) {
    char* at = place.Own(thread);
    StemTile memory = LayOutStem(s, at);
    RunStemTile(s, pixels, size, static_cast<int>(tile / columns) * kStemRows,
                static_cast<int>(tile % columns) * kStemColumns, memory, out);
  });
  return true;
}

// --- down-sampling and the position encoding

// Pixels [first, last) of an image in the order of rows, as pieces of one row each, kPiece at most:
// function(y, from, to, number of the piece's first pixel in the run).
template <class F>
void ForRowPieces(int first, int last, int width, const F& function) {
  for (int at = first; at < last;) {
    const int y = at / width, x = at % width;
    const int to = LeastInt(LeastInt(width, x + kPiece), x + last - at);
    function(y, x, to, at - first);
    at += to - x;
  }
}

struct DownTile {
  float* rows;  // (kPiece, columns of the product)
  CodeRows codes;
  int8_t* unpacked;
};

DownTile LayOutDown(const vera_vision_product& p, int pixels, char*& at) {
  DownTile tile;
  tile.rows = Carve<float>(at, static_cast<size_t>(kPiece) * p.matrix.columns);
  tile.codes = CarveCodes(at, p.matrix.columns, pixels);
  tile.unpacked = Carve<int8_t>(at, UnpackedBytes(p.matrix));
  return tile;
}

void RunDownTile(const vera_vision_down& d, const uint16_t* x, const ImageShape& shape, int first,
                 const DownTile& tile, uint16_t* out) {
  const vera_vision_product& p = d.pointwise;
  const size_t columns = p.matrix.columns;
  ForRowPieces(first, first + tile.codes.count, shape.width / 2, [&](int y, int from, int to,
                                                                     int begin) {
    DepthwiseRow(d.spatial, x, shape.height, shape.width, shape.channels, y, from, to,
                 [&](int column, int c, F32 v) {
                   Store(Gelu(v) * Load<F32>(p.inverses + c),
                         tile.rows + (column - from) * columns + c);
                 });
    for (int i = 0; i < to - from; ++i) {
      QuantizeRow(tile.rows + i * columns, p.matrix.columns, tile.codes, begin + i);
    }
  });
  const auto store = [&](int pixel, int block, F32 sums) {
    StoreHalf(Gelu(Scaled(p, block, sums)),
              out + static_cast<size_t>(first + pixel) * p.matrix.rows + block * kLanes);
  };
  Multiply(p.matrix, 0, Blocks(p.matrix), tile.codes, tile.unpacked, store);
}

bool RunDown(Pool& pool, const vera_vision_down& d, const uint16_t* x, const ImageShape& shape,
             uint16_t* out) {
  const int pixels = shape.height / 2 * (shape.width / 2);
  const int size = LeastInt(kMostPixels, Ceil(pixels, 8));
  Workplace place;
  const auto none = [](char* at) { return at; };
  const auto own = [&](char* at) {
    LayOutDown(d.pointwise, size, at);
    return at;
  };
  if (!place.Reserve(pool, none, own)) return false;
  ForTiles(pool, Ceil(pixels, size), [&](int64_t number, int64_t thread) {
    char* at = place.Own(thread);
    DownTile tile = LayOutDown(d.pointwise, size, at);
    const int first = static_cast<int>(number) * size;
    tile.codes.count = LeastInt(size, pixels - first);
    RunDownTile(d, x, shape, first, tile, out);
  });
  return true;
}

bool RunDepthwise(Pool& pool, const vera_vision_depthwise& d, const uint16_t* x,
                  const ImageShape& shape, uint16_t* out) {
  ForTiles(pool, shape.height, [&](int64_t y, int64_t) {
    uint16_t* row = out + y * shape.width * shape.channels;
    DepthwiseRow(d, x, shape.height, shape.width, shape.channels, static_cast<int>(y), 0,
                 shape.width, [&](int column, int c, F32 v) {
                   StoreHalf(v, row + static_cast<size_t>(column) * shape.channels + c);
                 });
  });
  return true;
}

// --- blocks

// Row y of the mixer's output in half floats and in 16-bit numbers, with the margins of the row.
void MixRow(const vera_vision_block& b, const uint16_t* x, const WordImage& words, int y,
            uint16_t* out) {
  const int channels = words.channels, width = words.width;
  uint16_t* row = out + static_cast<size_t>(y) * width * channels;
  const auto store = [&](int column, int c, F32 v) {
    uint16_t* to = row + static_cast<size_t>(column) * channels + c;
    StoreHalf(v, to);
    Store(ToWords(LoadHalf(to) * Load<F32>(b.inverses + c)), words.At(y, column) + c);
  };
  if (b.mixer.weights != nullptr) {
    DepthwiseRow(b.mixer, x, words.height, width, channels, y, 0, width, store);
  } else {
    const uint16_t* from = x + static_cast<size_t>(y) * width * channels;
    for (int column = 0; column < width; ++column) {
      for (int c = 0; c < channels; c += kLanes) {
        store(column, c, LoadHalf(from + static_cast<size_t>(column) * channels + c));
      }
    }
  }
  const size_t pixel = channels * sizeof(int16_t);
  std::memset(words.At(y, -WordImage::kMargin), 0, WordImage::kMargin * pixel);
  std::memset(words.At(y, width), 0, (WordImage::kMargins - WordImage::kMargin) * pixel);
}

struct BlockTile {
  float* rows;     // (kPiece, channels), what the 7x7 convolution gives
  CodeRows mixed;  // the same as codes
  CodeRows hidden;
  int8_t* unpacked;
};

BlockTile LayOutBlock(const vera_vision_block& b, int pixels, char*& at) {
  BlockTile tile;
  const vera_vision_matrix &expand = b.expand.matrix, &reduce = b.reduce.matrix;
  tile.rows = Carve<float>(at, static_cast<size_t>(kPiece) * expand.columns);
  tile.mixed = CarveCodes(at, expand.columns, pixels);
  tile.hidden = CarveCodes(at, reduce.columns, pixels);
  const size_t a = UnpackedBytes(expand), c = UnpackedBytes(reduce);
  tile.unpacked = Carve<int8_t>(at, a > c ? a : c);
  return tile;
}

// The 7x7 convolution of a tile's pixels, as codes.
void MixTile(const vera_vision_block& b, const WordImage& words, int first, BlockTile& tile) {
  const size_t channels = words.channels;
  ForRowPieces(first, first + tile.mixed.count, words.width, [&](int y, int from, int to,
                                                                 int begin) {
    DepthwiseWords(words, b.taps, y, from, to, [&](int column, int c, I32 sums) {
      const F32 v = ToFloat(sums) * Load<F32>(b.tap_multipliers + c) + Load<F32>(b.tap_offsets + c);
      Store(v, tile.rows + (column - from) * channels + c);
    });
    for (int i = 0; i < to - from; ++i) {
      QuantizeRow(tile.rows + i * channels, words.channels, tile.mixed, begin + i);
    }
  });
}

// Pixels from `first` on: `out` holds the mixer's output and gets the block's.
void RunBlockTile(const vera_vision_block& b, const WordImage& words, int first, BlockTile& tile,
                  uint16_t* out) {
  const int channels = words.channels;
  MixTile(b, words, first, tile);
  for (int i = 0; i < tile.hidden.count; ++i) {
    tile.hidden.steps[i] = 1.0f;
    tile.hidden.zeros[i] = static_cast<int32_t>(b.reduce.zero);
  }
  const auto expanded = [&](int pixel, int block, F32 sums) {
    const F32 v = Gelu(Scaled(b.expand, block, sums));
    const int at = block * kLanes;
    Store(ToCodes(v * Load<F32>(b.reduce.inverses + at) + b.reduce.zero),
          tile.hidden.values + static_cast<size_t>(pixel) * tile.hidden.stride + at);
  };
  Multiply(b.expand.matrix, 0, Blocks(b.expand.matrix), tile.mixed, tile.unpacked, expanded);
  const auto reduced = [&](int pixel, int block, F32 sums) {
    uint16_t* at = out + static_cast<size_t>(first + pixel) * channels + block * kLanes;
    StoreHalf(LoadHalf(at) + Scaled(b.reduce, block, sums), at);
  };
  Multiply(b.reduce.matrix, 0, Blocks(b.reduce.matrix), tile.hidden, tile.unpacked, reduced);
}

// As many as leave the hidden codes in the cache and give each thread some tiles.
int PixelsOfTile(Pool& pool, const vera_vision_block& b, int pixels) {
  const int fit = static_cast<int>(kHiddenBytes / b.reduce.matrix.columns);
  const int shared = Ceil(pixels, 2 * pool.Threads());
  const int most = LeastInt(LeastInt(fit, shared), kMostPixels) / kTileRows * kTileRows;
  return most > kTileRows ? most : kTileRows;
}

bool RunBlock(Pool& pool, const vera_vision_block& b, const uint16_t* x, const ImageShape& shape,
              uint16_t* out) {
  const int pixels = shape.height * shape.width, size = PixelsOfTile(pool, b, pixels);
  WordImage words{nullptr, shape.height, shape.width, shape.channels};
  Workplace place;
  const auto shared = [&](char* at) {
    words.values = Carve<int16_t>(at, words.Size());
    return at;
  };
  const auto own = [&](char* at) {
    LayOutBlock(b, size, at);
    return at;
  };
  if (!place.Reserve(pool, shared, own)) return false;
  const size_t margin = words.RowSize() * WordImage::kMargin * sizeof(int16_t);
  std::memset(words.values, 0, margin);
  std::memset(words.At(shape.height, -WordImage::kMargin), 0, margin);
  ForTiles(pool, shape.height, [&](int64_t y, int64_t) {
    MixRow(b, x, words, static_cast<int>(y), out);
  });
  ForTiles(pool, Ceil(pixels, size), [&](int64_t number, int64_t thread) {
    char* at = place.Own(thread);
    BlockTile tile = LayOutBlock(b, size, at);
    const int first = static_cast<int>(number) * size;
    tile.mixed.count = tile.hidden.count = LeastInt(size, pixels - first);
    RunBlockTile(b, words, first, tile, out);
  });
  return true;
}

}  // namespace

extern const VisionFunctions kVision;
const VisionFunctions kVision = {kSetName, RunStem,      RunDown,  RunDepthwise,
                                 RunBlock, RunAttention, RunTokens};

}  // namespace VERA_SET
}  // namespace vera
