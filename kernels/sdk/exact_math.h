// Functions of the mathematics library whose last bit differs from system to system, from additions,
// multiplications and divisions in a fixed order: the same bits everywhere. Errors are below 1e-15
// relative, which no use of them notices.
#ifndef VERA_SDK_EXACT_MATH_H_
#define VERA_SDK_EXACT_MATH_H_

#include <cmath>

namespace vera {

// e^x for -700 <= x <= 700.
inline double ExactExp(double x) {
  constexpr double kLog2E = 1.4426950408889634, kLn2High = 0.693147180369123816490,
                   kLn2Low = 1.90821492927058770002e-10;
  const double power = std::floor(x * kLog2E + 0.5);
  const double r = (x - power * kLn2High) - power * kLn2Low;
  double sum = 1.0;
  for (int i = 14; i >= 1; --i) sum = 1.0 + r / i * sum;
  return std::ldexp(sum, static_cast<int>(power));
}

// Natural logarithm of a normal number above 0.
inline double ExactLog(double x) {
  constexpr double kLn2 = 0.693147180559945309417;
  int power = 0;
  double m = std::frexp(x, &power);  // 0.5 .. 1
  if (m < 0.70710678118654752) {
    m *= 2.0;
    --power;
  }
  const double s = (m - 1.0) / (m + 1.0), square = s * s;
  double sum = 0.0;
  for (int i = 23; i >= 1; i -= 2) sum = sum * square + 1.0 / i;
  return 2.0 * s * sum + power * kLn2;
}

inline double ExactPow(double x, double y) { return x <= 0.0 ? 0.0 : ExactExp(y * ExactLog(x)); }

// sin(pi x) / (pi x) for |x| <= 1024, 1 for 0.
inline double ExactSinc(double x) {
  constexpr double kPi = 3.14159265358979323846;
  if (x == 0.0) return 1.0;
  const double turns = std::floor(x + 0.5);
  const double r = (x - turns) * kPi;  // -pi/2 .. pi/2
  double sum = 1.0;
  for (int i = 22; i >= 2; i -= 2) sum = 1.0 - r * r / (i * (i + 1)) * sum;
  const double sine = std::fmod(turns, 2.0) == 0.0 ? r * sum : -(r * sum);
  return sine / (x * kPi);
}

}  // namespace vera

#endif  // VERA_SDK_EXACT_MATH_H_
