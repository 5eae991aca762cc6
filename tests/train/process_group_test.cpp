// SPDX-License-Identifier: Apache-2.0
// Exchanges between processes, against what is known of every rank's numbers.
#include "foresight/train/process_group.hpp"

#include <torch/csrc/autograd/autograd.h>
#include <torch/cuda.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <future>
#include <thread>

#include "catch.hpp"
#include "error_message.hpp"
#include "processes.hpp"
#include "temporary_folder.hpp"
#include "test_device.hpp"

namespace foresight::train::process_group_test {

TEST_CASE("one process needs no others, and a timeout must be a time") {
  const auto group = ProcessGroup::connect({});
  const auto x = at::tensor({1.0, 2.0});
  group->all_reduce_mean({x});
  group->barrier();
  CHECK(at::equal(x, at::tensor({1.0, 2.0})));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { ProcessGroup::connect({}, {.timeout = -1}); },
      "ProcessGroupOptions.timeout = -1"));
}

TEST_CASE("without c10d's headers several processes are refused by the package's name") {
  if (is_built_in(Transport::gloo)) return;
  Launch launch;
  launch.world_size = 2;
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { ProcessGroup::connect(launch); }, "libgloo-dev"));
}

TEST_CASE("a process whose partner does not come gives up after the timeout") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  Launch launch;
  launch.rank = 1;
  launch.world_size = 2;
  launch.master_port = 1;  // nobody serves there
  CHECK(fails_with(
      ErrorCategory::io_failure, [&] { ProcessGroup::connect(launch, {.timeout = 0.5}); },
      "rank 1 of 2: meeting at 127.0.0.1:1 failed", "0.5 s"));
}

TEST_CASE("processes that a launcher starts anew meet at the store that it kept") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const auto join = [](int64_t rank, int64_t port, StoreServer store) {
    Launch launch;
    launch.rank = rank;
    launch.world_size = 2;
    launch.master_port = port;
    launch.store = store;
    return ProcessGroup::connect(launch, {.timeout = 20});
  };
  // Rank 1 comes first, finds what its predecessors left there, and must wait for its own rank 0.
  const auto join_both = [&](int64_t port, StoreServer store, const auto& between) {
    auto second = std::async(std::launch::async, join, 1, port, store);
    between();
    auto first = join(0, port, store);
    return std::pair(std::move(first), second.get());
  };
  const auto port = Processes::free_port();
  const auto launcher = join_both(port, StoreServer::rank_0, [] {});
  for (int start = 0; start < 3; ++start) {
    const auto [first, second] = join_both(port, StoreServer::launcher, [] {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    });
    const auto one = at::full({1}, 1.0 + start), two = at::full({1}, 2.0);
    const auto wait_one = first->start_sum(one), wait_two = second->start_sum(two);
    wait_one();
    wait_two();
    CHECK(one.item<double>() == 3.0 + start);
    CHECK(two.item<double>() == 3.0 + start);
  }
  Launch alone;
  alone.world_size = 2;
  alone.master_port = port;
  alone.store = StoreServer::launcher;
  CHECK(fails_with(
      ErrorCategory::io_failure, [&] { ProcessGroup::connect(alone, {.timeout = 0.5}); },
      "rank 0 of 2: meeting at", "1 of 2 came"));
  alone.store = StoreServer::rank_0;
  CHECK(fails_with(
      ErrorCategory::io_failure, [&] { ProcessGroup::connect(alone, {.timeout = 0.5}); },
      "rank 0 of 2: meeting at", "another program has that port; set MASTER_PORT"));
}

TEST_CASE("part: exchanges", "[.]") {
  const auto group = ProcessGroup::connect(Launch::from_environment(), {.timeout = 30});
  const auto rank = static_cast<double>(group->rank());
  const auto world = static_cast<double>(group->world_size());
  const double ranks = world * (world - 1) / 2;  // 0 + 1 + ...

  // Any layout and type, in place.
  const auto whole = at::full({3, 2}, rank + 1, at::kFloat);
  const auto column = at::full({3, 2}, rank, at::kDouble).select(1, 0);
  const auto count = at::full({2}, group->rank(), at::kLong);
  group->all_reduce_sum({whole, column, count});
  CHECK(at::equal(whole, at::full({3, 2}, ranks + world, at::kFloat)));
  CHECK(at::equal(column, at::full({3}, ranks, at::kDouble)));
  CHECK(at::equal(count, at::full({2}, static_cast<int64_t>(ranks), at::kLong)));
  const auto mean = at::full({1000}, rank, at::kDouble);
  group->all_reduce_mean({mean});
  CHECK(at::allclose(mean, at::full({1000}, ranks / world, at::kDouble)));

  const auto from_first = at::full({2, 2}, rank + 7, at::kFloat).t();
  group->broadcast({from_first, count});
  CHECK(at::equal(from_first, at::full({2, 2}, 7.0, at::kFloat)));

  // Exchanges that overlap keep their order.
  const auto early = at::full({100000}, rank, at::kFloat), late = at::full({1}, 2.0, at::kFloat);
  const auto wait_early = group->start_sum(early), wait_late = group->start_sum(late);
  wait_late();
  wait_early();
  CHECK(early[99999].item<double>() == ranks);
  CHECK(late.item<double>() == 2 * world);

  // s = sum of x_r, loss_r = (r + 1) s^2, so dL/dx_r of the sum of losses is 2 s sum (r + 1).
  const auto replicas = replicas_of(group);
  auto x = at::full({3}, rank - 0.5, at::kDouble).requires_grad_(true);
  const auto s = replicas->sum(x);
  CHECK(at::allclose(s, at::full({3}, ranks - world / 2, at::kDouble)));
  ((rank + 1) * s.square()).sum().backward();
  CHECK(at::allclose(x.grad(), 2 * s.detach() * (ranks + world)));
  // Twice differentiable: d/dx of (dL/dx)^2.
  auto y = at::full({1}, rank, at::kDouble).requires_grad_(true);
  const auto first = torch::autograd::grad({replicas->sum(y).pow(3).sum()}, {y}, {}, true, true)[0];
  CHECK(first.item<double>() == Approx(world * 3 * ranks * ranks));
  first.sum().backward();
  CHECK(y.grad().item<double>() == Approx(world * world * 6 * ranks));
  group->barrier();
}

