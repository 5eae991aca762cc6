// SPDX-License-Identifier: Apache-2.0
// Several candidates in one vector register: the number type that dynamics written as C++ functors
// are evaluated with (planning/functor.hpp). No torch: GCC's and Clang's vector extensions, which
// become SSE2, AVX2, AVX-512 or NEON by the flags of the file that includes this.
#pragma once

#ifdef __SSE2__
#include <immintrin.h>
#endif

#include <cmath>
#include <concepts>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "foresight/core/lane_math.hpp"
#include "foresight/core/lane_math_double.hpp"

namespace foresight {

/// Bytes of the vector registers that this file is compiled for.
#if defined(__AVX512F__)
inline constexpr int kLaneBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kLaneBytes = 32;
#else
inline constexpr int kLaneBytes = 16;
#endif

namespace detail {

template <class Scalar, int N>
struct LaneVectors {
  static_assert(std::is_same_v<Scalar, float> || std::is_same_v<Scalar, double>);
  static_assert(N * sizeof(Scalar) >= 16, "a vector has at least 16 bytes");
  using Element = std::conditional_t<sizeof(Scalar) == 4, std::int32_t, std::int64_t>;
  typedef Scalar Real __attribute__((vector_size(N * sizeof(Scalar))));
  typedef Element Integer __attribute__((vector_size(N * sizeof(Scalar))));
};

// Reordered arithmetic would undo the argument reductions of lane_math.hpp.
#ifdef __FAST_MATH__
inline constexpr bool kFastLanes = false;
#else
inline constexpr bool kFastLanes = true;
#endif

}  // namespace detail

// All of these copy by code of their own, so that they travel through memory wherever a call is not
// inlined: in a vector register, the calling convention would depend on compiler flags.

/// The outcome of a comparison, lane by lane.
template <class Scalar, int N>
struct LaneMask {
  using Vector = typename detail::LaneVectors<Scalar, N>::Integer;
  Vector v;  // 0 or -1

  LaneMask(const Vector& vector) : v(vector) {}
  LaneMask(const LaneMask& other) : v(other.v) {}
  LaneMask& operator=(const LaneMask& other) {
    v = other.v;
    return *this;
  }

  friend LaneMask operator&(LaneMask a, LaneMask b) { return {a.v & b.v}; }
  friend LaneMask operator|(LaneMask a, LaneMask b) { return {a.v | b.v}; }
  friend LaneMask operator!(LaneMask a) { return {~a.v}; }
  /// True in at least one lane.
  friend bool any(LaneMask mask) {
#ifdef __SSE2__
    __m128i pieces[sizeof(mask.v) / 16];
    std::memcpy(pieces, &mask.v, sizeof(mask.v));
    for (const auto& piece : pieces) pieces[0] = _mm_or_si128(pieces[0], piece);
    return _mm_movemask_epi8(pieces[0]) != 0;
#else
    bool some = false;
    for (int i = 0; i < N; ++i) some |= mask.v[i] != 0;
    return some;
#endif
  }
};

/// N numbers that are computed with as if they were one. Arithmetic and comparison act lane by
/// lane; plain numbers mix in and are rounded to Scalar first. Where code would branch on a value,
/// select() takes the place of the branch.
template <class Scalar, int N = kLaneBytes / static_cast<int>(sizeof(Scalar))>
struct Lanes {
  using Number = Scalar;
  using Vector = typename detail::LaneVectors<Scalar, N>::Real;
  using Mask = LaneMask<Scalar, N>;
  static constexpr int kWidth = N;
  Vector v;

  Lanes() = default;
  explicit Lanes(const Vector& vector) : v(vector) {}
  template <class T>
  requires std::is_arithmetic_v<T> Lanes(T value)
      : Lanes(static_cast<Scalar>(value), std::make_index_sequence<N>()) {}
  Lanes(const Lanes& other) : v(other.v) {}
  Lanes& operator=(const Lanes& other) {
    v = other.v;
    return *this;
  }

  Scalar operator[](int lane) const { return v[lane]; }

  friend Lanes operator+(Lanes a, Lanes b) { return Lanes(a.v + b.v); }
  friend Lanes operator-(Lanes a, Lanes b) { return Lanes(a.v - b.v); }
  friend Lanes operator*(Lanes a, Lanes b) { return Lanes(a.v * b.v); }
  friend Lanes operator/(Lanes a, Lanes b) { return Lanes(a.v / b.v); }
  friend Lanes operator-(Lanes a) { return Lanes(-a.v); }
  Lanes& operator+=(Lanes other) { return *this = *this + other; }
  Lanes& operator-=(Lanes other) { return *this = *this - other; }
  Lanes& operator*=(Lanes other) { return *this = *this * other; }
  Lanes& operator/=(Lanes other) { return *this = *this / other; }

