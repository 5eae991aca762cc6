// SPDX-License-Identifier: Apache-2.0
// c10d: the build defines USE_C10D_GLOO where Gloo's headers are (LibTorch holds the compiled Gloo
// and not its headers), USE_C10D_NCCL where those of NCCL and CUDA are and LibTorch is a CUDA
// build.
#include "join_processes.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "foresight/core/error.hpp"
#include "foresight/core/log.hpp"
#include "own_address.hpp"

#if defined(USE_C10D_GLOO) || defined(USE_C10D_NCCL)
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#endif
#ifdef USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/version.h>
#endif
#ifdef USE_C10D_NCCL
#include <c10/cuda/CUDAGuard.h>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

namespace foresight::train {

bool is_built_in(Transport transport) {
  bool gloo = false, nccl = false;
#ifdef USE_C10D_GLOO
  gloo = true;
#endif
#ifdef USE_C10D_NCCL
  nccl = true;
#endif
  return (gloo && transport != Transport::nccl) || (nccl && transport != Transport::gloo);
}

#if !defined(USE_C10D_GLOO) && !defined(USE_C10D_NCCL)

std::shared_ptr<ProcessGroup> join_processes(const Launch& launch, const ProcessGroupOptions&) {
  throw Error(ErrorCategory::unsupported,
              fmt::format("{} process(es) over c10d: this foresight was built without its Gloo. "
                          "Install the headers (Debian, Ubuntu: libgloo-dev) and configure again",
                          launch.world_size));
}

#else

namespace {

using Milliseconds = std::chrono::milliseconds;

Milliseconds timeout_of(const ProcessGroupOptions& options) {
  return Milliseconds(static_cast<int64_t>(options.timeout * 1e3));
}

// Runs an exchange; what c10d, Gloo and NCCL throw becomes one Error.
template <class Exchange>
auto told(const Launch& launch, double timeout, const char* what, Exchange&& exchange) {
  try {
    return exchange();
  } catch (const std::exception& problem) {
    std::string reason = problem.what();
    reason = reason.substr(0, std::min<std::size_t>(reason.find('\n'), 300));
    const auto says = [&](const char* part) { return reason.find(part) != std::string::npos; };
    const bool ended = says("onnection reset") || says("onnection closed") || says("roken pipe");
    std::string cause = "another process is gone";
    if (says("ddress already in use"))
      cause = "another program has that port; set MASTER_PORT to a free one";
    else if (!ended)
      cause += fmt::format(" or has not answered within {:g} s", timeout);
    throw Error(ErrorCategory::io_failure,
                fmt::format("rank {} of {}: {} failed: {} ({})", launch.rank, launch.world_size,
                            what, cause, reason));
  }
}

class C10dGroup final : public ProcessGroup {
  // First: its return type is deduced.
  template <class Exchange>
  auto attempt(const char* what, Exchange&& exchange) {
    try {
      return told(launch(), timeout(), what, std::forward<Exchange>(exchange));
    } catch (const Error&) {
      failed_ = true;
      throw;
    }
  }

 public:
  C10dGroup(const Launch& launch, double timeout, c10::intrusive_ptr<c10d::Backend> backend,
            at::Device device)
      : ProcessGroup(launch, timeout), backend_(std::move(backend)), device_(device) {}
  // NCCL ends its communicators together with the other processes. Where one of them is gone, or
  // this one leaves by an exception that the others know nothing of, that would wait for them. Gloo
  // has nothing to end.
  ~C10dGroup() override {
    try {
      const bool together = !failed_ && std::uncaught_exceptions() <= exceptions_;
      together ? backend_->shutdown() : backend_->abort();
    } catch (const std::exception& problem) {
      log(LogLevel::warning, fmt::format("rank {} of {}: leaving the other processes failed: {}",
                                         rank(), world_size(), problem.what()));
    }
  }

  std::string backend() const override { return backend_->getBackendName(); }

  Wait start_sum(const Tensor& tensor) override {
    require(tensor.is_contiguous(), ErrorCategory::invalid_argument,
            "ProcessGroup: a sum needs a contiguous tensor, got strides " +
                shape_string(tensor.strides()));
    const auto there = tensor.detach().to(device_);  // itself, unless on the CPU beside NCCL
    std::vector<Tensor> list{there};
    auto work = attempt("the sum", [&] { return backend_->allreduce(list); });
    return [this, work, there, tensor] {
      attempt("the sum", [&] { return work->wait(); });
      if (there.device() != tensor.device()) tensor.detach().copy_(there);
    };
  }

