// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/lanes.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "catch.hpp"

namespace foresight::lanes_test {

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Distance of `got` from the exact value, in units of the last place of the exact value in float.
double ulps(float got, double exact) {
  if (std::isnan(exact)) return std::isnan(got) ? 0 : INFINITY;
  const auto rounded = static_cast<float>(exact);
  if (std::isinf(rounded) || std::isinf(got)) return got == rounded ? 0 : INFINITY;
  const float size = std::abs(rounded);
  const double unit = static_cast<double>(std::nextafter(size, kInf)) - static_cast<double>(size);
  return std::abs(static_cast<double>(got) - exact) / unit;
}

// Every `stride`-th float of [low, high], both signs if `low` is negative.
std::vector<float> floats(float low, float high, std::uint32_t stride) {
  std::vector<float> values;
  const auto largest = std::bit_cast<std::uint32_t>(high);
  for (std::uint32_t bits = low > 0 ? std::bit_cast<std::uint32_t>(low) : 0; bits <= largest;
       bits += stride) {
    values.push_back(std::bit_cast<float>(bits));
    if (low < 0) values.push_back(-values.back());
  }
  return values;
}

// The worst error of `mine`, on lanes of width N, against `exact` in double precision.
template <int N, class Mine, class Exact>
double worst(const std::vector<float>& values, Mine mine, Exact exact) {
  double most = 0;
  for (std::size_t first = 0; first < values.size(); first += N) {
    Lanes<float, N> x(0);
    for (int i = 0; i < N; ++i) x.v[i] = values[std::min(first + i, values.size() - 1)];
    const auto y = mine(x);
    for (int i = 0; i < N; ++i) most = std::max(most, ulps(y[i], exact(static_cast<double>(x[i]))));
  }
  return most;
}

// The same in double precision, against long double.
template <int N, class Mine, class Exact>
double worst_double(const std::vector<double>& values, Mine mine, Exact exact) {
  double most = 0;
  for (std::size_t first = 0; first < values.size(); first += N) {
    Lanes<double, N> x(0);
    for (int i = 0; i < N; ++i)
      x.v[i] = values[std::min(first + static_cast<std::size_t>(i), values.size() - 1)];
    const auto y = mine(x);
    for (int i = 0; i < N; ++i) {
      const long double expected = exact(static_cast<long double>(x[i]));
      const auto rounded = static_cast<double>(expected);
      if (std::isnan(rounded) ? std::isnan(y[i]) : y[i] == rounded) continue;
      if (!std::isfinite(rounded) || !std::isfinite(y[i])) return INFINITY;
      const double size = std::abs(rounded);
      const double unit = std::nextafter(size, INFINITY) - size;
      const auto error = std::abs(static_cast<long double>(y[i]) - expected) / unit;
      if (static_cast<double>(error) > most) most = static_cast<double>(error);
    }
  }
  return most;
}

const auto kSin = [](auto x) { return sin(x); };
const auto kCos = [](auto x) { return cos(x); };
const auto kExp = [](auto x) { return exp(x); };
const auto kLog = [](auto x) { return log(x); };
const auto kTanh = [](auto x) { return tanh(x); };

}  // namespace

TEST_CASE("sin and cos of lanes stay within 2 ulp of double precision, at every size") {
  const auto exact_sin = [](double x) { return std::sin(x); };
  const auto exact_cos = [](double x) { return std::cos(x); };
  auto values = floats(-1.0F, 3e38F, 2003);
  // The hard cases: floats beside multiples of pi/2, where the result is close to zero.
  for (int k = 1; k < 700; ++k) {
    const auto zero = static_cast<float>(k * M_PI_2);
    for (const float x : {zero, std::nextafter(zero, 0.0F), std::nextafter(zero, kInf)})
      values.insert(values.end(), {x, -x});
  }
  CHECK(worst<4>(values, kSin, exact_sin) < 2.0);
  CHECK(worst<4>(values, kCos, exact_cos) < 2.0);
  CHECK(worst<8>({1.0F, 2000.0F, 1e30F, kInf, -kInf, kNaN}, kSin, exact_sin) < 2.0);
  CHECK(worst<8>({1.0F, 2000.0F, 1e30F, kInf, -kInf, kNaN}, kCos, exact_cos) < 2.0);
}

