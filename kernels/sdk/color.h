// Encoded RGB of the named colour spaces as encoded sRGB.
#ifndef VERA_SDK_COLOR_H_
#define VERA_SDK_COLOR_H_

#include <vector>

#include "vera/retoucher.h"

namespace vera {

// Relative colorimetric; what is outside of sRGB is clipped, channel by channel. All spaces have the
// white of sRGB. The same numbers on every machine, within 2e-6 of the formulas.
class ToSrgb {
 public:
  explicit ToSrgb(vera_color_space space);

  // rgb: three values in 0..1, replaced.
  void Convert(float* rgb) const;
  bool changes_nothing() const { return space_ == VERA_COLOR_SPACE_SRGB; }

 private:
  vera_color_space space_;
  std::vector<double> linear_;   // of encoded values in even steps
  std::vector<double> encoded_;  // of the squares of values in even steps
  double matrix_[9];
};

}  // namespace vera

#endif  // VERA_SDK_COLOR_H_