TEST_CASE("sums, means, broadcasts and gradients of sums are right on 2 and 4 processes") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  for (const int world : {2, 4}) {
    const TemporaryFolder folder;
    Processes processes(world, "part: exchanges", folder.path());
    CHECK(processes.failures() == "");
  }
}

TEST_CASE("one process that asks for a transport exchanges over it, else over nothing") {
  CHECK(ProcessGroup::connect({})->backend() == "none");
  const auto join = [](Transport transport, int64_t port) {
    return ProcessGroup::connect({.master_port = port}, {.transport = transport, .timeout = 20});
  };
  if (!is_built_in(Transport::nccl))
    CHECK(fails_with(
        ErrorCategory::unsupported, [&] { join(Transport::nccl, Processes::free_port()); },
        is_built_in(Transport::gloo) ? "built without NCCL" : "built without"));
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const auto port = Processes::free_port();
  const auto group = join(Transport::gloo, port);
  CHECK(group->backend() == "gloo");
  const auto x = at::tensor({1.0, 2.0});
  group->all_reduce_mean({x});
  group->barrier();
  CHECK(at::equal(x, at::tensor({1.0, 2.0})));
  // A second one on the machine does the same: nobody has to find either.
  CHECK(join(Transport::gloo, port)->backend() == "gloo");
}

TEST_CASE("a write to a process that is gone does not end one that joined others by default") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const auto handler_after = [](sighandler_t before) {
    ::signal(SIGPIPE, before);
    ProcessGroup::connect({.master_port = Processes::free_port()},
                          {.transport = Transport::gloo, .timeout = 20});
    return ::signal(SIGPIPE, before);
  };
  const sighandler_t own = [](int) {}, first = ::signal(SIGPIPE, SIG_DFL);
  CHECK(handler_after(SIG_DFL) == SIG_IGN);
  CHECK(handler_after(own) == own);  // what the program set stays
  ::signal(SIGPIPE, first);
}

// Every rank's part is another, so that no exchange at all would be seen, but for one process.
void exchange_on_device(Transport transport) {
  const auto group =
      ProcessGroup::connect(Launch::from_environment(), {.transport = transport, .timeout = 60});
  CHECK(group->backend() == enum_name(transport));
  const auto world = static_cast<double>(group->world_size());
  const auto rank = static_cast<double>(group->rank());
  const double ranks = world * (world - 1) / 2;  // 0 + 1 + ...
  auto device = test_device();
  if (transport == Transport::nccl)
    device.set_index(static_cast<c10::DeviceIndex>(group->launch().local_rank));
  const auto counting = at::arange(5, at::kFloat);
  const auto there = (counting + rank).to(device);
  const auto here = at::full({3}, rank + 1, at::kDouble);
  group->all_reduce_sum({there, here});
  CHECK(there.device() == device);
  CHECK(at::equal(there.cpu(), world * counting + ranks));
  CHECK(at::equal(here, at::full({3}, ranks + world, at::kDouble)));
  const auto told = (counting + 7 * (rank + 1)).to(device);
  group->broadcast({told});
  CHECK(at::equal(told.cpu(), counting + 7));
  group->barrier();
}

TEST_CASE("part: exchanges on the device over gloo", "[.]") { exchange_on_device(Transport::gloo); }

TEST_CASE("part: exchanges on the device over nccl", "[.]") { exchange_on_device(Transport::nccl); }

TEST_CASE("two processes that share the device exchange its tensors by Gloo", "[device]") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const TemporaryFolder folder;
  Processes processes(2, "part: exchanges on the device over gloo", folder.path());
  CHECK(processes.failures() == "");
}

TEST_CASE("processes with a GPU each exchange by NCCL, one alone where there is one GPU",
          "[device]") {
  if (!is_built_in(Transport::nccl)) FORESIGHT_SKIP("no NCCL in this build");
  if (!test_device().is_cuda()) FORESIGHT_SKIP("NCCL exchanges between GPUs");
  const TemporaryFolder folder;
  const int gpus = torch::cuda::device_count() > 1 ? 2 : 1;
  Processes processes(gpus, "part: exchanges on the device over nccl", folder.path());
  CHECK(processes.failures() == "");
}

}  // namespace foresight::train::process_group_test
