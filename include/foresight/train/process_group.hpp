// SPDX-License-Identifier: Apache-2.0
// Several processes that work on one training: who is who, and the few exchanges that training
// needs, over LibTorch's c10d (Gloo on CPUs, NCCL on GPUs). No c10d type is seen here.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/replicas.hpp"

namespace foresight::train {

/// Who serves the small key-value store at which processes find each other.
enum class StoreServer {
  rank_0,    ///< the process of rank 0
  launcher,  ///< whoever started the processes (torchrun's agent) and may start them anew, as often
             ///< as it likes; rank 0 connects like the others
};

/// What the launcher of several processes tells each of them.
struct FORESIGHT_API Launch {
  int64_t rank = 0;                       ///< this process, 0..world_size-1
  int64_t world_size = 1;                 ///< processes in all
  int64_t local_rank = 0;                 ///< this process among those of its machine: its GPU
  std::string master_addr = "127.0.0.1";  ///< host of rank 0
  int64_t master_port = 29500;            ///< free TCP port there
  StoreServer store = StoreServer::rank_0;

  std::vector<std::string> validate() const;

  /// Reads RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as torchrun or a shell loop
  /// sets them; without RANK, what mpirun sets (OMPI_COMM_WORLD_RANK and its like of Open MPI,
  /// PMI_RANK of MPICH and Intel MPI, MV2_COMM_WORLD_RANK of MVAPICH2): MPI starts the processes
  /// and carries nothing; else SLURM_PROCID, SLURM_STEP_NUM_TASKS and SLURM_LOCALID, as srun sets
  /// them. Several machines need MASTER_ADDR. None of them set: one process. Throws
  /// Error(invalid_option) naming the variable that is missing, no number, or out of range.
  static Launch from_environment();
};

enum class Transport {
  automatic,  ///< nccl where this build has it and a GPU is there, else gloo; nothing where one
              ///< process is alone. A training on CPUs of a machine with GPUs asks for gloo
  gloo,       ///< over the CPUs; also moves tensors on a GPU through the CPU's memory
  nccl,       ///< tensors on GPU `local_rank`, modulo the GPUs that this process sees; also moves
              ///< those on the CPU through it
};

/// Whether this build has gloo or nccl; `automatic`: any of them.
FORESIGHT_API bool is_built_in(Transport transport);

struct FORESIGHT_API ProcessGroupOptions {
  Transport transport = Transport::automatic;
  /// Seconds that an exchange, or the first meeting, may wait for the others: longer than rank 0
  /// takes to write a checkpoint. The same in all processes. A process that died is noticed at
  /// once; what takes long is done by long_work().
  double timeout = 1800;
  /// Network interface of gloo, e.g. "eth0"; empty: GLOO_SOCKET_IFNAME if set, else the one by which
  /// this machine reaches rank 0's, loopback if rank 0 is there.
  std::string interface_name = {};

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("transport", self.transport, "automatic, gloo (CPU) or nccl (GPU)");
    visit("timeout", self.timeout, "seconds that an exchange may wait for the other processes");
    visit("interface_name", self.interface_name, "network interface of gloo; empty: found");
  }
  std::vector<std::string> validate() const;
};

/// The processes of one launch. All must make the same calls in the same order, with dense tensors
/// of the same shape and type, on the CPU or on this process's GPU: gloo takes those of a GPU
/// through the CPU's memory, nccl those of the CPU through the GPU's, both correct and slow. Every
/// call throws Error(io_failure), naming rank and operation, when another process is gone or does
/// not answer within the timeout; the group cannot be used after that. One thread at a time.
class FORESIGHT_API ProcessGroup {
 public:
  /// Meets the others: returns when all world_size processes have called it. One process that asks
  /// for a transport by name exchanges with itself over that one; with `automatic` nothing is
  /// connected. Where the program lets SIGPIPE end it, as by default, it is ignored from then on, as
  /// Python does: a write to a process that died must be an error. Throws Error(invalid_option);
  /// Error(unsupported) that names what this build lacks; Error(io_failure) when the others do not
  /// come in time.
  static std::shared_ptr<ProcessGroup> connect(const Launch& launch,
                                               const ProcessGroupOptions& options = {});
  virtual ~ProcessGroup() = default;

  int64_t rank() const noexcept { return launch_.rank; }
  int64_t world_size() const noexcept { return launch_.world_size; }
  const Launch& launch() const noexcept { return launch_; }
  /// What carries the exchanges, as c10d names it: "gloo" or "nccl"; "none" where nothing does.
  virtual std::string backend() const = 0;

  /// Waits for an exchange that was started, and rethrows its failure.
  using Wait = std::function<void()>;
  /// Starts to replace the contiguous `tensor` by its sum over all processes, and returns at once.
  /// It must not be touched before the returned function was called.
  virtual Wait start_sum(const Tensor& tensor) = 0;
  /// Replaces every tensor, of any layout, by its sum or its mean over all processes.
  void all_reduce_sum(const std::vector<Tensor>& tensors);
  void all_reduce_mean(const std::vector<Tensor>& tensors);
  /// Replaces every tensor by that of rank 0.
  virtual void broadcast(const std::vector<Tensor>& tensors) = 0;
  /// Returns when all processes have called it.
  void barrier();
  /// Calls `work`, which may take any time, in this thread, and returns when that has ended in all
  /// processes. `work` exchanges nothing; meanwhile another thread tells the others several times
  /// within the timeout that this process lives. One that dies or hangs as a whole is noticed by
  /// those that wait as in any exchange, by those that work when they have ended. Throws what
  /// `work` throws, Error(io_failure) where it threw in another process.
  void long_work(const std::function<void()>& work);

 protected:
  /// `timeout`: of an exchange, seconds.
  explicit ProcessGroup(const Launch& launch, double timeout = ProcessGroupOptions().timeout)
      : launch_(launch), timeout_(timeout) {}
  double timeout() const noexcept { return timeout_; }

 private:
  Launch launch_;
  double timeout_;
};

/// Replicas whose sums are exchanged by `group`: for a ReplicaScope while a loss is computed, or to
/// plan together (planning/sharded.hpp).
FORESIGHT_API std::shared_ptr<const Replicas> replicas_of(std::shared_ptr<ProcessGroup> group);

}  // namespace foresight::train

template <>
struct foresight::EnumNames<foresight::train::Transport> {
  using E = foresight::train::Transport;
  static constexpr std::array<std::pair<std::string_view, E>, 3> names{
      {{"automatic", E::automatic}, {"gloo", E::gloo}, {"nccl", E::nccl}}};
};
