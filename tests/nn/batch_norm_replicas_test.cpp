// SPDX-License-Identifier: Apache-2.0
// Batch normalisation of a batch in parts equals that of the whole batch, as torch computes it.
#include "catch.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/nn/batch_norm.hpp"
#include "replica_threads.hpp"

namespace foresight::nn::batch_norm_replicas_test {
namespace {

template <class Norm>
std::shared_ptr<Norm> scaled_norm() {
  auto norm = std::make_shared<Norm>(3);
  const at::NoGradGuard no_grad;
  norm->weight.copy_(at::tensor({0.5F, -1.5F, 2.0F}));
  norm->bias.copy_(at::tensor({0.1F, 0.2F, -0.3F}));
  return norm;
}

// Rows of four replicas next to each other: outputs, gradients and running statistics, in two
// updates.
template <class Norm>
void check_parts_equal_whole(at::IntArrayRef shape) {
  constexpr int64_t kReplicas = 4;
  PhiloxNoise noise(2);
  const auto whole = scaled_norm<Norm>();
  std::vector<std::shared_ptr<Norm>> copies;
  for (int64_t r = 0; r < kReplicas; ++r) copies.push_back(scaled_norm<Norm>());
  for (int update = 0; update < 2; ++update) {
    // Channel 1 is far from zero compared with its spread: one-pass variances fail there.
    const auto values =
        noise.normal(shape) * 0.7 +
        at::tensor({0.0F, 500.0F, -3.0F})
            .view(shape.size() == 2 ? at::IntArrayRef({1, 3}) : at::IntArrayRef({1, 3, 1, 1}));
    const auto pull = noise.normal(shape);  // an arbitrary loss: sum of pull * y
    const auto x = values.clone().requires_grad_(true);
    const auto expected = whole->apply_to(x, Mode::train);
    (expected * pull).sum().backward();

    const auto z = values.clone().requires_grad_(true);
    const auto parts = z.chunk(kReplicas), pulls = pull.chunk(kReplicas);
    const auto y = on_replicas(kReplicas, [&](int64_t r) {
      return copies[static_cast<std::size_t>(r)]->apply_to(parts[static_cast<std::size_t>(r)],
                                                           Mode::train);
    });
    CHECK(at::allclose(at::cat(y), expected, 1e-4, 1e-3));
    (at::cat(y) * pull).sum().backward();
    CHECK(at::allclose(z.grad(), x.grad(), 1e-3, 1e-3));
    for (const auto& copy : copies) {
      CHECK(at::allclose(copy->running_mean, whole->running_mean, 1e-5, 1e-5));
      CHECK(at::allclose(copy->running_var, whole->running_var, 1e-4, 1e-5));
      CHECK(copy->num_batches_tracked.template item<int64_t>() == update + 1);
    }
  }
  // Alone, a part has statistics of its own: what the replicas agree on is not what each would say.
  const auto part = noise.normal(shape).chunk(kReplicas)[0];
  const auto alone = copies[0]->apply_to(part, Mode::train);
  const auto together = on_replicas(kReplicas, [&](int64_t r) {
    return copies[static_cast<std::size_t>(r)]->apply_to(part + static_cast<double>(r),
                                                         Mode::train);
  });
  CHECK_FALSE(at::allclose(together[0], alone, 0.1, 0.1));
}

}  // namespace

TEST_CASE("batch norm over replicas normalises as over their whole batch") {
  check_parts_equal_whole<BatchNorm1d>({24, 3});
  check_parts_equal_whole<BatchNorm2d>({8, 3, 2, 5});
}

TEST_CASE("batch norm infers without replicas: no exchange, running statistics") {
  const auto norm = scaled_norm<BatchNorm1d>();
  const auto x = PhiloxNoise(4).normal({6, 3});
  const auto expected = norm->apply_to(x, Mode::infer);
  class Forbidden final : public Replicas {
   public:
    int64_t rank() const override { return 0; }
    int64_t count() const override { return 2; }
    Tensor sum(const Tensor&) const override { throw std::logic_error("exchanged"); }
  };
  const ReplicaScope scope(std::make_shared<Forbidden>());
  CHECK(at::equal(norm->apply_to(x, Mode::infer), expected));
  CHECK_THROWS_AS(norm->apply_to(x, Mode::train), std::logic_error);
}

}  // namespace foresight::nn::batch_norm_replicas_test
