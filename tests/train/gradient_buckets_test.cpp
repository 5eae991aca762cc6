// SPDX-License-Identifier: Apache-2.0
// Gradients on their way while the backward pass goes on. Ranks are threads of
// this program and every exchange has a thread of its own, as in Gloo, so that
// a thread sanitizer sees each access to a bucket: one that is touched before
// its exchange ended is a race here, and a wrong number.
#include <torch/nn.h>

#include <algorithm>
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <thread>

#include "catch.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/train/data_parallel.hpp"

namespace foresight::train::gradient_buckets_test {
namespace {

// Where the exchanges of all ranks meet, by their number.
class Meeting {
public:
  explicit Meeting(int64_t count) : count_(static_cast<std::size_t>(count)) {}

  // Waits for the `number`-th exchange of the others and replaces `tensor` by
  // the sum. The last rank is late, so that buckets are full and waiting.
  void sum(int64_t rank, int64_t number, const Tensor &tensor) {
    if (rank + 1 == static_cast<int64_t>(count_))
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    Tensor total;
    {
      std::unique_lock lock(mutex_);
      auto &parts = exchanges_[number];
      parts.resize(count_);
      parts[static_cast<std::size_t>(rank)] = tensor.clone();
      changed_.notify_all();
      changed_.wait(lock, [&] {
        return std::all_of(parts.begin(), parts.end(),
                           [](const Tensor &p) { return p.defined(); });
      });
      total = parts[0].clone();
      for (std::size_t i = 1; i < parts.size(); ++i)
        total.add_(parts[i]);
    }
    tensor.copy_(total);
  }

private:
  std::size_t count_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, std::vector<Tensor>> exchanges_;
};

class ThreadGroup final : public ProcessGroup {
public:
  ThreadGroup(std::shared_ptr<Meeting> meeting, int64_t rank, int64_t count)
      : ProcessGroup(launch_of(rank, count)), meeting_(std::move(meeting)) {}
  std::string backend() const override { return "threads"; }

  Wait start_sum(const Tensor &tensor) override {
    ++started;
    const auto exchange = [meeting = meeting_, rank = rank(), number = next_++,
                           tensor] {
      const at::NoGradGuard no_grad;
      meeting->sum(rank, number, tensor.detach());
    };
    auto done = std::make_shared<std::future<void>>(
        std::async(std::launch::async, exchange));
    return [done] { done->get(); };
  }
  void broadcast(const std::vector<Tensor> &tensors) override {
    for (const auto &tensor : tensors) {
      if (rank() != 0)
        tensor.detach().zero_();
      start_sum(tensor.detach())();
    }
  }

  int started = 0;

private:
  static Launch launch_of(int64_t rank, int64_t count) {
    Launch launch;
    launch.rank = rank;
    launch.world_size = count;
    return launch;
  }
  std::shared_ptr<Meeting> meeting_;
  int64_t next_ = 0;
};

constexpr int64_t kRows = 24, kWidth = 16;

// Three layers of which the middle one is used twice, so that its gradient
// comes in two pieces.
struct Network {
  std::vector<Tensor> parameters;
  Network() {
    for (int i = 0; i < 3; ++i) {
      parameters.push_back(PhiloxNoise(1, static_cast<std::uint64_t>(i))
                               .normal({kWidth, kWidth}, at::kDouble)
                               .div(4.0)
                               .requires_grad_(true));
      parameters.push_back(
          at::zeros({kWidth}, at::kDouble).requires_grad_(true));
    }
  }
  Tensor loss(const Tensor &x) const {
    auto y = x;
    for (const int layer : {0, 1, 1, 2})
      y = at::tanh(
          at::linear(y, parameters[static_cast<std::size_t>(2 * layer)],
                     parameters[static_cast<std::size_t>(2 * layer + 1)]));
    return y.square().mean();
  }
};

} // namespace

TEST_CASE("buckets that travel during the backward pass bring the mean "
          "gradients, pass after pass") {
  const auto rows =
      PhiloxNoise(2).normal({4, kRows, kWidth}, at::kDouble); // of four updates
  std::vector<std::vector<Tensor>> expected;
  const Network whole;
  for (int64_t update = 0; update < 4; ++update) {
    whole.loss(rows[update]).backward();
    auto &gradients = expected.emplace_back();
    for (const auto &parameter : whole.parameters) {
      gradients.push_back(parameter.grad().clone());
      parameter.mutable_grad() = Tensor();
    }
  }
  for (const auto overlap : {Overlap::backward, Overlap::none})
    for (const int64_t count : {2, 3}) {
      INFO(enum_name(overlap) << ", " << count << " ranks");
      const auto meeting = std::make_shared<Meeting>(count);
      std::vector<double> largest(static_cast<std::size_t>(count), 0);
      std::vector<int> early(static_cast<std::size_t>(count), 0);
      std::vector<std::jthread> threads;
      for (int64_t rank = 0; rank < count; ++rank)
        threads.emplace_back([&, rank] {
          const auto group =
              std::make_shared<ThreadGroup>(meeting, rank, count);
          DataParallel parallel(group, {.bucket_mb = 0.002,
                                        .first_bucket_mb = 0.0005,
                                        .overlap = overlap});
          const Network network;
          const auto part = kRows / count;
          for (int64_t update = 0; update < 4; ++update) {
            const int before = group->started;
            parallel.before_last_backward(network.parameters);
            network.loss(rows[update].narrow(0, rank * part, part)).backward();
            if (update > 0)
              early[static_cast<std::size_t>(rank)] += group->started - before;
            parallel.reduce(network.parameters);
            for (std::size_t i = 0; i < network.parameters.size(); ++i) {
              auto &gradient = network.parameters[i].mutable_grad();
              const auto error =
                  (gradient - expected[static_cast<std::size_t>(update)][i])
                      .abs()
                      .max();
              largest[static_cast<std::size_t>(rank)] =
                  std::max(largest[static_cast<std::size_t>(rank)],
                           error.item<double>());
              gradient = Tensor();
            }
          }
        });
      threads.clear(); // joins
      for (const auto error : largest)
        CHECK(error < 1e-15);
      // After the first update, which counts pieces, buckets leave before the
      // pass has ended.
      for (const auto sent : early)
        CHECK((overlap == Overlap::backward ? sent >= 3 * 2 : sent == 0));
    }
}

TEST_CASE("replicas over a group of threads sum values and gradients") {
  const auto meeting = std::make_shared<Meeting>(3);
  std::vector<Tensor> sums(3), gradients(3);
  std::vector<std::jthread> threads;
  for (int64_t rank = 0; rank < 3; ++rank)
    threads.emplace_back([&, rank] {
      const auto replicas =
          replicas_of(std::make_shared<ThreadGroup>(meeting, rank, 3));
      const auto x = at::full({4}, static_cast<double>(rank + 1), at::kDouble)
                         .requires_grad_(true);
      const auto sum = replicas->sum(x);
      (sum.square() * static_cast<double>(rank)).sum().backward();
      sums[static_cast<std::size_t>(rank)] = sum.detach();
      gradients[static_cast<std::size_t>(rank)] = x.grad();
    });
  threads.clear();
  for (std::size_t rank = 0; rank < 3; ++rank) {
    CHECK(at::equal(sums[rank], at::full({4}, 6.0, at::kDouble)));
    // d/dx of the sum of all losses (0 + 1 + 2) s^2 is 6 s.
    CHECK(at::equal(gradients[rank], at::full({4}, 36.0, at::kDouble)));
  }
}

} // namespace foresight::train::gradient_buckets_test
