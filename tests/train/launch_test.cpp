// SPDX-License-Identifier: Apache-2.0
// How processes learn from their launcher's environment which of them they are.
#include <cstdlib>
#include <map>

#include "../../src/train/own_address.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/train/process_group.hpp"

namespace foresight::train::launch_test {
namespace {

// Variables of a launcher, and none of another one, for the time of a test.
class LaunchVariables {
 public:
  explicit LaunchVariables(const std::map<std::string, std::string>& values) {
    for (const auto* name : {"RANK",
                             "WORLD_SIZE",
                             "LOCAL_RANK",
                             "MASTER_ADDR",
                             "MASTER_PORT",
                             "SLURM_PROCID",
                             "SLURM_NTASKS",
                             "SLURM_LOCALID",
                             "SLURM_STEP_NUM_TASKS",
                             "SLURM_STEP_NUM_NODES",
                             "OMPI_COMM_WORLD_RANK",
                             "OMPI_COMM_WORLD_SIZE",
                             "OMPI_COMM_WORLD_LOCAL_RANK",
                             "OMPI_COMM_WORLD_LOCAL_SIZE",
                             "PMI_RANK",
                             "PMI_SIZE",
                             "MPI_LOCALRANKID",
                             "MPI_LOCALNRANKS",
                             "MV2_COMM_WORLD_RANK",
                             "MV2_COMM_WORLD_SIZE",
                             "TORCHELASTIC_USE_AGENT_STORE"}) {
      if (const char* old = std::getenv(name)) kept_[name] = old;
      ::unsetenv(name);
      names_.emplace_back(name);
    }
    for (const auto& [name, value] : values) ::setenv(name.c_str(), value.c_str(), 1);
  }
  ~LaunchVariables() {
    for (const auto& name : names_) ::unsetenv(name.c_str());
    for (const auto& [name, value] : kept_) ::setenv(name.c_str(), value.c_str(), 1);
  }