TEST_CASE("exp, log and tanh of lanes stay within 2 ulp of double precision, at every size") {
  const auto everything = floats(-1.0F, 3.4e38F, 2003);
  const std::vector<float> ends{0.0F,    -0.0F,   1.0F,   -1.0F,   88.72F, 88.73F, -87.0F,
                                -103.0F, -104.5F, 1e-45F, -1e-45F, kInf,   -kInf,  kNaN};
  const auto exact_exp = [](double x) { return std::exp(x); };
  const auto exact_log = [](double x) { return std::log(x); };
  const auto exact_tanh = [](double x) { return std::tanh(x); };
  CHECK(worst<4>(everything, kExp, exact_exp) < 2.0);
  CHECK(worst<4>(everything, kLog, exact_log) < 2.0);
  CHECK(worst<4>(everything, kTanh, exact_tanh) < 2.0);
  CHECK(worst<4>(ends, kExp, exact_exp) < 2.0);
  CHECK(worst<4>(ends, kLog, exact_log) < 2.0);
  CHECK(worst<4>(ends, kTanh, exact_tanh) < 2.0);
}

TEST_CASE("double lanes stay within 2 ulp of extended precision, at every size") {
  // Bits in equal steps: every exponent, and mantissas without a pattern.
  std::vector<double> values;
  for (std::uint64_t bits = 0; bits < 0x7ff0000000000000U; bits += 0x0000317f9a1b4d53U)
    values.insert(values.end(), {std::bit_cast<double>(bits), -std::bit_cast<double>(bits)});
  // Where the functions live: around 1, and the range of exp.
  for (int i = -40000; i < 40000; ++i)
    values.insert(values.end(), {1e-4 * i * 1.000013, 0.01871 * i, 3.2768 * i + 1e-3});
  // Beside multiples of pi/2, where sin or cos is close to zero, and on both sides of the largest
  // angle that is reduced here.
  for (int k = 1; k < 90000; k += 7) {
    const double zero = k * M_PI_2;
    for (const double x : {zero, std::nextafter(zero, 0.0), std::nextafter(zero, 1e9)})
      values.insert(values.end(), {x, -x});
  }
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  values.insert(values.end(),
                {0.0, -0.0, 709.78, 709.79, -708.5, -745.1, -746.5, 4.9e-324, -4.9e-324, inf, -inf,
                 nan, 0x1p51 + 0.5, 0x1p52 - 0.5, -0x1p51 - 0.5});
  const auto check = [&](auto mine, auto exact) {
    CHECK(worst_double<2>(values, mine, exact) < 2.0);
    CHECK(worst_double<4>(values, mine, exact) < 2.0);
  };
  check(kSin, [](long double x) { return std::sin(x); });
  check(kCos, [](long double x) { return std::cos(x); });
  check(kExp, [](long double x) { return std::exp(x); });
  check(kLog, [](long double x) { return std::log(x); });
  check(kTanh, [](long double x) { return std::tanh(x); });
  CHECK(worst_double<4>(
            values, [](auto x) { return floor(x); }, [](long double x) { return std::floor(x); }) ==
        0.0);
  CHECK(worst_double<4>(
            values, [](auto x) { return sqrt(abs(x)); },
            [](long double x) { return std::sqrt(std::abs(x)); }) <= 0.5);
}

