// SPDX-License-Identifier: Apache-2.0
// What launchers put into the environment.
#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <optional>

#include "foresight/core/error.hpp"
#include "foresight/train/process_group.hpp"

namespace foresight::train {
namespace {

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

// The number in a variable; `fallback` where it is not set, and an Error where there is none.
int64_t number_in(const char* name, std::optional<int64_t> fallback) {
  const auto text = variable(name);
  if (!text) {
    require(fallback.has_value(), ErrorCategory::invalid_option,
            fmt::format("environment variable {} is not set, but others of a launch of several "
                        "processes are; needed: RANK, WORLD_SIZE and, for several machines, "
                        "MASTER_ADDR and MASTER_PORT",
                        name));
    return *fallback;
  }
  int64_t value = 0;
  const auto [end, problem] = std::from_chars(text->data(), text->data() + text->size(), value);
  require(problem == std::errc() && end == text->data() + text->size(),
          ErrorCategory::invalid_option,
          fmt::format("environment variable {} = '{}' is not a whole number", name, *text));
  return value;
}

// What the processes of an MPI launcher are told, under the names of its implementation.
struct MpiVariables {
  const char *rank, *world_size, *local_rank, *local_size;
};
constexpr MpiVariables kMpi[] = {
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE"},  // Open MPI
    {"MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK",
     "MV2_COMM_WORLD_LOCAL_SIZE"},                                   // MVAPICH2
    {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},  // MPICH, Intel MPI
};

// Those of the mpirun that started this process, or none. SLURM's srun sets PMI_RANK as well, and
// not where among its machine's the process is: what it says under names of its own is more.
const MpiVariables* mpirun_names() {
  for (const auto& names : kMpi)
    if (variable(names.rank) && variable(names.world_size) &&
        (variable(names.local_rank) || !variable("SLURM_PROCID")))
      return &names;
  return nullptr;
}

// mpirun tells no address: that of the one machine is known, others must be given.
void read_mpirun(Launch& launch, const MpiVariables& names) {
  launch.world_size = number_in(names.world_size, std::nullopt);
  launch.rank = number_in(names.rank, std::nullopt);
  launch.local_rank = number_in(names.local_rank, variable("MASTER_ADDR") ? 0 : launch.rank);
  const auto here = number_in(names.local_size, launch.world_size);
  require(here == launch.world_size || variable("MASTER_ADDR"), ErrorCategory::invalid_option,
          fmt::format("mpirun started {} processes, {} of them on this machine: set MASTER_ADDR to "
                      "the host of rank 0 for all of them (mpirun -x MASTER_ADDR=..., or -genv)",
                      launch.world_size, here));
}

// What srun tells. SLURM_NTASKS and SLURM_PROCID are also there for what a batch script or an
// interactive shell starts alone: the step counts the processes that were started.
void read_srun(Launch& launch) {
  launch.world_size = number_in("SLURM_STEP_NUM_TASKS", std::nullopt);
  launch.rank = number_in("SLURM_PROCID", std::nullopt);
  launch.local_rank = number_in("SLURM_LOCALID", 0);
  const auto machines = number_in("SLURM_STEP_NUM_NODES", 1);
  require(machines == 1 || launch.world_size == 1 || variable("MASTER_ADDR"),
          ErrorCategory::invalid_option,
          fmt::format("srun started {} processes on {} machines: export MASTER_ADDR, the host of "
                      "rank 0 ($(scontrol show hostnames | head -n 1)), before it",
                      launch.world_size, machines));
}

}  // namespace

std::vector<std::string> Launch::validate() const {
  const auto real = [](int64_t value) { return static_cast<double>(value); };
  return Rules("Launch")
      .check(world_size >= 1 && world_size <= 65536, "world_size (WORLD_SIZE)", real(world_size),
             "must be 1..65536")
      .check(rank >= 0 && rank < world_size, "rank (RANK)", real(rank),
             fmt::format("must be 0..{}, world_size being {}", world_size - 1, world_size))
      .check(local_rank >= 0 && local_rank < world_size, "local_rank (LOCAL_RANK)",
             real(local_rank), fmt::format("must be 0..{}", world_size - 1))
      .check(master_port >= 1 && master_port <= 65535, "master_port (MASTER_PORT)",
             real(master_port), "must be 1..65535")
      .problems();
}

Launch Launch::from_environment() {
  Launch launch;
  if (variable("RANK") || variable("WORLD_SIZE")) {
    launch.world_size = number_in("WORLD_SIZE", std::nullopt);
    launch.rank = number_in("RANK", std::nullopt);
    // A loop in a shell starts all processes on one machine and need not number them twice.
    launch.local_rank = number_in("LOCAL_RANK", variable("MASTER_ADDR") ? 0 : launch.rank);
  } else if (const auto* names = mpirun_names()) {
    // Before SLURM: below it, mpirun's processes inherit what SLURM told mpirun.
    read_mpirun(launch, *names);
  } else if (variable("SLURM_PROCID") && variable("SLURM_STEP_NUM_TASKS")) {
    read_srun(launch);
  }
  launch.master_addr = variable("MASTER_ADDR").value_or(launch.master_addr);
  launch.master_port = number_in("MASTER_PORT", launch.master_port);
  if (variable("TORCHELASTIC_USE_AGENT_STORE").value_or("") == "True")
    launch.store = StoreServer::launcher;
  require_valid(launch);
  return launch;
}

}  // namespace foresight::train
