// SPDX-License-Identifier: Apache-2.0
#include "foresight/losses/sigreg.hpp"

#include <c10/core/impl/LocalDispatchKeySet.h>

#include <cmath>

#include "foresight/core/error.hpp"
#include "foresight/core/replicas.hpp"
#include "foresight/losses/widened.hpp"

namespace foresight::losses {

std::vector<std::string> SigRegOptions::validate() const {
  Rules rules("SigRegOptions");
  rules.check(projections >= 1, "projections", static_cast<double>(projections), "must be >= 1");
  rules.check(knots >= 2, "knots", static_cast<double>(knots), "must be >= 2");
  rules.check(std::isfinite(t_max) && t_max > 0, "t_max", t_max, "must be positive");
  return rules.problems();
}

SigRegOptions SigRegOptions::lejepa() {
  return {.projections = 256, .knots = 17, .t_max = 5.0, .range = KnotRange::whole};
}

SigRegOptions SigRegOptions::bcs() {
  return {.projections = 256,
          .knots = 10,
          .t_max = 3.0,
          .range = KnotRange::whole,
          .scale = StatisticScale::one};
}

Quadrature sigreg_quadrature(const SigRegOptions& options,
                             const at::TensorOptions& tensor_options) {
  require_valid(options);
  const bool folded = options.range == KnotRange::folded;
  const double first = folded ? 0.0 : -options.t_max;
  const auto t = at::linspace(first, options.t_max, options.knots, tensor_options);
  const auto gaussian = at::exp(t.square() * -0.5);
  const double dt = (options.t_max - first) / static_cast<double>(options.knots - 1);
  const double inner = folded ? 2 * dt : dt;
  auto weights = at::full({options.knots}, inner, tensor_options);
  weights.select(0, 0).fill_(inner / 2);
  weights.select(0, -1).fill_(inner / 2);
  return {t, gaussian, weights * gaussian};
}

Tensor sigreg_along(const Tensor& z, const Tensor& directions, const SigRegOptions& options) {
  check_shape("z", z, {kAny, kAny, kAny}, "[T,B,D]");
  check_shape("directions", directions, {z.size(2), kAny}, "[D,M]");
  require(z.numel() > 0 && directions.numel() > 0, ErrorCategory::invalid_argument,
          "sigreg of an empty tensor " + shape_string(z.sizes()));
  const auto unit = directions / directions.norm(2, {0}, /*keepdim=*/true);
  // [T,B,M]. Only the product is as narrow as the latents or autocast: the statistic is a small
  // difference. (The sum over knots is a matrix product too.)
  const auto wide = widened(at::matmul(z, unit.to(z.scalar_type())));
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto quadrature = sigreg_quadrature(options, wide.options());
  const auto per_knot = [&](const Tensor& values) { return values.view({-1, 1, 1, 1}); };
  const auto phase = per_knot(quadrature.knots) * wide;  // [K,T,B,M]
  // Characteristic function of the whole batch [2,K,T,M]; both parts in one exchange.
  const auto waves =
      mean_over_replicas(at::stack({at::cos(phase).mean(2), at::sin(phase).mean(2)}));
  const auto real = waves[0] - per_knot(quadrature.gaussian).squeeze(3);
  const auto imaginary = waves[1];
  const auto statistic =
      at::tensordot(quadrature.weights, real.square() + imaginary.square(), {0}, {0});
  const double scale = options.scale == StatisticScale::samples
                           ? static_cast<double>(z.size(1) * replica_count())
                           : 1.0;
  return (statistic * scale).mean();
}

Tensor sigreg(const Tensor& z, const SigRegOptions& options, Noise& noise) {
  check_shape("z", z, {kAny, kAny, kAny}, "[T,B,D]");
  const auto like = z.options().dtype(widened_type(z)).requires_grad(false);
  return sigreg_along(z, noise.normal({z.size(2), options.projections}, like), options);
}

}  // namespace foresight::losses
