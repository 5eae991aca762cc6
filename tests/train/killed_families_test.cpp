// SPDX-License-Identifier: Apache-2.0
// Every family's training is killed in the middle of an update and goes on: in the end its curve
// and all that its last checkpoint holds (weights, optimiser, target encoder, random state, places
// in data and noise) are those of a run that was left alone.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "brief_families.hpp"
#include "catch.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/gradient_reducer.hpp"
#include "metric_curve.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::killed_families_test {
namespace {

constexpr const char* kFamilyVariable = "FORESIGHT_KILLED_FAMILY";
constexpr const char* kRunVariable = "FORESIGHT_KILLED_FAMILY_RUN";
constexpr const char* kUpdateVariable = "FORESIGHT_KILLED_FAMILY_UPDATE";

// One process that dies in one of its updates, between backward pass and optimiser.
class DeathInUpdate final : public GradientReducer {
 public:
  explicit DeathInUpdate(int64_t update) : left_(update) {}
  int64_t rank() const override { return 0; }
  int64_t world_size() const override { return 1; }
  void average(std::vector<double>&) override {}
  void reduce(const std::vector<Tensor>&) override {
    if (--left_ == 0) raise(SIGKILL);
  }

 private:
  int64_t left_;
};

pid_t start_run_that_dies(const std::filesystem::path& folder, const std::string& family,
                          int64_t update) {
  const auto child = fork();
  if (child != 0) return child;
  setenv(kFamilyVariable, family.c_str(), 1);
  setenv(kRunVariable, folder.c_str(), 1);
  setenv(kUpdateVariable, std::to_string(update).c_str(), 1);
  setenv("OMP_NUM_THREADS", "1", 1);
  const int silent = open("/dev/null", O_WRONLY);
  dup2(silent, STDOUT_FILENO);
  dup2(silent, STDERR_FILENO);
  execl("/proc/self/exe", "test_train", "[killed family]", static_cast<char*>(nullptr));
  _exit(97);
}

const BriefFamily& family_called(const std::vector<BriefFamily>& families,
                                 const std::string& name) {
  for (const auto& family : families)
    if (family.name == name) return family;
  throw Error(ErrorCategory::not_found, "no family " + name);
}

LearnResult brief_run(const BriefFamily& family, const std::filesystem::path& folder,
                      const LearnHooks& hooks, std::uint64_t generator_seed) {
  at::manual_seed(generator_seed);
  return family.learn(brief_recordings(), {folder, /*resume=*/true}, hooks);
}

Checkpoint last_checkpoint(const std::filesystem::path& run, const BriefFamily& family) {
  const auto checkpoint =
      read_checkpoint(checkpoint_path(run / "checkpoints" / family.task, kBriefSteps));
  REQUIRE(checkpoint.step == kBriefSteps);
  return checkpoint;
}

void check_same_state(const Checkpoint& a, const Checkpoint& b) {
  CHECK(a.position == b.position);
  CHECK(a.validation.value == b.validation.value);
  REQUIRE(a.tensors.size() == b.tensors.size());
  const std::map<std::string, Tensor> there(b.tensors.begin(), b.tensors.end());
  for (const auto& [name, tensor] : a.tensors) {
    INFO(name);
    REQUIRE(there.contains(name));
    CHECK(at::equal(tensor, there.at(name)));
  }
}

}  // namespace

TEST_CASE("the family's training that is killed", "[.][killed family]") {
  const char *name = std::getenv(kFamilyVariable), *folder = std::getenv(kRunVariable),
             *update = std::getenv(kUpdateVariable);
  REQUIRE((name != nullptr && folder != nullptr && update != nullptr));
  at::set_num_threads(1);
  const std::filesystem::path run(folder);
  const auto families = brief_families(run.parent_path());
  DeathInUpdate death(std::atoll(update));
  LearnHooks hooks;
  hooks.reducer = &death;
  brief_run(family_called(families, name), run, hooks, 1);
}

TEST_CASE("every family goes on exactly after it was killed in the middle of an update") {
  const TemporaryFolder folder;
  const auto threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto families = brief_families(folder.path());
  PhiloxNoise moments(static_cast<std::uint64_t>(getpid()));
  std::map<std::string, std::pair<pid_t, int64_t>> dying;
  for (const auto& family : families) {
    // After the first checkpoints, before the last.
    const auto update = 4 + moments.integers(kBriefSteps - 4, {1}).item<int64_t>();
    dying[family.name] = {
        start_run_that_dies(folder / (family.name + "_killed"), family.name, update), update};
  }
  for (const auto& family : families) {
    const auto [child, update] = dying[family.name];
    INFO(family.name << ", killed in update " << update);
    const auto whole = folder / (family.name + "_whole"),
               killed = folder / (family.name + "_killed");
    REQUIRE(brief_run(family, whole, {}, 1).outcome == Outcome::finished);
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    REQUIRE(WTERMSIG(status) == SIGKILL);
    REQUIRE_FALSE(std::filesystem::exists(killed / "bundle"));
    // Whatever this process drew meanwhile: the state of its generator comes from the checkpoint.
    REQUIRE(brief_run(family, killed, {}, 99).outcome == Outcome::finished);
    CHECK(metric_curve(killed) == metric_curve(whole));
    check_same_state(last_checkpoint(killed, family), last_checkpoint(whole, family));
  }
  at::set_num_threads(threads);
}

}  // namespace foresight::train::killed_families_test
