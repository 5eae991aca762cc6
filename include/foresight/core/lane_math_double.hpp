// SPDX-License-Identifier: Apache-2.0
// The functions of core/lane_math.hpp in double precision: the same scheme with longer constants
// and, for exp, log and tanh, a quotient of two polynomials (coefficients of S. Moshier's Cephes
// library, double precision). 64-bit integers have no conversion and no arithmetic shift in common
// vector registers, so integers are read off the low bits of x + 1.5 * 2^52. The error bounds are
// ours, tested against extended precision in tests/core/lanes_test.cpp.
#pragma once

#include "foresight/core/lane_math.hpp"

namespace foresight::detail {

/// x + kWhole has no room for a fraction: its low bits are the integer nearest to x, |x| < 2^51.
inline constexpr double kWhole = 0x1.8p52;

/// Both within 2 ulp for |x| <= kLargestAngle<double>, beside their zeros too.
template <DoubleLanes T>
SinCos<T> sin_cos(T x) {
  using B = LaneBits<T>;
  const T shifted = x * T(0x1.45f306dc9c883p-1) + T(kWhole);  // x / (pi/2)
  const auto quadrant = B::bits(shifted);
  const T n = shifted - T(kWhole);
  // pi/2 in four parts. n times each of the first three is exact, and so is the first difference;
  // what the next two lose in rounding is carried along.
  const T a = x - n * T(0x1.921fb544p0);
  const T na = n * T(0x1.0b4611a6p-34);
  const T b = a - na;
  const T nb = n * T(0x1.3198a2ep-69);
  const T c = b - nb;
  const T lost = ((a - b) - na) + ((b - c) - nb);
  const T r = c + (lost - n * T(0x1.b839a252049c1p-104));
  const T s = r * r;
  const T sine = r + r * s *
                         horner(s, 1.58962301576546568060e-10, -2.50507477628578072866e-8,
                                2.75573136213857245213e-6, -1.98412698295895385996e-4,
                                8.33333333332211858878e-3, -1.66666666666666307295e-1);
  const T cosine =
      (T(1.0) - T(0.5) * s) + s * s *
                                  horner(s, -1.13585365213876817300e-11, 2.08757008419747316778e-9,
                                         -2.75573141792967388112e-7, 2.48015872888517045348e-5,
                                         -1.38888888888730564116e-3, 4.16666666666665929218e-2);
  const auto swapped = B::set(quadrant & 1);
  const auto negative = [](T value, auto bit) {  // flips the sign where bit 1 is set
    return B::real(B::bits(value) ^ ((bit & 2) << 62));
  };
  return {negative(B::choose(swapped, cosine, sine), quadrant),
          negative(B::choose(swapped, sine, cosine), quadrant + 1)};
}

/// Within 1 ulp for positive normal x.
template <DoubleLanes T>
T log_of(T x) {
  using B = LaneBits<T>;
  constexpr std::int64_t kRootHalf = 0x3fe6a09e667f3bcd;  // bits of sqrt(1/2)
  constexpr std::int64_t kMantissa = 0x000fffffffffffff;
  constexpr std::int64_t kShift = std::int64_t{1024} << 52;  // keeps what is shifted positive
  const auto biased = (B::bits(x) - kRootHalf) + kShift;
  // The exponent as the low bits of a number >= 2^52.
  const T e =
      B::real(B::high_bits(biased, 12) | std::int64_t{0x4330000000000000}) - T(0x1p52 + 1024.0);
  const T m = B::real((biased & kMantissa) + kRootHalf) - T(1.0);  // x = 2^e (1 + m)
  const T s = m * m;
  const T p =
      horner(m, 1.01875663804580931796e-4, 4.97494994976747001425e-1, 4.70579119878881725854e0,
             1.44989225341610930846e1, 1.79368678507819816313e1, 7.70838733755885391666e0);
  const T q = horner(m, 1.0, 1.12873587189167450590e1, 4.52279145837532221105e1,
                     8.29875266912776603211e1, 7.11544750618563894466e1, 2.31251620126765340583e1);
  const T tail = m * (s * p / q) + e * T(-2.121944400546905827679e-4) - T(0.5) * s;
  return (m + tail) + e * T(0.693359375);
}

/// Within 2 ulp for every x: 0, subnormal and infinite results included; NaN stays NaN.
template <DoubleLanes T>
T exp_of(T x) {
  using B = LaneBits<T>;
  const T bounded =  // beyond, the result is 0 or infinity anyway; NaN passes
      B::choose(B::less(x, T(-746.0)), T(-746.0), B::choose(B::less(T(710.0), x), T(710.0), x));
  const T n = (bounded * T(0x1.71547652b82fep0) + T(kWhole)) - T(kWhole);
  const T r = bounded - n * T(0.693145751953125) - n * T(1.42860682030941723212e-6);
  const T s = r * r;
  const T p = r * horner(s, 1.26177193074810590878e-4, 3.02994407707441961300e-2, 1.0);
  const T q = horner(s, 3.00198505138664455042e-6, 2.52448340349684104192e-3,
                     2.27265548208155028766e-1, 2.0);
  const T mantissa = T(1.0) + T(2.0) * (p / (q - p));
  // 2^n in two factors, each of which is a normal number.
  const T half = (n * T(0.5) + T(kWhole)) - T(kWhole);
  const auto power = [](T exponent) {
    return B::real((B::bits(exponent + T(kWhole)) + 1023) << 52);
  };
  return mantissa * power(half) * power(n - half);
}

/// Within 2 ulp for every x.
template <DoubleLanes T>
T tanh_of(T x) {
  using B = LaneBits<T>;
  const T s = x * x;
  const T p =
      horner(s, -9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3);
  const T q =
      horner(s, 1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3);
  const T small = x + x * (s * p / q);
  const T size = B::real(B::bits(x) & INT64_MAX);
  const T rest = T(1.0) - T(2.0) / (exp_of(size + size) + T(1.0));
  const T large = B::real(B::bits(rest) | (B::bits(x) & INT64_MIN));
  return B::choose(B::less(size, T(0.625)), small, large);
}

/// The largest integer <= x; NaN and infinities pass.
template <DoubleLanes T>
T floor_of(T x) {
  using B = LaneBits<T>;
  const T size = B::real(B::bits(x) & INT64_MAX);
  const T rounded = (size + T(0x1p52)) - T(0x1p52);
  const T whole = B::real(B::bits(rounded) | (B::bits(x) & INT64_MIN));
  const T below = B::choose(B::less(x, whole), whole - T(1.0), whole);
  return B::choose(B::less(size, T(0x1p52)), below, x);  // larger ones are whole already
}

}  // namespace foresight::detail