  friend Mask operator<(Lanes a, Lanes b) { return {a.v < b.v}; }
  friend Mask operator<=(Lanes a, Lanes b) { return {a.v <= b.v}; }
  friend Mask operator>(Lanes a, Lanes b) { return {a.v > b.v}; }
  friend Mask operator>=(Lanes a, Lanes b) { return {a.v >= b.v}; }
  friend Mask operator==(Lanes a, Lanes b) { return {a.v == b.v}; }
  friend Mask operator!=(Lanes a, Lanes b) { return {a.v != b.v}; }

  /// `mask ? yes : no`.
  friend Lanes select(Mask mask, Lanes yes, Lanes no) { return Lanes(mask.v ? yes.v : no.v); }
  // Written as one expression, these become the processor's own minimum and maximum.
  /// The smaller and the larger; a NaN on the left stays.
  friend Lanes min(Lanes a, Lanes b) { return Lanes(b.v < a.v ? b.v : a.v); }
  friend Lanes max(Lanes a, Lanes b) { return Lanes(a.v < b.v ? b.v : a.v); }
  /// x within [low, high]; NaN stays NaN.
  friend Lanes clamp(Lanes x, Lanes low, Lanes high) { return min(max(x, low), high); }
  friend Lanes abs(Lanes x) {
    using Integer = typename detail::LaneVectors<Scalar, N>::Integer;
    using Element = typename detail::LaneVectors<Scalar, N>::Element;
    const auto size = reinterpret_cast<Integer>(x.v) & std::numeric_limits<Element>::max();
    return Lanes(reinterpret_cast<Vector>(size));
  }

  /// f of every lane in turn: the way to any function that has no vector form here.
  template <class F>
  friend Lanes map(Lanes x, F&& f) {
    for (int i = 0; i < N; ++i) x.v[i] = f(x.v[i]);
    return x;
  }

  friend Lanes sqrt(Lanes x) {
#ifdef __SSE2__
    for (int i = 0; i < static_cast<int>(sizeof(x.v)) / 16; ++i) {
      char* piece = reinterpret_cast<char*>(&x.v) + 16 * i;
      if constexpr (sizeof(Scalar) == 4) {
        __m128 four;
        std::memcpy(&four, piece, 16);
        four = _mm_sqrt_ps(four);
        std::memcpy(piece, &four, 16);
      } else {
        __m128d two;
        std::memcpy(&two, piece, 16);
        two = _mm_sqrt_pd(two);
        std::memcpy(piece, &two, 16);
      }
    }
    return x;
#else
    return map(x, [](Scalar value) { return std::sqrt(value); });
#endif
  }

 private:
  // Spelled out, so that a constant is a constant to the compiler.
  template <std::size_t... I>
  Lanes(Scalar value, std::index_sequence<I...>) : v{(static_cast<void>(I), value)...} {}
};

namespace detail {

// The integers beside lanes.
template <class Scalar, int N>
struct LaneIntegers {
  using Vector = typename LaneVectors<Scalar, N>::Integer;
  using Element = typename LaneVectors<Scalar, N>::Element;
  Vector v;

