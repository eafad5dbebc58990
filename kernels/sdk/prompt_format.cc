// How both families are spoken to, and what is measured on a photo.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "sdk/prompt.h"

namespace vera {

const char* const kSliders[VERA_SLIDER_COUNT] = {
    "Exposure2012", "Contrast2012", "Highlights2012", "Shadows2012", "Whites2012", "Blacks2012",
    "ParametricShadows", "ParametricDarks", "ParametricLights", "ParametricHighlights",
    "IncrementalTemperature", "IncrementalTint", "Vibrance", "Saturation",
    "HueAdjustmentRed", "HueAdjustmentOrange", "HueAdjustmentYellow", "HueAdjustmentGreen",
    "HueAdjustmentAqua", "HueAdjustmentBlue", "HueAdjustmentPurple", "HueAdjustmentMagenta",
    "SaturationAdjustmentRed", "SaturationAdjustmentOrange", "SaturationAdjustmentYellow",
    "SaturationAdjustmentGreen", "SaturationAdjustmentAqua", "SaturationAdjustmentBlue",
    "SaturationAdjustmentPurple", "SaturationAdjustmentMagenta",
    "LuminanceAdjustmentRed", "LuminanceAdjustmentOrange", "LuminanceAdjustmentYellow",
    "LuminanceAdjustmentGreen", "LuminanceAdjustmentAqua", "LuminanceAdjustmentBlue",
    "LuminanceAdjustmentPurple", "LuminanceAdjustmentMagenta"};

namespace {

constexpr const char* kRetouch[] = {"<retouch_light>", "<retouch_color&temp>",
                                    "<retouch_colormixer>"};
constexpr int kLevels = 64;

struct Measure {
  int channel;   // r, g, b, or their largest less their smallest
  int quantile;  // in ten thousandths
};

constexpr char kChannels[] = "rgbc";
constexpr int kQuantiles[] = {5, 200, 5000, 9800, 9995};
constexpr int kChromaQuantiles[] = {2500, 5000, 7500, 9800, 9995};

std::vector<Measure> Measures() {
  std::vector<Measure> all;
  for (int channel = 0; channel < 4; ++channel) {
    for (const int quantile : channel == 3 ? kChromaQuantiles : kQuantiles) {
      all.push_back({channel, quantile});
    }
  }
  return all;
}

// A number with zeros before it.
std::string Padded(int value, size_t digits) {
  const std::string text = std::to_string(value);
  return std::string(digits - std::min(digits, text.size()), '0') + text;
}

std::vector<std::string> SliderPieces() {
  std::vector<std::string> pieces;
  for (const char* name : kSliders) {
    for (const char* sign : {"+", "-"}) {
      for (int tens = 0; tens < 11; ++tens) {
        pieces.push_back(std::string(name) + sign + Padded(tens, 2));
      }
    }
  }
  return pieces;
}

std::string Chat(const std::string& request) {
  return "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n" +
         request + "<|im_end|>\n<|im_start|>assistant\n";
}

int CodeOf(float value) {
  const float scaled = value * 255.0f + 0.5f;
  if (!(scaled >= 0.0f)) return 0;  // NaN too
  return static_cast<int>(std::min(scaled, 255.0f));
}

}  // namespace

std::vector<std::string> MeasurePieces() {
  std::vector<std::string> pieces;
  for (const Measure& measure : Measures()) {
    for (int level = 0; level < kLevels; ++level) {
      pieces.push_back(std::string("<") + kChannels[measure.channel] +
                       Padded(measure.quantile, 4) + "=" + Padded(level, 2) + ">");
    }
  }
  return pieces;
}

std::vector<int> MeasuredLevels(const float* seen, size_t pixels) {
  std::vector<std::array<size_t, 256>> counts(4);
  for (auto& count : counts) count.fill(0);
  for (size_t i = 0; i < pixels; ++i) {
    const int rgb[3] = {CodeOf(seen[i]), CodeOf(seen[pixels + i]), CodeOf(seen[2 * pixels + i])};
    for (size_t c = 0; c < 3; ++c) ++counts[c][static_cast<size_t>(rgb[c])];
    const int chroma = *std::max_element(rgb, rgb + 3) - *std::min_element(rgb, rgb + 3);
    ++counts[3][static_cast<size_t>(chroma)];
  }
  std::vector<int> levels;
  for (const Measure& measure : Measures()) {
    const size_t share = static_cast<size_t>(measure.quantile) * pixels;
    const size_t rank = std::max<size_t>(1, (share + 9999) / 10000);
    int code = 0;
    size_t passed = counts[static_cast<size_t>(measure.channel)][0];
    while (passed < rank && code < 255) {
      passed += counts[static_cast<size_t>(measure.channel)][static_cast<size_t>(++code)];
    }
    levels.push_back(code * kLevels / 256);
  }
  return levels;
}

PromptFormat NanoFormat(bool measured) {
  PromptFormat format;
  format.specials = {"<pad>", "<auto>", "<style>", "<param>", "<answer>"};
  format.prompt_only = format.specials;
  format.specials.insert(format.specials.end(), std::begin(kRetouch), std::end(kRetouch));
  const std::vector<std::string> pieces = SliderPieces();
  format.prompt_only.insert(format.prompt_only.end(), pieces.begin(), pieces.end());
  format.auto_task = "<auto>{image}<answer>";
  format.style = "<style>{image} {text}<answer>";
  format.param = "<param>{text}<answer>";
  format.end = {"<pad>"};
  format.max_wish_tokens = 64;
  if (measured) {
    format.measures = MeasurePieces();
    format.prompt_only.insert(format.prompt_only.end(), format.measures.begin(),
                              format.measures.end());
  }
  return format;
}

// The wording is an interface of the published weights: one other character is other tokens.
PromptFormat ChatFormat() {
  const std::string agent = "\nNow, you are acting as a Retouch Agent. ";
  PromptFormat format;
  format.is_chat = true;
  format.specials = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  format.specials.insert(format.specials.end(), std::begin(kRetouch), std::end(kRetouch));
  format.end = {"<|endoftext|>", "<|im_end|>"};
  format.prompt_only = {"<|im_start|>", "<Auto_Retouch_Task>", "<Style_Retouch_Task>",
                        "<Professional_Retouch_Task>"};
  format.marks = {"<image>"};
  format.auto_task =
      Chat("{image}\n<Auto_Retouch_Task>" + agent +
           "When I provide an image, please state the problems found in the image (from 3 aspects: "
           "lighting, global_color, specific color), and give the solution and retouch tokens.");
  format.style = Chat("{image}\n<Style_Retouch_Task>" + agent +
                      "I will provide an image and an instruction, please give me a retouch plan "
                      "and retouch tokens.\n Instruction: {text}");
  format.param =
      Chat("<Professional_Retouch_Task>" + agent +
           "I will provide an image and an professional instruction (plain text description or "
           "retouch operator parameters range from -1.0 to 1.0), please give me a retouch plan and "
           "retouch tokens.\n Instruction: {text}");
  format.temperature = 0.2f;
  format.max_tokens = 1024;
  return format;
}

}  // namespace vera
