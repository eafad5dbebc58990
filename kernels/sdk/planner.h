// The app's planner, called one at a time and checked.
#ifndef VERA_SDK_PLANNER_H_
#define VERA_SDK_PLANNER_H_

#include <cstdint>
#include <mutex>
#include <vector>

#include "vera/retoucher.h"

namespace vera {

// Each call waits for the one before, may fail with what the app's function returned, and with
// MODEL_ERROR where its numbers are not finite.
class Planner {
 public:
  // Fails with INVALID_ARGUMENT for a table without the functions that are needed.
  Planner(const vera_planner* table, const vera_bundle_info& info, bool bakes);

  bool has_reference() const { return table_.encode_reference != nullptr; }

  // (3, S, S) -> (T, H).
  std::vector<float> EncodeImage(const std::vector<float>& pixels);
  // -> (n, H), in parts that the program takes.
  std::vector<float> Embed(const std::vector<int32_t>& ids);

  struct Place {
    std::vector<float> logits, hidden;
  };
  // (n, H) at `start`, in parts; logits are empty for VERA_LOGITS_NONE.
  Place Step(const std::vector<float>& embeds, int32_t start, vera_wanted_logits wanted,
             const volatile int32_t* cancel);
  // (3, H) -> (3, L).
  std::vector<float> Head(const std::vector<float>& hidden);
  std::vector<float> EncodeReference(const std::vector<float>& before,
                                     const std::vector<float>& after);
  // (count, 3) with latents (3, L) -> (count, 3), clipped to 0..1.
  void Bake(const float* colours, int64_t count, const float* latents,
            const volatile int32_t* cancel, float* out);
  void Release(vera_stage stage);

 private:
  template <typename Call>
  void Run(const char* what, Call call);

  vera_planner table_ = {};
  vera_bundle_info info_;
  std::mutex turn_;
};

// Fails with CANCELLED if the caller wants to stop.
void CheckCancel(const volatile int32_t* cancel);

}  // namespace vera

#endif  // VERA_SDK_PLANNER_H_
