// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/process_group.hpp"

#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "foresight/core/error.hpp"
#include "join_processes.hpp"

namespace foresight::train {
namespace {

class Alone final : public ProcessGroup {
 public:
  explicit Alone(const Launch& launch) : ProcessGroup(launch, 0) {}
  std::string backend() const override { return "none"; }
  Wait start_sum(const Tensor&) override {
    return [] {};
  }
  void broadcast(const std::vector<Tensor>&) override {}
};

// Sums `tensors` over all processes, contiguous copies of those that are not, times `factor`.
void sum_all(ProcessGroup& group, const std::vector<Tensor>& tensors, double factor) {
  const at::NoGradGuard no_grad;
  std::vector<std::pair<Tensor, ProcessGroup::Wait>> started;
  for (const auto& tensor : tensors) {
    const auto dense = tensor.detach().contiguous();
    started.emplace_back(dense, group.start_sum(dense));
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    started[i].second();
    const auto& sum = started[i].first;
    if (factor != 1) sum.mul_(factor);
    if (!sum.is_same(tensors[i])) tensors[i].detach().copy_(sum);
  }
}

struct GroupHolder final : torch::CustomClassHolder {
  explicit GroupHolder(std::shared_ptr<ProcessGroup> held) : group(std::move(held)) {}
  std::shared_ptr<ProcessGroup> group;
};

// y = sum over processes of x; dL/dx = sum over processes of dL/dy, which is the same function.
struct ReplicaSum final : torch::autograd::Function<ReplicaSum> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x,
                        const c10::intrusive_ptr<torch::CustomClassHolder>& holder) {
    context->saved_data["group"] = c10::IValue::make_capsule(holder);
    auto sum = x.detach().clone(at::MemoryFormat::Contiguous);
    static_cast<GroupHolder&>(*holder).group->start_sum(sum)();
    return sum;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    return {apply(gradients[0], context->saved_data["group"].toCapsule()), Tensor()};
  }
};

// Tells the other processes that this one lives, until all have ended their work. A thread of its
// own, while nothing else of this process exchanges anything.
class SignsOfLife {
 public:
  SignsOfLife(ProcessGroup& group, double timeout)
      : group_(group),
        pause_(std::min(timeout / 8, kLongestPause)),
        thread_([this] { exchange(); }) {}
  ~SignsOfLife() {
    if (thread_.joinable()) end(Stage::failed);
  }
  SignsOfLife(const SignsOfLife&) = delete;
  SignsOfLife& operator=(const SignsOfLife&) = delete;

  /// Waits for the others. Throws what an exchange threw, and Error(io_failure) where another
  /// process's work failed.
  void end_well() {
    end(Stage::done);
    if (lost_) std::rethrow_exception(lost_);
    require(!failed_elsewhere_, ErrorCategory::io_failure,
            fmt::format("rank {} of {}: another process failed while this one waited for it; that "
                        "one says why",
                        group_.rank(), group_.world_size()));
  }

 private:
  enum class Stage { working, done, failed };
  static constexpr double kLongestPause = 10;  // seconds

  void end(Stage how) {
    {
      const std::lock_guard lock(mutex_);
      stage_ = how;
    }
    ended_.notify_one();
    thread_.join();
  }

  Stage next_sign() {
    std::unique_lock lock(mutex_);
    ended_.wait_for(lock, pause_, [this] { return stage_ != Stage::working; });
    return stage_;
  }

  // How many work and how many have failed, round after round: who has ended waits in the sum.
  void exchange() {
    const at::NoGradGuard no_grad;
    try {
      for (bool all_ended = false; !all_ended && !failed_elsewhere_;) {
        const auto own = next_sign();
        const auto count =
            at::tensor({own == Stage::working ? 1.0 : 0.0, own == Stage::failed ? 1.0 : 0.0});
        group_.start_sum(count)();
        all_ended = count[0].item<double>() == 0;
        failed_elsewhere_ = count[1].item<double>() > 0;
      }
    } catch (...) {
      lost_ = std::current_exception();
    }
  }

  ProcessGroup& group_;
  std::chrono::duration<double> pause_;
  std::mutex mutex_;
  std::condition_variable ended_;
  Stage stage_ = Stage::working;
  bool failed_elsewhere_ = false;
  std::exception_ptr lost_;
  std::thread thread_;  // last: it uses all others
};

class GroupReplicas final : public Replicas {
 public:
  explicit GroupReplicas(std::shared_ptr<ProcessGroup> group)
      : holder_(c10::make_intrusive<GroupHolder>(std::move(group))) {}
  int64_t rank() const override { return holder_->group->rank(); }
  int64_t count() const override { return holder_->group->world_size(); }
  Tensor sum(const Tensor& x) const override { return ReplicaSum::apply(x, holder_); }

 private:
  c10::intrusive_ptr<GroupHolder> holder_;
};

}  // namespace

std::vector<std::string> ProcessGroupOptions::validate() const {
  return Rules("ProcessGroupOptions")
      .check(std::isfinite(timeout) && timeout >= 0.001 && timeout <= 1e6, "timeout", timeout,
             "must be 0.001..1e6 seconds")
      .problems();
}

std::shared_ptr<ProcessGroup> ProcessGroup::connect(const Launch& launch,
                                                    const ProcessGroupOptions& options) {
  require_valid(launch);
  require_valid(options);
  if (launch.world_size == 1 && options.transport == Transport::automatic)
    return std::make_shared<Alone>(launch);
  return join_processes(launch, options);
}

void ProcessGroup::all_reduce_sum(const std::vector<Tensor>& tensors) {
  sum_all(*this, tensors, 1.0);
}

void ProcessGroup::all_reduce_mean(const std::vector<Tensor>& tensors) {
  sum_all(*this, tensors, 1.0 / static_cast<double>(world_size()));
}

void ProcessGroup::barrier() { start_sum(at::zeros({1}))(); }

void ProcessGroup::long_work(const std::function<void()>& work) {
  if (world_size() == 1) return work();
  SignsOfLife signs(*this, timeout());
  work();
  signs.end_well();
}

std::shared_ptr<const Replicas> replicas_of(std::shared_ptr<ProcessGroup> group) {
  require(group != nullptr, ErrorCategory::invalid_argument, "replicas_of() needs a process group");
  return std::make_shared<GroupReplicas>(std::move(group));
}

}  // namespace foresight::train