  void broadcast(const std::vector<Tensor>& tensors) override {
    const at::NoGradGuard no_grad;
    c10d::BroadcastOptions root;
    root.rootRank = 0;
    for (const auto& tensor : tensors) {
      const auto dense = tensor.detach().contiguous().to(device_);
      std::vector<Tensor> list{dense};
      attempt("the broadcast", [&] { return backend_->broadcast(list, root)->wait(); });
      if (rank() != 0 && !dense.is_same(tensor)) tensor.detach().copy_(dense);
    }
  }

 private:
  c10::intrusive_ptr<c10d::Backend> backend_;
  at::Device device_;
  bool failed_ = false;  // an exchange
  int exceptions_ = std::uncaught_exceptions();
};

// A launcher's store outlives the processes: what they wrote there before they were started anew is
// still to be read. Nothing that they are told numbers their groups: torchrun's restart count is an
// agent's own, and stays where machines come or go. So rank 0 opens a group, and tells its number
// to all that ask by a word which no earlier process has used.
std::string group_in_kept_store(c10d::Store& store, const Launch& launch,
                                std::chrono::duration<double> timeout) {
  const auto asks = [](int64_t rank) { return fmt::format("foresight/asks/{}", rank); };
  const auto answer = [](const std::string& word) { return "foresight/answer/" + word; };
  const auto came = [](const std::string& group) { return "foresight/came/" + group; };
  if (launch.rank > 0) {
    std::random_device random;
    const auto word = fmt::format("{:08x}{:08x}{:08x}", random(), random(), random());
    store.set(asks(launch.rank), word);
    const auto group = store.get_to_str(answer(word));
    store.add(came(group), 1);
    return group;
  }
  const auto group = std::to_string(store.add("foresight/groups", 1));
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::vector<std::string> answered(static_cast<std::size_t>(launch.world_size));
  while (store.add(came(group), 0) + 1 < launch.world_size) {
    for (int64_t rank = 1; rank < launch.world_size; ++rank) {
      auto& last = answered[static_cast<std::size_t>(rank)];
      if (!store.check({asks(rank)})) continue;
      if (auto word = store.get_to_str(asks(rank)); word != last) {
        store.set(answer(word), group);
        last = std::move(word);
      }
    }
    require(std::chrono::steady_clock::now() < deadline, ErrorCategory::io_failure,
            fmt::format("{} of {} came", store.add(came(group), 0) + 1, launch.world_size));
    std::this_thread::sleep_for(Milliseconds(10));
  }
  return group;
}

c10::intrusive_ptr<c10d::Store> meet(const Launch& launch, const ProcessGroupOptions& options) {
  const bool kept = launch.store == StoreServer::launcher;
  c10d::TCPStoreOptions store;
  // One process meets nobody: any port that is free, so that a second training finds one too.
  const bool alone = launch.world_size == 1 && !kept;
  store.port = alone ? std::uint16_t{0} : static_cast<std::uint16_t>(launch.master_port);
  store.isServer = launch.rank == 0 && !kept;
  store.numWorkers = static_cast<std::size_t>(launch.world_size);
  store.waitWorkers = !kept;  // an agent's store counts its agents
  store.timeout = timeout_of(options);
  const auto where = fmt::format("meeting at {}:{}", launch.master_addr, launch.master_port);
  return told(launch, options.timeout, where.c_str(), [&] {
    const auto all = c10::make_intrusive<c10d::TCPStore>(launch.master_addr, store);
    const auto group =
        kept ? group_in_kept_store(*all, launch, timeout_of(options)) : std::string("0");
    return c10::make_intrusive<c10d::PrefixStore>("foresight/group/" + group, all);
  });
}

#ifdef USE_C10D_GLOO
// Gloo waits five times its timeout for another process to connect to this one. They have met in
// the store by then, so that a fifth of the time is enough, and what fails ends when it should.
Milliseconds connection_timeout(const ProcessGroupOptions& options) {
  constexpr Milliseconds kLeast{5'000};
  const auto whole = timeout_of(options);
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 11  // since then it can be set anew
  return std::max(whole / 5, std::min(whole, kLeast));
#else
  return whole;
#endif
}

std::shared_ptr<ProcessGroup> join_gloo(const Launch& launch, const ProcessGroupOptions& options) {
  using Gloo = c10d::ProcessGroupGloo;
  const auto store = meet(launch, options);
  const char* variable = std::getenv("GLOO_SOCKET_IFNAME");
  const std::string network =
      options.interface_name.empty() && variable != nullptr ? variable : options.interface_name;
  const auto address =
      network.empty() ? own_address(launch.master_addr, launch.master_port) : std::string();
  const auto what = fmt::format("connecting by Gloo from {}{}", network, address) +
                    (network.empty() ? ", GLOO_SOCKET_IFNAME names another network," : "");
  auto backend = told(launch, options.timeout, what.c_str(), [&] {
    auto gloo = Gloo::Options::create(connection_timeout(options));
    gloo->devices.push_back(network.empty() ? Gloo::createDeviceForHostname(address)
                                            : Gloo::createDeviceForInterface(network));
    auto joined = c10::make_intrusive<Gloo>(store, static_cast<int>(launch.rank),
                                            static_cast<int>(launch.world_size), gloo);
    if (connection_timeout(options) != timeout_of(options)) joined->setTimeout(timeout_of(options));
    return joined;
  });
  return std::make_shared<C10dGroup>(launch, options.timeout, std::move(backend), at::kCPU);
}
#else
std::shared_ptr<ProcessGroup> join_gloo(const Launch&, const ProcessGroupOptions&) {
  throw Error(ErrorCategory::unsupported,
              "ProcessGroupOptions.transport = gloo: this foresight was built without Gloo's "
              "headers. Install them (Debian, Ubuntu: libgloo-dev) and configure again");
}
#endif

#ifdef USE_C10D_NCCL
std::shared_ptr<ProcessGroup> join_nccl(const Launch& launch, const ProcessGroupOptions& options) {
  const auto gpus = static_cast<int64_t>(c10::cuda::device_count());
  require(gpus > 0, ErrorCategory::invalid_option,
          "ProcessGroupOptions.transport = nccl: this process sees no GPU");
  // Where a launcher shows each process its own GPU alone, local_rank counts on. Two on one GPU are
  // for NCCL to refuse.
  const auto gpu = static_cast<c10::DeviceIndex>(launch.local_rank % gpus);
  c10::cuda::set_device(gpu);
  // c10d reads this when it makes the group. Without it, waiting for an exchange orders streams and
  // returns, and a thread of c10d ends the program when another process is gone: there would be no
  // error to write a checkpoint after. Whoever sets it to 0 chooses that.
  ::setenv("TORCH_NCCL_BLOCKING_WAIT", "1", /*overwrite=*/0);
  const auto store = meet(launch, options);
  auto backend = told(launch, options.timeout, "connecting by NCCL", [&] {
    auto nccl = c10d::ProcessGroupNCCL::Options::create();
    nccl->timeout = timeout_of(options);
    return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, static_cast<int>(launch.rank),
                                                       static_cast<int>(launch.world_size), nccl);
  });
  return std::make_shared<C10dGroup>(launch, options.timeout, std::move(backend),
                                     at::Device(at::kCUDA, gpu));
}
#else
std::shared_ptr<ProcessGroup> join_nccl(const Launch&, const ProcessGroupOptions&) {
  throw Error(ErrorCategory::unsupported,
              "ProcessGroupOptions.transport = nccl: this foresight was built without NCCL. It "
              "needs a CUDA build of LibTorch, the headers of CUDA, and nccl.h (NVIDIA's "
              "libnccl-dev, or the wheel nvidia-nccl-cu12); use gloo on CPUs");
}
#endif

// A write to a process that is gone is to fail with an error; unless told otherwise the system ends
// the writer instead (SIGPIPE), without a word. Neither c10d nor Gloo asks for that on every socket.
void let_writes_to_the_gone_fail() {
  struct sigaction now = {};
  if (::sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL)
    ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace

std::shared_ptr<ProcessGroup> join_processes(const Launch& launch,
                                             const ProcessGroupOptions& options) {
  let_writes_to_the_gone_fail();
  const bool nccl =
      options.transport == Transport::nccl ||
      (options.transport == Transport::automatic && is_built_in(Transport::nccl) && at::hasCUDA());
  return nccl ? join_nccl(launch, options) : join_gloo(launch, options);
}

#endif

}  // namespace foresight::train
