// The renderer's weights: bake.safetensors of a bundle.
#ifndef VERA_SDK_RENDERER_FILE_H_
#define VERA_SDK_RENDERER_FILE_H_

#include <memory>
#include <string>
#include <string_view>

#include "vera/retoucher.h"

namespace vera {

struct DestroyRenderer {
  void operator()(vera_renderer* renderer) const { vera_renderer_destroy(renderer); }
};
using Renderer = std::unique_ptr<vera_renderer, DestroyRenderer>;

// The network in the bytes of a file that vera_mobile/native/renderer_file.py wrote; `latent_size`
// is the model's. Fails with BUNDLE_ERROR.
Renderer ReadRenderer(std::string_view file, int32_t latent_size);

}  // namespace vera

#endif  // VERA_SDK_RENDERER_FILE_H_
