// SPDX-License-Identifier: Apache-2.0
// foresight train, started once a process as a launcher does it, and by launchers.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <tuple>

#include "catch.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/io/safetensors.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/event_writer.hpp"
#include "foresight/train/process_group.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"
#include "train/processes.hpp"

namespace foresight::processes_test {
namespace {

std::string text_of(const std::filesystem::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::map<int64_t, double> curve_of(const std::filesystem::path& run, const std::string& wanted) {
  std::map<int64_t, double> curve;
  for (const auto& row : train::read_metrics(run / "metrics.jsonl"))
    for (const auto& [name, value] : row.scalars)
      if (name == wanted) curve[row.step] = value;
  return curve;
}

// Runs the command once a process, as a shell loop does; what they said, where one failed.
std::string failure_of_loop(int processes, const std::string& arguments,
                            const std::filesystem::path& logs) {
  const auto port = std::to_string(train::Processes::free_port());
  const auto count = std::to_string(processes);
  const auto loop = "cd " + logs.string() + "; rm -f failed; for r in $(seq 0 $((" + count +
                    " - 1))); do RANK=$r WORLD_SIZE=" + count + " MASTER_PORT=" + port + " " +
                    FORESIGHT_BINARY_DIR + "/bin/foresight " + arguments +
                    " > $r.log 2>&1 || touch failed & done; wait; test ! -e failed";
  if (std::system(loop.c_str()) == 0) return "";
  std::string said = loop + "\n";
  for (int rank = 0; rank < processes; ++rank)
    said += text_of(logs / (std::to_string(rank) + ".log"));
  return said;
}

// The largest difference of any weight or statistic of two bundles. Left out: a bias before a batch
// norm, which has no effect and whose gradient is rounding alone.
double bundle_difference(const std::filesystem::path& a, const std::filesystem::path& b) {
  const auto weights = [](const std::filesystem::path& run) {
    const auto tensors = io::SafeTensors::open(run / "bundle" / "model.safetensors").tensors();
    return std::map<std::string, at::Tensor>(tensors.begin(), tensors.end());
  };
  const auto one = weights(a), other = weights(b);
  REQUIRE(one.size() == other.size());
  double largest = 0;
  for (const auto& [name, value] : one) {
    if (name.ends_with("projector.net.0.bias")) continue;
    const auto difference = value.to(at::kDouble) - other.at(name).to(at::kDouble);
    largest = std::max(largest, difference.abs().max().item<double>());
  }
  return largest;
}

// Records into `folder`; a training on that which takes a second, up to its --out.
std::string brief_training(const std::filesystem::path& folder, const char* steps = "8") {
  const auto place = folder.string();
  const auto recorded = foresight_command("record --episodes 6 --seed 3 --out " + place + "/data");
  INFO(recorded.output);
  REQUIRE(recorded.code == 0);
  // A large epsilon: a gradient of rounding alone must not become a whole step of AdamW.
  return "train --data " + place + "/data --steps " + steps +
         " --training.log_every 1 --training.validate_every 4"
         " --training.checkpoint_every 4 --training.optimizer.lr 3e-3 --training.schedule.warmup 0"
         " --training.optimizer.epsilon 1e-3 --loader.batch 16 --critic_training.steps 6"
         " --critic_training.schedule.warmup 0 --critic_training.optimizer.epsilon 1e-3"
         " --critic_training.validate_every 6 --critic_training.log_every 1 --process-timeout 60"
         " --out " +
         place;
}

// Takes a finished run back to its checkpoint of step 4, as if it had been killed after that.
void forget_all_after_step_4(const std::filesystem::path& run) {
  std::filesystem::remove_all(run / "bundle");
  std::filesystem::remove_all(run / "checkpoints" / "critic");
  REQUIRE(std::filesystem::remove(train::checkpoint_path(run / "checkpoints" / "jepa", 8)));
  REQUIRE(std::filesystem::exists(train::checkpoint_path(run / "checkpoints" / "jepa", 4)));
}

// A program beside the Python that LibTorch came with, or on PATH, that answers `question`. None:
// says so, and CTest reports the test as skipped.
std::optional<std::string> launcher(const std::string& name, const std::string& question) {
  if (!train::is_built_in(train::Transport::gloo)) {
    std::puts("skipped: no Gloo in this build");
    return std::nullopt;
  }
  std::stringstream folders;
  for (const auto* variable : {"FORESIGHT_TORCH_SCRIPTS", "PATH"})
    if (const auto* value = std::getenv(variable)) folders << value << ':';
  for (std::string folder; std::getline(folders, folder, ':');)
    if (const auto program = folder + "/" + name; ::access(program.c_str(), X_OK) == 0) {
      // A wheel installed without its dependencies has a torchrun that cannot start.
      if (std::system((program + " " + question + " > /dev/null").c_str()) == 0) return program;
      std::printf("skipped: no %s that starts: %s\n", name.c_str(), program.c_str());
      return std::nullopt;
    }
  std::printf("skipped: no %s here\n", name.c_str());
  return std::nullopt;
}

// Variables that let any mpirun start two processes here, and give them time to end.
std::string launch_variables() {
  return "unset RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR SLURM_PROCID; export MASTER_PORT=" +
         std::to_string(train::Processes::free_port()) +
         " OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
         " OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe"
         " OMPI_MCA_odls_base_sigkill_timeout=3; ";
}

// The exit code of lines for a shell, whose output goes to `log`.
int shell(const std::string& lines, const std::filesystem::path& log) {
  const int status = std::system(("( " + lines + " ) > " + log.string() + " 2>&1").c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

std::size_t times(const std::string& text, const std::string& what) {
  std::size_t count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

// `start` and the command as one training that is stopped, once it has a checkpoint, by `signal` to
// the launcher. It must keep the step in which it was.
void check_interrupted(const std::string& start, const std::string& signal,
                       const std::filesystem::path& folder) {
  INFO(start << " " << signal);
  const auto arguments = brief_training(folder, "1000000");
  const auto first = train::checkpoint_path(folder / "stopped" / "checkpoints" / "jepa", 4);
  // Ends by itself where the checkpoint does not come.
  const auto code =
      shell(launch_variables() + start + " " FORESIGHT_BINARY_DIR "/bin/foresight " + arguments +
                "/stopped & launcher=$!; tries=600; until [ -e " + first.string() +
                " ] || [ $tries = 0 ]; do tries=$((tries - 1)); sleep 0.1; done; kill -" + signal +
                " $launcher; wait $launcher",
            folder / "stopped.log");
  const auto said = text_of(folder / "stopped.log");
  INFO(said);
  CHECK(code != 0);
  CHECK_THAT(said, Catch::Contains("2 processes share every batch"));
  const std::string mark = "interrupted after step ";
  REQUIRE(times(said, mark) == 1);
  const auto step = std::stoll(said.substr(said.find(mark) + mark.size()));
  CHECK(std::filesystem::exists(
      train::checkpoint_path(folder / "stopped" / "checkpoints" / "jepa", step)));
}

// Sums in another order, through eight updates of the model and six of the cost-to-go. Weights move
// by up to 2e-2.
constexpr double kRounding = 2e-4;

}  // namespace

TEST_CASE("foresight train in several processes makes the bundle of one, and goes on with others") {
  if (!train::is_built_in(train::Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const TemporaryFolder folder;
  const auto place = folder.path().string();
  const auto arguments = brief_training(folder.path());
  const auto alone = foresight_command(arguments + "/one");
  INFO(alone.output);
  REQUIRE(alone.code == 0);
  REQUIRE(failure_of_loop(2, arguments + "/two", folder.path()) == "");
  CHECK_THAT(text_of(folder / "0.log"),
             Catch::Contains("2 processes share every batch") && Catch::Contains("bundle: "));
  CHECK_THAT(text_of(folder / "1.log"), !Catch::Contains("bundle: "));  // one speaks for all
  for (const auto& entry : std::filesystem::directory_iterator(folder / "two"))
    CHECK(std::filesystem::exists(folder / "one" / entry.path().filename()) !=
          entry.path().filename().string().starts_with("events.out"));  // and one writes

  CHECK(bundle_difference(folder / "one", folder / "two") < kRounding);
  for (const auto* name : {"jepa/train/loss", "jepa/validation/loss", "critic/train/loss",
                           "critic/validation/loss", "jepa/grad_norm"}) {
    INFO(name);
    const auto expected = curve_of(folder / "one", name), curve = curve_of(folder / "two", name);
    REQUIRE(!expected.empty());
    REQUIRE(curve.size() == expected.size());
    for (const auto& [step, value] : expected) CHECK(curve.at(step) == Approx(value).epsilon(2e-3));
  }

  // What two processes began, one goes on with, and four.
  for (const int others : {1, 4}) {
    INFO(others << " processes go on");
    const auto run = folder / "two";
    forget_all_after_step_4(run);
    const auto on = arguments + "/two --resume";
    if (others == 1)
      REQUIRE(foresight_command(on).code == 0);
    else
      REQUIRE(failure_of_loop(others, on, folder.path()) == "");
    CHECK(bundle_difference(folder / "one", run) < kRounding);
    CHECK(curve_of(run, "jepa/train/loss").size() == 8);
    CHECK(curve_of(run, "jepa/processes").at(4) == 2);
    CHECK(curve_of(run, "jepa/processes").at(8) == others);
  }
  CHECK(io::read_json(folder / "two" / "config.json").at("processes") ==
        nlohmann::json::array({2, 1, 4}));

  // The comparison can fail: after other batches the bundle is another one.
  REQUIRE(foresight_command(arguments + "/three --seed 9").code == 0);
  CHECK(bundle_difference(folder / "one", folder / "three") > 10 * kRounding);

  // One process that asks for a transport exchanges with itself.
  REQUIRE(failure_of_loop(1, arguments + "/itself --process-transport gloo", folder.path()) == "");
  CHECK_THAT(text_of(folder / "0.log"), Catch::Contains("exchanges with itself over gloo"));
  CHECK(bundle_difference(folder / "one", folder / "itself") == 0);
  const auto no_gpu = foresight_command(arguments + "/none --process-transport nccl");
  CHECK(no_gpu.code == 2);
  CHECK_THAT(no_gpu.output, Catch::Contains("--process-transport nccl exchanges between GPUs"));

  const auto broken = "RANK=2 WORLD_SIZE=2 " FORESIGHT_BINARY_DIR "/bin/foresight " + arguments +
                      "/four > " + place + "/four.log 2>&1";
  CHECK(std::system(broken.c_str()) != 0);
  CHECK_THAT(text_of(folder / "four.log"), Catch::Contains("rank (RANK) = 2"));
}

// CTest runs these by their tags: tests/CMakeLists.txt.
TEST_CASE("torchrun starts one training, and starts it anew when a process was killed",
          "[.][torchrun]") {
  const auto torchrun = launcher("torchrun", "--help");
  if (!torchrun) return;
  const TemporaryFolder folder;
  const auto arguments = brief_training(folder.path());
  REQUIRE(foresight_command(arguments + "/one").code == 0);

  // Rank 1 is killed once, after the first checkpoint.
  const auto run = (folder / "two").string();
  std::ofstream(folder / "once.sh")
      << "if [ $RANK = 1 ] && [ ! -e " << run << ".killed ]; then touch " << run << ".killed\n"
      << "  \"$@\" & process=$!\n"
      << "  until [ -e "
      << train::checkpoint_path(folder / "two" / "checkpoints" / "jepa", 4).string()
      << " ]; do sleep 0.01; done; kill -KILL $process; wait $process; exit 1\n"
      << "fi\nexec \"$@\"\n";
  const auto start = *torchrun + " --no-python --nproc-per-node 2 ";
  const auto code =
      shell(launch_variables() + start + "--max-restarts 1 sh " + (folder / "once.sh").string() +
                " " FORESIGHT_BINARY_DIR "/bin/foresight " + arguments + "/two --resume",
            folder / "two.log");
  const auto said = text_of(folder / "two.log");
  INFO(said);
  REQUIRE(code == 0);
  CHECK(times(said, "2 processes share every batch") == 2);
  CHECK(times(said, "bundle: ") == 1);
  CHECK(curve_of(folder / "two", "jepa/train/loss").size() == 8);
  CHECK(bundle_difference(folder / "one", folder / "two") < kRounding);

  check_interrupted(start, "INT", folder / "interrupted");
}

// As far as the network goes: each has addresses, a loopback and ports of its own, and one cable
// leads from one to the other.
class TwoMachines {
 public:
  TwoMachines() {
    const auto on = [](const std::string& name) { return "ip -n " + name + " "; };
    made_ = std::system(("( ip netns add " + a_ + " && ip netns add " + b_ +
                         " && ip link add eth0 netns " + a_ + " type veth peer name eth0 netns " +
                         b_ + " && " + on(a_) + "addr add 10.77.0.1/24 dev eth0 && " + on(b_) +
                         "addr add 10.77.0.2/24 dev eth0 && " + on(a_) + "link set eth0 up && " +
                         on(b_) + "link set eth0 up && " + on(a_) + "link set lo up && " + on(b_) +
                         "link set lo up ) > /dev/null 2>&1")
                            .c_str()) == 0;
  }
  TwoMachines(const TwoMachines&) = delete;
  TwoMachines& operator=(const TwoMachines&) = delete;
  ~TwoMachines() {
    for (const auto& name : {a_, b_})
      std::ignore = std::system(("ip netns del " + name + " > /dev/null 2>&1").c_str());
  }
  bool made() const { return made_; }
  // Runs a command on machine 0 or 1.
  std::string on(int machine) const {
    return "ip netns exec " + (machine == 0 ? a_ : b_) + " ";
  }

 private:
  std::string a_ = "foresight_a_" + std::to_string(getpid());
  std::string b_ = "foresight_b_" + std::to_string(getpid());
  bool made_ = false;
};

TEST_CASE("two machines train as one, and end in time where one cannot be reached",
          "[.][machines]") {
  if (!train::is_built_in(train::Transport::gloo)) return void(std::puts("skipped: no Gloo"));
  const TwoMachines machines;
  if (!machines.made())
    return void(std::puts("skipped: no network namespaces (ip of iproute2, and root, make them)"));
  const TemporaryFolder folder;
  const auto arguments = brief_training(folder.path());
  REQUIRE(foresight_command(arguments + "/one").code == 0);
  auto brief = arguments;
  brief.replace(brief.find("timeout 60"), 10, "timeout 10");
  const auto rank = [&](int number, const std::string& more) {
    return "RANK=" + std::to_string(number) + " WORLD_SIZE=2 MASTER_ADDR=10.77.0.1 " + more +
           machines.on(number) + FORESIGHT_BINARY_DIR "/bin/foresight " + brief;
  };
  const auto code = shell(rank(1, "") + "/two & " + rank(0, "") + "/two && wait $!",
                          folder / "two.log");
  const auto said = text_of(folder / "two.log");
  INFO(said);
  REQUIRE(code == 0);
  CHECK(times(said, "2 processes share every batch") == 1);
  CHECK(bundle_difference(folder / "one", folder / "two") < kRounding);

  // Rank 0 offers its loopback, by which nobody comes: both end, rank 1 too, which is called.
  const auto apart = shell("timeout 60 sh -c '" + rank(1, "GLOO_SOCKET_IFNAME=lo ") +
                               "/three; echo ended' & " +
                               rank(0, "GLOO_SOCKET_IFNAME=lo ") +
                               "/three; code=$?; wait; exit $code",
                           folder / "three.log");
  const auto failed = text_of(folder / "three.log");
  INFO(failed);
  CHECK(apart != 0);
  CHECK(times(failed, "connecting by Gloo from lo failed") == 2);
  CHECK(times(failed, "ended") == 1);
}

TEST_CASE("mpirun starts one training, which keeps its step when mpirun is stopped",
          "[.][mpirun]") {
  const auto mpirun = launcher("mpirun", "--version");
  if (!mpirun) return;
  const TemporaryFolder folder;
  const auto arguments = brief_training(folder.path());
  REQUIRE(foresight_command(arguments + "/one").code == 0);
  const auto start = *mpirun + " -n 2";
  const auto code = shell(
      launch_variables() + start + " " FORESIGHT_BINARY_DIR "/bin/foresight " + arguments + "/two",
      folder / "two.log");
  const auto said = text_of(folder / "two.log");
  INFO(said);
  REQUIRE(code == 0);
  CHECK(times(said, "2 processes share every batch") == 1);
  CHECK(times(said, "bundle: ") == 1);
  CHECK(bundle_difference(folder / "one", folder / "two") < kRounding);

  check_interrupted(start, "INT", folder / "interrupted");
}

}  // namespace foresight::processes_test