 private:
  std::vector<std::string> names_;
  std::map<std::string, std::string> kept_;
};

bool environment_is_refused(const std::map<std::string, std::string>& values,
                            const std::string& word) {
  const LaunchVariables variables(values);
  return fails_with(
      ErrorCategory::invalid_option, [] { Launch::from_environment(); }, word);
}

}  // namespace

TEST_CASE("a launch is read as torchrun or a shell loop describe it") {
  {
    const LaunchVariables none({});
    CHECK(Launch::from_environment().world_size == 1);
  }
  {
    const LaunchVariables torchrun({{"RANK", "5"},
                                    {"WORLD_SIZE", "8"},
                                    {"LOCAL_RANK", "1"},
                                    {"MASTER_ADDR", "node7"},
                                    {"MASTER_PORT", "1234"},
                                    {"TORCHELASTIC_USE_AGENT_STORE", "True"}});
    const auto launch = Launch::from_environment();
    CHECK(launch.rank == 5);
    CHECK(launch.world_size == 8);
    CHECK(launch.local_rank == 1);
    CHECK(launch.master_addr == "node7");
    CHECK(launch.master_port == 1234);
    CHECK(launch.store == StoreServer::launcher);
  }
  {
    const LaunchVariables loop({{"RANK", "1"}, {"WORLD_SIZE", "2"}});
    const auto launch = Launch::from_environment();
    CHECK(launch.local_rank == 1);
    CHECK(launch.master_addr == "127.0.0.1");
    CHECK(launch.store == StoreServer::rank_0);
  }
}

TEST_CASE("a launch is read as srun describes it, and what SLURM starts alone is alone") {
  {
    // One machine needs no address.
    const LaunchVariables srun({{"SLURM_PROCID", "3"},
                                {"SLURM_NTASKS", "4"},
                                {"SLURM_STEP_NUM_TASKS", "4"},
                                {"SLURM_STEP_NUM_NODES", "1"},
                                {"SLURM_LOCALID", "1"}});
    const auto launch = Launch::from_environment();
    CHECK(launch.rank == 3);
    CHECK(launch.world_size == 4);
    CHECK(launch.local_rank == 1);
    CHECK(launch.master_addr == "127.0.0.1");
  }
  {
    // srun --mpi=pmi2: of the two names of a rank, those that come with a place on the machine.
    const LaunchVariables pmi2({{"SLURM_PROCID", "3"},
                                {"SLURM_STEP_NUM_TASKS", "4"},
                                {"SLURM_STEP_NUM_NODES", "2"},
                                {"SLURM_LOCALID", "1"},
                                {"PMI_RANK", "3"},
                                {"PMI_SIZE", "4"},
                                {"MASTER_ADDR", "node1"}});
    const auto launch = Launch::from_environment();
    CHECK(launch.local_rank == 1);
    CHECK(launch.master_addr == "node1");
  }
  {
    // A program that a batch script of SLURM starts by itself, whatever the script exports.
    const LaunchVariables batch(
        {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"MASTER_ADDR", "node1"}});
    CHECK(Launch::from_environment().world_size == 1);
  }
  {
    // salloc's shell is a step of its own.
    const LaunchVariables shell({{"SLURM_PROCID", "0"},
                                 {"SLURM_NTASKS", "4"},
                                 {"SLURM_STEP_NUM_TASKS", "1"},
                                 {"MASTER_ADDR", "node1"}});
    CHECK(Launch::from_environment().world_size == 1);
  }
  {
    // mpirun in a batch script: its processes inherit what SLURM told the script.
    const LaunchVariables mpirun({{"SLURM_PROCID", "0"},
                                  {"SLURM_NTASKS", "2"},
                                  {"SLURM_LOCALID", "0"},
                                  {"OMPI_COMM_WORLD_RANK", "1"},
                                  {"OMPI_COMM_WORLD_SIZE", "2"},
                                  {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                  {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                                  {"MASTER_ADDR", "node1"}});
    CHECK(Launch::from_environment().rank == 1);
  }
  {
    // MPICH's starts its processes by a step of one task a machine.
    const LaunchVariables hydra({{"SLURM_PROCID", "0"},
                                 {"SLURM_STEP_NUM_TASKS", "1"},
                                 {"PMI_RANK", "1"},
                                 {"PMI_SIZE", "2"},
                                 {"MPI_LOCALRANKID", "1"},
                                 {"MPI_LOCALNRANKS", "2"}});
    CHECK(Launch::from_environment().world_size == 2);
  }
  CHECK(environment_is_refused(
      {{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_STEP_NUM_NODES", "2"}},
      "srun started 4 processes on 2 machines"));
}

TEST_CASE("a launch is read as mpirun of Open MPI, MPICH and MVAPICH2 describes it") {
  {
    const LaunchVariables open_mpi({{"OMPI_COMM_WORLD_RANK", "3"},
                                    {"OMPI_COMM_WORLD_SIZE", "4"},
                                    {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                    {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                                    {"PMI_RANK", "7"},
                                    {"PMI_SIZE", "9"},
                                    {"MASTER_ADDR", "node1"}});
    const auto launch = Launch::from_environment();
    CHECK(launch.rank == 3);
    CHECK(launch.world_size == 4);
    CHECK(launch.local_rank == 1);
    CHECK(launch.master_addr == "node1");
    CHECK(launch.store == StoreServer::rank_0);
  }
  {
    // One machine needs no address.
    const LaunchVariables mpich(
        {{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}});
    const auto launch = Launch::from_environment();
    CHECK(launch.rank == 1);
    CHECK(launch.world_size == 2);
    CHECK(launch.local_rank == 1);
    CHECK(launch.master_addr == "127.0.0.1");
  }
  {
    const LaunchVariables mvapich({{"MV2_COMM_WORLD_RANK", "1"}, {"MV2_COMM_WORLD_SIZE", "2"}});
    CHECK(Launch::from_environment().rank == 1);
  }
  {
    // What the user sets wins.
    const LaunchVariables both({{"RANK", "0"},
                                {"WORLD_SIZE", "2"},
                                {"OMPI_COMM_WORLD_RANK", "3"},
                                {"OMPI_COMM_WORLD_SIZE", "4"}});
    CHECK(Launch::from_environment().world_size == 2);
  }
  CHECK(environment_is_refused({{"OMPI_COMM_WORLD_RANK", "1"},
                                {"OMPI_COMM_WORLD_SIZE", "4"},
                                {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}},
                               "set MASTER_ADDR"));
  CHECK(environment_is_refused({{"PMI_RANK", "x"}, {"PMI_SIZE", "4"}}, "PMI_RANK = 'x'"));
}

TEST_CASE("a machine is reached at loopback from itself, else by an address of its own") {
  for (const auto* host : {"127.0.0.1", "127.0.1.1", "localhost", "::1"})
    CHECK(own_address(host, 29500) == "127.0.0.1");
  const auto own = own_address("192.0.2.1", 29500);  // behind the default route, if there is one
  CHECK_FALSE(own.empty());
  CHECK(own_address("no such host", 29500) == own);
  CHECK(own_address(own, 29500) == own);
}

TEST_CASE("a broken launch is refused by the name of its variable") {
  CHECK(environment_is_refused({{"RANK", "0"}}, "WORLD_SIZE is not set"));
  CHECK(environment_is_refused({{"WORLD_SIZE", "2"}}, "RANK is not set"));
  CHECK(environment_is_refused({{"RANK", "zero"}, {"WORLD_SIZE", "2"}}, "RANK = 'zero'"));
  CHECK(environment_is_refused({{"RANK", "1x"}, {"WORLD_SIZE", "2"}}, "RANK = '1x'"));
  CHECK(environment_is_refused({{"RANK", "2"}, {"WORLD_SIZE", "2"}}, "rank (RANK) = 2"));
  CHECK(environment_is_refused({{"RANK", "0"}, {"WORLD_SIZE", "0"}}, "WORLD_SIZE) = 0"));
  CHECK(environment_is_refused({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_PORT", "70000"}},
                               "MASTER_PORT) = 70000"));
}

}  // namespace foresight::train::launch_test