  explicit LaneIntegers(const Vector& vector) : v(vector) {}
  LaneIntegers(const LaneIntegers& other) : v(other.v) {}
  LaneIntegers& operator=(const LaneIntegers& other) {
    v = other.v;
    return *this;
  }
  friend LaneIntegers operator+(LaneIntegers a, Element b) { return LaneIntegers(a.v + b); }
  friend LaneIntegers operator-(LaneIntegers a, Element b) { return LaneIntegers(a.v - b); }
  friend LaneIntegers operator-(LaneIntegers a, LaneIntegers b) { return LaneIntegers(a.v - b.v); }
  friend LaneIntegers operator&(LaneIntegers a, Element b) { return LaneIntegers(a.v & b); }
  friend LaneIntegers operator|(LaneIntegers a, Element b) { return LaneIntegers(a.v | b); }
  friend LaneIntegers operator|(LaneIntegers a, LaneIntegers b) { return LaneIntegers(a.v | b.v); }
  friend LaneIntegers operator^(LaneIntegers a, LaneIntegers b) { return LaneIntegers(a.v ^ b.v); }
  friend LaneIntegers operator<<(LaneIntegers a, int bits) { return LaneIntegers(a.v << bits); }
  friend LaneIntegers operator>>(LaneIntegers a, int bits) { return LaneIntegers(a.v >> bits); }
};

// What both precisions share.
template <class Scalar, int N>
struct LaneBitsOf {
  using T = Lanes<Scalar, N>;
  using Number = Scalar;
  using Integer = LaneIntegers<Scalar, N>;
  using Flag = typename T::Mask;
  static Integer bits(T x) { return Integer(reinterpret_cast<typename Integer::Vector>(x.v)); }
  static T real(Integer bits) { return T(reinterpret_cast<typename T::Vector>(bits.v)); }
  static Flag set(Integer i) { return {i.v != 0}; }
  static Flag less(T a, T b) { return a < b; }
  static T choose(Flag flag, T yes, T no) { return select(flag, yes, no); }
};

template <int N>
struct LaneBits<Lanes<float, N>> : LaneBitsOf<float, N> {
  using T = Lanes<float, N>;
  using Integer = LaneIntegers<float, N>;
  static Integer truncate(T x) {
    return Integer(__builtin_convertvector(x.v, typename Integer::Vector));
  }
  static T convert(Integer i) { return T(__builtin_convertvector(i.v, typename T::Vector)); }
};

template <int N>
struct LaneBits<Lanes<double, N>> : LaneBitsOf<double, N> {
  using Integer = LaneIntegers<double, N>;
  // The topmost `count` bits, moved down; a shift of signed numbers would be emulated.
  static Integer high_bits(Integer i, int count) {
    typedef std::uint64_t Unsigned __attribute__((vector_size(sizeof(i.v))));
    return Integer(reinterpret_cast<typename Integer::Vector>(reinterpret_cast<Unsigned>(i.v) >>
                                                              (64 - count)));
  }
};

}  // namespace detail

// sin, cos, exp, log and tanh: by polynomials, within 2 ulp of the exact value for every argument
// (tests/core/lanes_test.cpp); for arguments that the polynomials do not cover, by the standard
// library.

namespace detail {

// `fast`, with exact(x) in the lanes that `far` names and in no others: what a lane gives does not
// depend on its neighbours, and so not on the width of the register.
template <class Scalar, int N, class F>
Lanes<Scalar, N> patched(Lanes<Scalar, N> fast, LaneMask<Scalar, N> far, Lanes<Scalar, N> x,
                         F&& exact) {
  if (any(far))
    for (int i = 0; i < N; ++i)
      if (far.v[i] != 0) fast.v[i] = exact(x.v[i]);
  return fast;
}

template <class Scalar, int N>
LaneMask<Scalar, N> beyond_reduction(Lanes<Scalar, N> x) {
  return !(abs(x) <= Lanes<Scalar, N>(kLargestAngle<Scalar>));
}

}  // namespace detail

template <class Scalar, int N>
Lanes<Scalar, N> sin(Lanes<Scalar, N> x) {
  const auto exact = [](Scalar value) { return std::sin(value); };
  if constexpr (detail::kFastLanes) {
    return detail::patched(detail::sin_cos(x).sin, detail::beyond_reduction(x), x, exact);
  } else {
    return map(x, exact);
  }
}

template <class Scalar, int N>
Lanes<Scalar, N> cos(Lanes<Scalar, N> x) {
  const auto exact = [](Scalar value) { return std::cos(value); };
  if constexpr (detail::kFastLanes) {
    return detail::patched(detail::sin_cos(x).cos, detail::beyond_reduction(x), x, exact);
  } else {
    return map(x, exact);
  }
}

template <class Scalar, int N>
Lanes<Scalar, N> exp(Lanes<Scalar, N> x) {
  if constexpr (detail::kFastLanes) {
    return detail::exp_of(x);
  } else {
    return map(x, [](Scalar value) { return std::exp(value); });
  }
}

template <class Scalar, int N>
Lanes<Scalar, N> log(Lanes<Scalar, N> x) {
  using L = Lanes<Scalar, N>;
  const auto exact = [](Scalar value) { return std::log(value); };
  if constexpr (detail::kFastLanes) {
    const auto normal =
        (x >= L(std::numeric_limits<Scalar>::min())) & (x <= L(std::numeric_limits<Scalar>::max()));
    return detail::patched(detail::log_of(x), !normal, x, exact);
  } else {
    return map(x, exact);
  }
}

template <class Scalar, int N>
Lanes<Scalar, N> tanh(Lanes<Scalar, N> x) {
  if constexpr (detail::kFastLanes) {
    return detail::tanh_of(x);
  } else {
    return map(x, [](Scalar value) { return std::tanh(value); });
  }
}

template <class Scalar, int N>
Lanes<Scalar, N> floor(Lanes<Scalar, N> x) {
  if constexpr (detail::kFastLanes || std::is_same_v<Scalar, float>) {
    return detail::floor_of(x);
  } else {
    return map(x, [](Scalar value) { return std::floor(value); });
  }
}

/// x - period * floor(x / period): in [0, period) up to rounding, as Python's % and at::remainder.
/// floor_mod(x + pi, 2 pi) - pi wraps an angle.
template <class Scalar, int N>
Lanes<Scalar, N> floor_mod(Lanes<Scalar, N> x, std::type_identity_t<Scalar> period) {
  const Lanes<Scalar, N> p(period);
  return x - p * floor(x / p);
}

// The same names for single numbers, so that a functor runs on plain float and double as well (with
// `using std::sin;` and the like where it calls standard functions).
template <std::floating_point T>
T select(bool condition, T yes, std::type_identity_t<T> no) {
  return condition ? yes : no;
}
template <std::floating_point T>
T clamp(T x, std::type_identity_t<T> low, std::type_identity_t<T> high) {
  return x < low ? low : high < x ? high : x;
}
template <std::floating_point T>
T floor_mod(T x, std::type_identity_t<T> period) {
  return x - period * std::floor(x / period);
}

}  // namespace foresight
