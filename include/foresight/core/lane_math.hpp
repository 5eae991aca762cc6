// SPDX-License-Identifier: Apache-2.0
// Elementary functions in single precision without a branch, so that a compiler turns them into
// vector code: what Lanes (core/lanes.hpp) and the library's noise are computed with. Polynomials
// on a reduced argument, the classic scheme of Cody and Waite (1980) with the coefficients of S.
// Moshier's Cephes library (single precision); the error bounds are ours, tested against double
// precision in tests/core/lanes_test.cpp.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace foresight::detail {

/// How a number type T gives access to its bits. Number: what it is made of; Integer: the signed
/// integer(s) beside it; Flag: the result of a comparison.
template <class T>
struct LaneBits;

/// Numbers that core/lane_math_double.hpp computes with.
template <class T>
concept DoubleLanes = std::is_same_v < typename LaneBits<T>::Number,
double > ;

template <>
struct LaneBits<float> {
  using Number = float;
  using Integer = std::int32_t;
  using Flag = bool;
  static Integer bits(float x) { return std::bit_cast<Integer>(x); }
  static float real(Integer bits) { return std::bit_cast<float>(bits); }
  static Integer truncate(float x) { return static_cast<Integer>(x); }
  static float convert(Integer i) { return static_cast<float>(i); }
  static Flag set(Integer i) { return i != 0; }
  static Flag less(float a, float b) { return a < b; }
  static float choose(Flag flag, float yes, float no) { return flag ? yes : no; }
};

inline constexpr std::int32_t kSignBit = INT32_MIN;
/// Largest |x| that sin_cos() reduces without loss.
template <class Scalar>
inline constexpr Scalar kLargestAngle = Scalar(1024);
template <>
inline constexpr double kLargestAngle<double> = 0x1p17;

/// x with the sign of y, where x >= 0.
template <class T>
T with_sign_of(T x, T y) {
  using B = LaneBits<T>;
  return B::real(B::bits(x) | (B::bits(y) & kSignBit));
}

/// The nearest integer, as integer; ties away from zero. |x| < 2^31.
template <class T>
auto nearest(T x) {
  return LaneBits<T>::truncate(x + with_sign_of(T(0.5F), x));
}

/// (((c0 x + c1) x + c2) x + ...): Horner's rule.
template <class T, class First, class... Coefficients>
T horner(T x, First first, Coefficients... rest) {
  T sum(first);
  ((sum = sum * x + T(rest)), ...);
  return sum;
}

template <class T>
struct SinCos {
  T sin, cos;
};

/// Both within 2 ulp for |x| <= kLargestAngle<float>.
template <class T>
SinCos<T> sin_cos(T x) {
  using B = LaneBits<T>;
  const auto quadrant = nearest(x * T(0x1.45f306p-1F));  // x / (pi/2)
  const T n = B::convert(quadrant);
  // pi/2 in four parts; n times each of the first three is exact, so that nothing is lost where x
  // is close to a zero of the result.
  T r = x - n * T(0x1.92p0F);
  r = r - n * T(0x1.fb4p-12F);
  r = r - n * T(0x1.444p-24F);
  r = r - n * T(0x1.68c234p-39F);
  const T s = r * r;
  const T sine = r + r * s * horner(s, -1.9515295891e-4F, 8.3321608736e-3F, -1.6666654611e-1F);
  const T cosine =
      (T(1.0F) - T(0.5F) * s) +
      s * s * horner(s, 2.443315711809948e-5F, -1.388731625493765e-3F, 4.166664568298827e-2F);
  const auto swapped = B::set(quadrant & 1);
  const auto negative = [](T value, auto bit) {  // flips the sign where bit 1 is set
    return B::real(B::bits(value) ^ ((bit & 2) << 30));
  };
  return {negative(B::choose(swapped, cosine, sine), quadrant),
          negative(B::choose(swapped, sine, cosine), quadrant + 1)};
}

/// Within 1 ulp for positive normal x.
template <class T>
T log_of(T x) {
  using B = LaneBits<T>;
  constexpr std::int32_t kRootHalf = 0x3f3504f3;  // bits of sqrt(1/2)
  const auto shifted = B::bits(x) - kRootHalf;
  const T e = B::convert(shifted >> 23);
  const T m = B::real((shifted & 0x7fffff) + kRootHalf) - T(1.0F);  // x = 2^e (1 + m)
  const T s = m * m;
  const T p = horner(m, 7.0376836292e-2F, -1.1514610310e-1F, 1.1676998740e-1F, -1.2420140846e-1F,
                     1.4249322787e-1F, -1.6668057665e-1F, 2.0000714765e-1F, -2.4999993993e-1F,
                     3.3333331174e-1F);
  const T tail = p * m * s + e * T(-2.12194440e-4F) - T(0.5F) * s;
  return (m + tail) + e * T(0.693359375F);
}

/// Within 2 ulp for every x: 0, subnormal and infinite results included; NaN stays NaN.
template <class T>
T exp_of(T x) {
  using B = LaneBits<T>;
  const T bounded =  // beyond, the result is 0 or infinity anyway; NaN passes
      B::choose(B::less(x, T(-104.0F)), T(-104.0F), B::choose(B::less(T(89.0F), x), T(89.0F), x));
  const auto n = nearest(bounded * T(1.44269504F));
  const T e = B::convert(n);
  const T r = bounded - e * T(0.693359375F) - e * T(-2.12194440e-4F);
  const T p = horner(r, 1.9875691500e-4F, 1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F,
                     1.6666665459e-1F, 5.0000001201e-1F);
  const T mantissa = p * (r * r) + r + T(1.0F);
  // 2^n in two factors, each of which is a normal number.
  const auto half = n >> 1;
  const auto power = [](auto exponent) { return B::real((exponent + 127) << 23); };
  return mantissa * power(half) * power(n - half);
}

/// Within 2 ulp for every x.
template <class T>
T tanh_of(T x) {
  using B = LaneBits<T>;
  const T s = x * x;
  const T p = horner(s, -5.70498872745e-3F, 2.06390887954e-2F, -5.37397155531e-2F,
                     1.33314422036e-1F, -3.33332819422e-1F);
  const T small = p * s * x + x;
  const T size = B::real(B::bits(x) & INT32_MAX);
  const T large = with_sign_of(T(1.0F) - T(2.0F) / (exp_of(size + size) + T(1.0F)), x);
  return B::choose(B::less(size, T(0.625F)), small, large);
}

/// The largest integer <= x; NaN and infinities pass.
template <class T>
T floor_of(T x) {
  using B = LaneBits<T>;
  const T whole = B::convert(B::truncate(x));
  const T below = B::choose(B::less(x, whole), whole - T(1.0F), whole);
  const T size = B::real(B::bits(x) & INT32_MAX);
  return B::choose(B::less(size, T(0x1p23F)), below, x);  // larger ones are whole already
}

}  // namespace foresight::detail
