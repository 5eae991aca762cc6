// SPDX-License-Identifier: Apache-2.0
// Losses that look at a batch as a whole: of parts, with statistics over replicas, they are those
// of the whole batch, and so are their gradients.
#include "catch.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/losses/sigreg.hpp"
#include "foresight/losses/vicreg.hpp"
#include "replica_threads.hpp"

namespace foresight::losses::replicas_test {
namespace {

using BatchLoss = std::function<Tensor(const Tensor& z)>;  // z [B,T,D]

// The mean over replicas of a loss is what data-parallel training follows.
void check_loss_of_parts(const BatchLoss& loss, int64_t replicas) {
  const auto values = PhiloxNoise(6).normal({12, 3, 5}, at::kDouble) *
                          at::tensor({0.2, 1.0, 0.7, 2.0, 0.4}, at::kDouble) +
                      0.3;
  const auto whole = values.clone().requires_grad_(true);
  const auto expected = loss(whole);
  expected.backward();

  const auto z = values.clone().requires_grad_(true);
  const auto parts = z.chunk(replicas);
  const auto of_parts =
      on_replicas(replicas, [&](int64_t r) { return loss(parts[static_cast<std::size_t>(r)]); });
  const auto mean = at::stack(of_parts).mean();
  CHECK(mean.item<double>() == Approx(expected.item<double>()).epsilon(1e-6));
  mean.backward();
  CHECK(at::allclose(z.grad(), whole.grad(), 1e-6, 1e-9));

  // Without replicas the parts are batches of their own, and the result another.
  auto alone = at::zeros({}, at::kDouble);
  for (const auto& part : values.chunk(replicas))
    alone += loss(part) / static_cast<double>(replicas);
  CHECK_FALSE(alone.item<double>() == Approx(expected.item<double>()).epsilon(1e-3));
}

}  // namespace

TEST_CASE("SIGReg of a batch in parts averages the characteristic functions, not the statistics") {
  PhiloxNoise noise(1);
  const auto directions = noise.normal({5, 16}, at::kDouble);
  SigRegOptions options;
  options.projections = 16;
  for (const auto& chosen : {options, SigRegOptions::lejepa(), SigRegOptions::bcs()})
    for (const int64_t replicas : {2, 4})
      check_loss_of_parts(
          [&](const Tensor& z) { return sigreg_along(z.transpose(0, 1), directions, chosen); },
          replicas);
}

TEST_CASE("VICReg's variances and covariances over the batch are those of all parts together") {
  for (const int64_t replicas : {2, 4}) {
    check_loss_of_parts([](const Tensor& z) { return vicreg_std(z); }, replicas);
    check_loss_of_parts([](const Tensor& z) { return vicreg_cov(z); }, replicas);
    check_loss_of_parts([](const Tensor& z) { return vicreg_cov_t(z); }, replicas);
    check_loss_of_parts([](const Tensor& z) { return vicreg_std_t(z); }, replicas);
  }
  // One row a replica is enough where the whole batch has two.
  const auto rows = PhiloxNoise(3).normal({2, 3, 4}, at::kDouble);
  const auto parts = on_replicas(2, [&](int64_t r) { return vicreg_std(rows.narrow(0, r, 1)); });
  CHECK(parts[0].item<double>() == Approx(vicreg_std(rows).item<double>()));
}

}  // namespace foresight::losses::replicas_test