// The same numbers, whatever stands beside them in the register.
template <class Scalar>
void check_lanes_are_strangers() {
  const auto big = static_cast<Scalar>(1e30), tiny = std::numeric_limits<Scalar>::denorm_min();
  for (const auto odd : {big, -big, tiny, std::numeric_limits<Scalar>::quiet_NaN()})
    for (int k = 1; k < 300; ++k) {
      const auto value = static_cast<Scalar>(0.0137 * k * k);
      constexpr int kNarrow = 16 / sizeof(Scalar), kWide = 2 * kNarrow;
      const Lanes<Scalar, kNarrow> alone(value);
      Lanes<Scalar, kWide> among(value);
      among.v[kWide - 1] = odd;
      CHECK(sin(alone)[0] == sin(among)[0]);
      CHECK(cos(alone)[0] == cos(among)[0]);
      CHECK(log(alone)[0] == log(among)[0]);
      CHECK(exp(alone)[0] == exp(among)[0]);
      CHECK(tanh(alone)[0] == tanh(among)[0]);
    }
}

TEST_CASE("a lane's number does not depend on its neighbours") {
  check_lanes_are_strangers<float>();
  check_lanes_are_strangers<double>();
}

TEST_CASE("lanes compute, compare and select as their numbers do") {
  using L = Lanes<float, 8>;
  const std::vector<float> a{1.5F, -2.0F, 0.0F, 1e30F, -7.25F, 3.0F, 1e-3F, -0.5F};
  const std::vector<float> b{0.5F, -2.0F, 4.0F, -1e30F, 2.0F, 8.0F, 1e3F, 0.25F};
  L x(0), y(0);
  for (int i = 0; i < 8; ++i) x.v[i] = a[i], y.v[i] = b[i];
  const auto each = [&](const L& got, auto expected) {
    for (int i = 0; i < 8; ++i) CHECK(got[i] == expected(a[i], b[i]));
  };
  each(x + y, [](float p, float q) { return p + q; });
  each(x - y, [](float p, float q) { return p - q; });
  each(x * y, [](float p, float q) { return p * q; });
  each(x / y, [](float p, float q) { return p / q; });
  each(-x, [](float p, float) { return -p; });
  each(2.5 * x + 1, [](float p, float) { return 2.5F * p + 1.0F; });
  each(min(x, y), [](float p, float q) { return std::min(p, q); });
  each(max(x, y), [](float p, float q) { return std::max(p, q); });
  each(clamp(x, -2.0F, 2.0F), [](float p, float) { return std::clamp(p, -2.0F, 2.0F); });
  each(abs(x), [](float p, float) { return std::abs(p); });
  each(sqrt(abs(x)), [](float p, float) { return std::sqrt(std::abs(p)); });
  each(floor(x), [](float p, float) { return std::floor(p); });
  each(select((x < y) & !(x == y), x, y), [](float p, float q) { return p < q ? p : q; });
  each(select((x > 0) | (y >= 8), L(1), L(0)),
       [](float p, float q) { return p > 0 || q >= 8 ? 1.0F : 0.0F; });
  CHECK(any(x > 1e29));
  CHECK_FALSE(any(x != x));
  CHECK(std::isnan(clamp(L(kNaN), -1, 1)[3]));
}

TEST_CASE("floor_mod is Python's remainder, for lanes and for numbers") {
  const std::vector<std::pair<double, double>> cases{{7.0, 3.0}, {-1.0, 3.0}, {-3.0, 3.0},
                                                     {0.0, 3.0}, {2.5, 3.0},  {-7.5, 3.0}};
  for (const auto& [x, period] : cases) {
    const double expected = std::fmod(std::fmod(x, period) + period, period);
    CHECK(floor_mod(x, period) == Approx(expected).margin(1e-12));
    CHECK(floor_mod(Lanes<float, 4>(x), static_cast<float>(period))[0] ==
          Approx(expected).margin(1e-6));
    CHECK(floor_mod(Lanes<double, 2>(x), period)[0] == Approx(expected).margin(1e-12));
  }
}

}  // namespace foresight::lanes_test
