// One plan: prompt, decode, latents; what vera_mobile/retoucher.py does.
#ifndef VERA_SDK_PLAN_H_
#define VERA_SDK_PLAN_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "sdk/look.h"
#include "sdk/picture.h"
#include "sdk/planner.h"
#include "sdk/prompt.h"
#include "vera/retoucher.h"

namespace vera {

// How it is planned, checked, with the family's values for what the caller left open.
struct PlanOptions {
  PlanOptions(const vera_plan_options* given, const PromptFormat& format);

  float temperature, top_p;
  int32_t max_tokens;
  vera_plan_options read = {};  // cancel, functions, seed, instant
};

// Fails with INVALID_ARGUMENT for a task that retoucher.h does not allow.
vera_task CheckedTask(const vera_task* given);

class Session {
 public:
  Session(Planner* planner, const Vocabulary& vocabulary, const vera_bundle_info& info,
          Family family, const PlanOptions& options);

  vera_plan_result Run(const vera_frame* photo, vera_color_space space, const vera_task& task);

 private:
  // A place in the answer: the next position, and what the token before it left.
  struct Place {
    int32_t position = 0;
    int32_t room = 0;  // tokens of text that the answer may have in all
    Planner::Place state;
  };

  void RunPair(const vera_task& task);
  Prompt MakePrompt(const vera_frame* photo, vera_color_space space, const vera_task& task,
                    std::vector<float>* seen);
  Place Read(const Prompt& prompt, const std::vector<float>& seen);
  Place Write(Place place);
  std::vector<float> RetouchStates(Place place);
  Place After(int32_t token, const Place& place, vera_wanted_logits wanted);
  void FindLatents(const std::vector<float>& hidden, const Prompt& prompt);
  void Stream();
  void Finish();
  void Told(vera_stage stage, float done) const;
  void TellLook() const;

  // Adds the time until the next call to a stage.
  void Begin(vera_stage stage);
  void End();

  Planner& planner_;
  const Vocabulary& vocabulary_;
  const vera_bundle_info& info_;
  const Family family_;
  const PlanOptions& options_;
  vera_plan_result result_;
  size_t said_ = 0;  // characters of the text that were streamed
  vera_stage stage_ = -1;
  std::chrono::steady_clock::time_point began_;
};

}  // namespace vera

#endif  // VERA_SDK_PLAN_H_
