#include "sdk/retoucher.h"

#include <algorithm>
#include <utility>

#include "sdk/cube.h"
#include "sdk/failure.h"
#include "sdk/plan.h"

namespace vera {
namespace {

constexpr uintmax_t kMaxTokenizerBytes = uintmax_t{64} << 20;
constexpr uintmax_t kMaxRendererBytes = uintmax_t{256} << 20;
constexpr int32_t kMinLut = 17, kMaxLut = 65;
constexpr float kFull[VERA_GROUP_COUNT] = {1.0f, 1.0f, 1.0f};

Vocabulary ReadVocabulary(const Bundle& bundle) {
  if (bundle.manifest().files.count("tokenizer") == 0) {
    Fail(VERA_STATUS_BUNDLE_ERROR, "The bundle has no file 'tokenizer': export again.");
  }
  const std::string text =
      ReadFile(bundle.File("tokenizer"), kMaxTokenizerBytes, VERA_STATUS_BUNDLE_ERROR);
  Vocabulary vocabulary(Tokenizer::Parse(text));
  const Tokenizer& tokenizer = vocabulary.tokenizer();
  const int32_t rows = bundle.manifest().info.vocab_size;
  if (tokenizer.size() > rows || tokenizer.last_id() >= rows) {
    Fail(VERA_STATUS_BUNDLE_ERROR,
         "The tokenizer has " + std::to_string(std::max(tokenizer.size(), tokenizer.last_id() + 1)) +
             " tokens, the model " + std::to_string(rows) +
             " embeddings: use the files of one checkpoint.");
  }
  return vocabulary;
}

Renderer ReadBundleRenderer(const Bundle& bundle) {
  if (bundle.manifest().files.count("renderer") == 0) return nullptr;
  const std::string file =
      ReadFile(bundle.File("renderer"), kMaxRendererBytes, VERA_STATUS_BUNDLE_ERROR);
  return ReadRenderer(file, bundle.manifest().info.latent_size);
}

void CheckLutSize(int32_t size) {
  if (size >= kMinLut && size <= kMaxLut) return;
  Fail(VERA_STATUS_INVALID_ARGUMENT, "LUT size " + std::to_string(size) +
                                         " not allowed: use 17..65; 33 suits photos.");
}

void CheckBaked(vera_status status) {
  if (status == VERA_STATUS_OK) return;
  Fail(status, std::string("Baking the look failed: ") + vera_status_text(status) + ".");
}

vera_bake_options BakeOptions(int32_t threads, const volatile int32_t* cancel) {
  vera_bake_options options = {};
  options.struct_size = sizeof(options);
  options.threads = threads;
  options.cancel = cancel;
  return options;
}

std::vector<float> EvenAxes(int32_t size) {
  std::vector<float> axes;
  for (int c = 0; c < 3; ++c) {
    for (const double step : EvenSteps(size)) axes.push_back(static_cast<float>(step));
  }
  return axes;
}

// The nodes of a lattice, red fastest.
std::vector<float> Nodes(const std::vector<float>& axes, int32_t size) {
  const size_t n = static_cast<size_t>(size);
  std::vector<float> points;
  points.reserve(n * n * n * 3);
  for (size_t b = 0; b < n; ++b) {
    for (size_t g = 0; g < n; ++g) {
      for (size_t r = 0; r < n; ++r) {
        points.insert(points.end(), {axes[r], axes[n + g], axes[2 * n + b]});
      }
    }
  }
  return points;
}

}  // namespace

Retoucher::Retoucher(const Bundle& bundle, const vera_planner* planner)
    : info_(bundle.manifest().info),
      family_(bundle.manifest().family == "vera-nano" ? Family::kNano : Family::kChat),
      vocabulary_(ReadVocabulary(bundle)),
      renderer_(ReadBundleRenderer(bundle)),
      planner_(planner, info_, renderer_ == nullptr) {}

vera_plan_result Retoucher::Plan(const vera_frame* photo, vera_color_space space,
                                 const vera_task* task, const vera_plan_options* options) {
  const PlanOptions checked(options, vocabulary_.format());
  const vera_task wanted = CheckedTask(task);
  const Queue::Turn turn(&queue_, checked.read.cancel);
  CheckCancel(checked.read.cancel);
  return Session(&planner_, vocabulary_, info_, family_, checked).Run(photo, space, wanted);
}

void Retoucher::Unload() {
  const Queue::Turn turn(&queue_, nullptr);
  planner_.Release(-1);
}

Retoucher::Work Retoucher::WorkOf(const vera_plan_result& look, const float* strengths,
                                  int32_t threads, const volatile int32_t* cancel) const {
  CheckStrengths(strengths);
  if (look.latent_size != info_.latent_size) {
    Fail(VERA_STATUS_INVALID_ARGUMENT,
         "The look has latents of " + std::to_string(look.latent_size) + " values, the model of " +
             std::to_string(info_.latent_size) + ": use a look of this bundle.");
  }
  if (threads < 0 || threads > 64) {
    Fail(VERA_STATUS_INVALID_ARGUMENT, std::to_string(threads) +
                                           " threads not allowed: use 1..64, or 0 for all.");
  }
  Work work = {look.latents, threads, cancel};
  for (size_t i = 0; i < work.latents.size(); ++i) {
    work.latents[i] *= strengths[i / static_cast<size_t>(info_.latent_size)];
  }
  return work;
}

void Retoucher::Colours(const Work& work, const std::vector<float>& points, float* out) {
  const int64_t count = static_cast<int64_t>(points.size() / 3);
  if (renderer_ == nullptr) {
    planner_.Bake(points.data(), count, work.latents.data(), work.cancel, out);
    return;
  }
  const vera_bake_options options = BakeOptions(work.threads, work.cancel);
  CheckBaked(vera_bake_points(renderer_.get(), work.latents.data(), kFull, points.data(), count,
                              out, &options));
}

void Retoucher::Lattice(const Work& work, const std::vector<float>& axes, int32_t size,
                        float* lut) {
  if (renderer_ == nullptr) {
    Colours(work, Nodes(axes, size), lut);
    return;
  }
  const vera_bake_options options = BakeOptions(work.threads, work.cancel);
  CheckBaked(vera_bake(renderer_.get(), work.latents.data(), kFull, axes.data(), size, lut,
                       &options));
}

void Retoucher::Bake(const vera_plan_result& look, const float* strengths, int32_t lut_size,
                     int32_t threads, const volatile int32_t* cancel, float* curves, float* lut) {
  CheckLutSize(lut_size);
  if (curves == nullptr || lut == nullptr) {
    Fail(VERA_STATUS_INVALID_ARGUMENT, "Baking needs memory for curves and lut, got NULL.");
  }
  const Work work = WorkOf(look, strengths, threads, cancel);
  CheckCancel(cancel);
  std::vector<float> colours(static_cast<size_t>(kCurvePoints) * 3);
  Colours(work, CurvePoints(), colours.data());
  FitCurves(colours.data(), curves);
  Lattice(work, LatticeAxes(curves, lut_size), lut_size, lut);
}

std::string Retoucher::Cube(const vera_plan_result& look, const float* strengths, float strength,
                            int32_t lut_size) {
  const float mixes[3] = {strength, strength, strength};
  CheckLutSize(lut_size);
  CheckStrengths(mixes);
  const Work work = WorkOf(look, strengths, 0, nullptr);
  const std::vector<float> axes = EvenAxes(lut_size), points = Nodes(axes, lut_size);
  std::vector<float> lut(points.size());
  Lattice(work, axes, lut_size, lut.data());
  for (size_t i = 0; i < lut.size(); ++i) {
    lut[i] = std::clamp(points[i] + strength * (lut[i] - points[i]), 0.0f, 1.0f);
  }
  return CubeText(lut, lut_size, "Vera Mobile look");
}

}  // namespace vera
