// SPDX-License-Identifier: Apache-2.0
// Random variates of a few distributions from uniform ones: for simulators, which need them one at
// a time on the host. (Planners and losses draw whole tensors: core/noise.hpp.)
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>

#include "foresight/core/error.hpp"
#include "foresight/core/noise.hpp"

namespace foresight {

/// Uniform numbers in (0, 1) one after another, straight from Philox blocks: 32 bits each, both
/// ends excluded. A stream is a function of (seed, stream) alone.
class UniformStream {
 public:
  explicit UniformStream(std::uint64_t seed, std::uint64_t stream = 0)
      : seed_(seed), stream_(stream) {}

  double operator()() {
    if (used_ == 4) {
      words_ = philox4x32({low(block_), high(block_), low(stream_), high(stream_)},
                          {low(seed_), high(seed_)});
      ++block_;
      used_ = 0;
    }
    return (words_[used_++] + 0.5) * 0x1p-32;
  }

 private:
  static std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
  static std::uint32_t high(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }

  std::uint64_t seed_, stream_, block_ = 0;
  std::array<std::uint32_t, 4> words_{};
  std::size_t used_ = 4;
};

/// An angle in (-pi, pi] from the von Mises distribution around 0, density proportional to
/// exp(concentration cos x), by the rejection of Best & Fisher (1979, Applied Statistics 28:152).
/// `uniform` is called until one is accepted. Throws Error(invalid_argument) unless concentration
/// is finite and > 0.
template <class Uniform>
double von_mises_variate(double concentration, Uniform&& uniform) {
  require(std::isfinite(concentration) && concentration > 0, ErrorCategory::invalid_argument,
          "von_mises_variate: concentration = " + std::to_string(concentration) +
              ", expected a finite number > 0");
  // The envelope, a wrapped Cauchy distribution. r is computed from its reciprocal-free form, which
  // loses digits below a concentration of about 1e-6: there the distribution is uniform.
  if (concentration < 1e-6) return std::numbers::pi * (2 * uniform() - 1);
  const double tau = 1 + std::sqrt(1 + 4 * concentration * concentration);
  const double rho = (tau - std::sqrt(2 * tau)) / (2 * concentration);
  const double r = (1 + rho * rho) / (2 * rho);
  while (true) {
    const double z = std::cos(std::numbers::pi * uniform());
    const double f = (1 + r * z) / (r + z);
    const double c = concentration * (r - f);
    const double u = uniform();
    if (c * (2 - c) - u <= 0 && std::log(c / u) + 1 - c < 0) continue;
    const double angle = std::acos(std::fmax(-1.0, std::fmin(1.0, f)));
    return uniform() < 0.5 ? -angle : angle;
  }
}

/// A normal variate of the given mean and standard deviation on condition that it lies in
/// [low, high], which must contain the mean. By rejection: from the uniform distribution where the
/// interval is short, from the normal one where it is long (Robert 1995, Statistics and Computing
/// 5:121); at least two of five are accepted. Throws Error(invalid_argument) unless
/// low <= mean <= high, low < high and std > 0.
template <class Uniform>
double truncated_normal_variate(double mean, double std, double low, double high,
                                Uniform&& uniform) {
  require(std > 0 && low < high && low <= mean && mean <= high, ErrorCategory::invalid_argument,
          "truncated_normal_variate: mean = " + std::to_string(mean) +
              ", std = " + std::to_string(std) + ", [low, high] = [" + std::to_string(low) + ", " +
              std::to_string(high) + "], expected low <= mean <= high, low < high and std > 0");
  const bool narrow = (high - low) / std < std::sqrt(2 * std::numbers::pi);
  while (true) {
    if (narrow) {
      const double x = low + (high - low) * uniform();
      const double z = (x - mean) / std;
      if (uniform() <= std::exp(-z * z / 2)) return x;
    } else {
      const double radius = std::sqrt(-2 * std::log(uniform()));  // Box-Muller
      const double x = mean + std * radius * std::cos(2 * std::numbers::pi * uniform());
      if (x >= low && x <= high) return x;
    }
  }
}

}  // namespace foresight
