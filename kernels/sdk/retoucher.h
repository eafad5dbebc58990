// A bundle with a runtime: plans, bakes, writes.
#ifndef VERA_SDK_RETOUCHER_H_
#define VERA_SDK_RETOUCHER_H_

#include <string>
#include <vector>

#include "sdk/bundle.h"
#include "sdk/look.h"
#include "sdk/picture.h"
#include "sdk/planner.h"
#include "sdk/prompt.h"
#include "sdk/queue.h"
#include "sdk/renderer_file.h"
#include "vera/retoucher.h"

namespace vera {

class Retoucher {
 public:
  // See vera_retoucher_create.
  Retoucher(const Bundle& bundle, const vera_planner* planner);

  vera_plan_result Plan(const vera_frame* photo, vera_color_space space, const vera_task* task,
                        const vera_plan_options* options);
  void Unload();

  // See vera_bake_look and vera_save_cube.
  void Bake(const vera_plan_result& look, const float* strengths, int32_t lut_size, int32_t threads,
            const volatile int32_t* cancel, float* curves, float* lut);
  std::string Cube(const vera_plan_result& look, const float* strengths, float strength,
                   int32_t lut_size);

  const Vocabulary& vocabulary() const { return vocabulary_; }
  const vera_bundle_info& info() const { return info_; }

 private:
  // How a look is evaluated: its latents times the strengths.
  struct Work {
    std::vector<float> latents;
    int32_t threads;
    const volatile int32_t* cancel;
  };
  Work WorkOf(const vera_plan_result& look, const float* strengths, int32_t threads,
              const volatile int32_t* cancel) const;
  void Colours(const Work& work, const std::vector<float>& points, float* out);
  void Lattice(const Work& work, const std::vector<float>& axes, int32_t size, float* lut);

  const vera_bundle_info info_;
  const Family family_;
  const Vocabulary vocabulary_;
  const Renderer renderer_;  // nullptr: the planner bakes
  Planner planner_;
  Queue queue_;
};

}  // namespace vera

#endif  // VERA_SDK_RETOUCHER_H_
