// SPDX-License-Identifier: Apache-2.0
// Learning on from a bundle: what stays, what is rehearsed, what is forgotten and what is warned
// about; and the hook that watches planning success meanwhile.
#include "foresight/train/continual.hpp"

#include <nlohmann/json.hpp>
#include <optional>

#include "captured_log.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "first_of_two.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/train/learn.hpp"
#include "foresight/train/loader_task.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::continual_test {
namespace {

// The square pushed as before, and recordings of another behaviour: pushes lean to the right, and
// pictures are inverted, so that the model must learn anew.
TensorRecordings inverted_square() {
  auto recordings = pushed_square(1.5, 21);
  recordings.name = "inverted square";
  recordings.frames = 255 - recordings.frames;
  return recordings;
}

std::shared_ptr<const data::Dataset> dataset_of(TensorRecordings recordings) {
  return std::make_shared<TensorDataset>(std::move(recordings));
}

LearnOptions few_steps(int64_t steps) {
  LearnOptions options;
  options.windows.stride = 2;
  options.loader.batch = 16;
  options.loader.threads = 0;
  options.validation = 0.2;
  options.training.steps = steps;
  options.training.log_every = 1;
  options.training.validate_every = 0;
  options.training.checkpoint_every = 10;
  options.training.schedule.warmup = 5;
  options.critic_training.steps = 10;
  options.seed = 4;
  return options;
}

LearnResult learn_silently(std::shared_ptr<const data::Dataset> dataset,
                           const LearnOptions& options, const std::filesystem::path& folder,
                           const LearnHooks& hooks = {}, bool resume = false) {
  return learn(std::move(dataset), options, {folder, resume}, at::kCPU, ProgressStyle::silent,
               hooks);
}

class Brightness final : public LoaderTask {
 public:
  explicit Brightness(TaskData data) : LoaderTask("brightness", std::move(data)) {}
  torch::nn::Module& module() override { throw std::logic_error("nothing is trained"); }

 protected:
  losses::Terms batch_loss(const data::Batch& batch, Noise&) override {
    losses::Terms terms;
    terms.add("brightness", 1.0, batch.pixels.to(at::kDouble).mean());
    return terms;
  }
};

double change(const std::vector<BeforeAfter>& losses) {
  REQUIRE_FALSE(losses.empty());
  REQUIRE(losses.front().term == "loss");
  return losses.front().after / losses.front().before;
}

}  // namespace

TEST_CASE("drift is measured in the model's own units, and only what matters is warned about") {
  ActionSpace space;
  space.mean = {1.0};
  space.std = {0.5};
  space.low = {-1.0};
  space.high = {2.5};
  auto recordings = pushed_square();
  recordings.last_action = data::LastAction::applied;
  recordings.actions = at::full({10, 24, 1}, 2.0, at::kDouble);
  recordings.actions.slice(1, 0, 24, 2).fill_(3.0);  // rows 0, 2, ... of every episode
  const auto drift = action_drift(space, *dataset_of(recordings), {0, 3});
  // Of the 23 rows that count, 12 hold 3 and 11 hold 2.
  const double mean = (12 * 3.0 + 11 * 2.0) / 23;
  REQUIRE(drift.size() == 1);
  CHECK(drift[0].shift == Approx((mean - 1.0) / 0.5));
  CHECK(drift[0].spread == Approx(std::sqrt(12.0 * 11.0) / 23 / 0.5));
  CHECK(drift[0].outside == Approx(12.0 / 23));
  DataDrift found{.actions = drift};
  CHECK(found.warnings().size() == 2);  // the mean and the limits; the spread is near one
  CHECK_THAT(found.warnings()[1], Catch::Contains("52 %"));
  const auto latents = at::tensor({0.0F, 0.0F, 2.0F, 4.0F}).view({2, 2});  // std 1 and 2
  add_latent_drift(found, latents * 3 + 1, latents);
  CHECK(found.latent_spread == Approx(3.0));
  // Means 1, 2 become 4, 7: shifts 3/1 and 5/2.
  CHECK(found.latent_shift == Approx(std::sqrt((9.0 + 6.25) / 2)));
  CHECK(found.warnings().size() == 4);
  CHECK(DataDrift{}.warnings().empty());
}

TEST_CASE("a column that never varied may go on so, and any other value in it is drift") {
  ActionSpace space;
  space.dim = 2;
  space.mean = {0.0, 0.3};
  space.std = {0.577, 1.0};
  auto recordings = pushed_square();
  const auto held = at::full_like(recordings.actions, 0.3);
  const auto warnings = [&](const at::Tensor& second, const std::optional<ConstantColumns>& told) {
    recordings.actions = at::cat({recordings.actions.narrow(2, 0, 1), second}, 2);
    recordings.states = second;
    const auto dataset = dataset_of(recordings);
    const DataDrift found{.actions = action_drift(space, *dataset, {}, told),
                          .states = state_drift(*dataset, {"state_0"}, {0.3}, {1.0}, {}, told)};
    return found.warnings();
  };
  const ConstantColumns told{.actions = {1}, .states = {0}};
  CHECK(warnings(held, told).empty());
  CHECK(warnings(held.to(at::kFloat).to(at::kDouble), told).empty());  // another way of writing it
  CHECK(warnings(held, std::nullopt).empty());  // of a bundle that does not tell
  const auto swings = held + recordings.actions.narrow(2, 0, 1);
  for (const auto& other : {held + 0.1, swings}) {
    const auto found = warnings(other, told);
    REQUIRE(found.size() == 2);
    CHECK_THAT(found[0], Catch::Contains("action_1: never varied in the training data"));
    CHECK_THAT(found[1], Catch::Contains("state_0: never varied in the training data"));
  }
  CHECK_THAT(warnings(held + 0.1, told)[0],
             Catch::Contains("0.1 away") && Catch::Contains("standard deviation 0"));
}

TEST_CASE("a bundle tells which actions never varied, and so does one that learned on from it") {
  const TemporaryFolder folder;
  auto recordings = pushed_square();
  const auto pushes = recordings.actions;
  recordings.actions = at::cat({pushes, at::zeros_like(pushes)}, 2);
  const auto old = dataset_of(recordings);
  const auto first = learn_silently(old, few_steps(3), folder / "first");
  const auto constant = [](const LearnResult& run) {
    const auto told = constant_columns_told(Agent::load(run.bundle).config().provenance);
    REQUIRE(told);
    CHECK(told->states.empty());
    return told->actions;
  };
  CHECK(constant(first) == std::vector<int64_t>{1});

  const Continuation from{first.bundle, old};
  const LearnHooks hooks{.continuation = &from};
  const auto same = learn_silently(old, few_steps(3), folder / "same", hooks);
  CHECK(same.continual->drift.warnings().empty());
  CHECK(constant(same) == std::vector<int64_t>{1});

  recordings.actions = at::cat({pushes, pushes}, 2);
  const auto swinging = learn_silently(dataset_of(recordings), few_steps(3), folder / "on", hooks);
  REQUIRE(swinging.continual->drift.warnings().size() == 1);
  CHECK_THAT(swinging.continual->drift.warnings()[0], Catch::Contains("action_1: never varied"));
  const auto written = io::read_json(folder / "on" / "continual.json")["drift"]["actions"];
  CHECK(written[0]["never_varied"] == false);
  CHECK(written[1]["never_varied"] == true);
  CHECK(constant(swinging).empty());  // which it has seen move by now
}

TEST_CASE("learning on with replay forgets less than without, keeps the statistics, and says so") {
  const TemporaryFolder folder;
  const auto old = dataset_of(pushed_square());
  const auto first = learn_silently(old, few_steps(60), folder / "first");
  REQUIRE(first.outcome == Outcome::finished);
  CHECK_FALSE(first.continual);

  std::vector<double> forgotten;
  for (const bool rehearses : {true, false}) {
    INFO((rehearses ? "with" : "without") << " rehearsal");
    // Without: one replayed window in 16 is the least, and makes the old loss measurable.
    const Continuation from{first.bundle, old, rehearses ? 0.5 : 0.01};
    const auto path = folder / (rehearses ? "replay" : "alone");
    const auto result =
        learn_silently(dataset_of(inverted_square()), few_steps(60), path, {.continuation = &from});
    INFO(result.message);
    REQUIRE(result.outcome == Outcome::finished);
    REQUIRE(result.continual);
    const auto& report = *result.continual;
    CHECK(change(report.new_data) < 0.8);
    CHECK(report.forgetting() == Approx(change(report.old_data) - 1));
    forgotten.push_back(report.forgetting());
    // Pushes that lean by 1.5 are 1.5 / 0.577 standard deviations away, and half out of limits.
    CHECK(report.drift.actions.at(0).shift == Approx(1.5 / 0.577).epsilon(0.15));
    CHECK(report.drift.actions.at(0).outside > 0.5);
    CHECK(report.drift.latent_shift > 0.1);
    CHECK_FALSE(report.drift.warnings().empty());

    const auto written = io::read_json(path / "continual.json");
    CHECK(written["forgetting"].get<double>() == Approx(report.forgetting()));
    CHECK(written["drift"]["warnings"].size() == report.drift.warnings().size());
    const auto before = Agent::load(first.bundle), after = Agent::load(result.bundle);
    CHECK(after.config().action.mean == before.config().action.mean);
    CHECK(after.config().action.high == before.config().action.high);
    CHECK(after.config().planner == before.config().planner);
    CHECK(after.config().provenance["continued_from"]["data"] == "pushed square");
    CHECK(after.critic() != nullptr);
  }
  CHECK(forgotten[0] < forgotten[1]);
}

TEST_CASE("learning on resumes, but never from another bundle or with another share") {
  const TemporaryFolder folder;
  const auto old = dataset_of(pushed_square()), fresh = dataset_of(inverted_square());
  const auto first = learn_silently(old, few_steps(5), folder / "first");
  Continuation from{first.bundle, old, 0.25};
  const LearnHooks hooks{.continuation = &from};
  const auto whole = learn_silently(fresh, few_steps(20), folder / "on", hooks);
  REQUIRE(whole.outcome == Outcome::finished);
  const auto again = learn_silently(fresh, few_steps(20), folder / "on", hooks, /*resume=*/true);
  CHECK(again.outcome == Outcome::finished);
  CHECK(again.continual->forgetting() == whole.continual->forgetting());
  from.share = 0.5;
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { learn_silently(fresh, few_steps(20), folder / "on", hooks, /*resume=*/true); },
      "learn_on.share", "is said by `--continue`, `--replay` and `--replay-share`"));
  from.share = 1.0;
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { learn_silently(fresh, few_steps(20), folder / "other", hooks); }, "between 0 and 1"));
}

TEST_CASE("recordings that do not fit what learning goes on from are refused before a run begins") {
  const TemporaryFolder folder;
  const auto first = learn_silently(dataset_of(pushed_square()), few_steps(5), folder / "first");
  auto recordings = pushed_square();
  recordings.name = "two arms";
  recordings.actions = recordings.actions.repeat({1, 1, 2});
  const auto other = dataset_of(recordings);
  Continuation from{first.bundle, other};
  const LearnHooks hooks{.continuation = &from};
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { learn_silently(dataset_of(inverted_square()), few_steps(5), folder / "on", hooks); },
      "replay: two arms has 2 action column(s)", "inverted square have 1"));
  auto lower = pushed_square();
  lower.name = "lower camera";
  lower.frames = lower.frames.narrow(2, 0, 24).contiguous();
  from.replay = dataset_of(lower);
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { learn_silently(dataset_of(inverted_square()), few_steps(5), folder / "on", hooks); },
      "replay: frames of lower camera are 32x24", "inverted square are 32x32"));
  from.replay = nullptr;
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { learn_silently(other, few_steps(5), folder / "on", hooks); },
      "two arms: 2 action columns, the model has 1"));
  auto options = few_steps(5);
  options.windows.stride = 3;  // the bundle's blocks are 2
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { learn_silently(dataset_of(inverted_square()), options, folder / "on", hooks); },
      "windows.stride = 3", "action block of the bundle that learning goes on from, 2"));
  CHECK_FALSE(std::filesystem::exists(folder / "on"));
}

TEST_CASE("the replayed part of a batch can be shared by the processes") {
  const Continuation from{"bundle", nullptr, 0.3};
  CHECK(from.replayed(64) == 19);
  CHECK(from.replayed(64, 2) == 20);
  CHECK(from.replayed(64, 8) == 16);
  CHECK(from.replayed(8, 4) == 4);
  CHECK(Continuation{"bundle", nullptr, 0.01}.replayed(64, 4) == 4);
  CHECK(Continuation{"bundle", nullptr, 0.99}.replayed(64, 4) == 60);
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { from.replayed(65, 2); }, "loader.batch = 65",
      "number of processes, 2"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { from.replayed(4, 4); }, "loader.batch = 4"));

  const TemporaryFolder folder;
  const auto old = dataset_of(pushed_square());
  auto options = few_steps(2);
  options.critic_training.steps = 0;
  const auto first = learn_silently(old, options, folder / "first");
  const Continuation rehearsed{first.bundle, old, 0.3};  // of 16: 4.8
  FirstOfTwo processes;
  const LearnHooks hooks{.reducer = &processes, .continuation = &rehearsed};
  const auto result = learn_silently(dataset_of(inverted_square()), options, folder / "on", hooks);
  CHECK(result.outcome == Outcome::finished);
}

TEST_CASE("a run goes on where a batch is cut otherwise into old windows and new ones") {
  const auto task_of = [](int64_t fresh, int64_t old) {
    return Brightness({.training = windows_of(pushed_square(), 1, fresh),
                       .replay = windows_of(pushed_square(), 1, old)});
  };
  auto before = task_of(4, 4);
  for (int i = 0; i < 59; ++i) before.loss();  // of 60 batches an epoch
  auto after = task_of(3, 5);                  // 80, and 48
  {
    const CapturedLog log;
    after.seek(before.position());
    CHECK(
        log.says("task 'brightness': the checkpoint stands at batch 59 of an epoch of replayed "
                 "windows, which has 48 here"));
    CHECK_FALSE(log.says("of new windows"));
  }
  const auto position = nlohmann::json::parse(after.position());
  CHECK(position["batch"] == 59);
  CHECK(position["replay_batch"] == 47);  // the last
  CHECK(after.loss().at("brightness").value.item<double>() > 0);
}

TEST_CASE("learn() lets success be measured on bundles, and keeps what solved most") {
  const TemporaryFolder folder;
  auto options = few_steps(20);
  options.training.success_every = 5;
  options.training.keep = Keep::highest_success;
  options.critic_training.success_every = 5;
  std::vector<bool> with_critic;
  const std::vector<double> script = {0.1, 0.9, 0.4, 0.3, 0.5, 0.6};
  LearnHooks hooks;
  hooks.success = [&](const std::filesystem::path& bundle) {
    const auto agent = Agent::load(bundle);
    with_critic.push_back(agent.critic() != nullptr);
    return script.at(with_critic.size() - 1);
  };
  const auto result = learn_silently(dataset_of(pushed_square()), options, folder / "run", hooks);
  INFO(result.message);
  REQUIRE(result.outcome == Outcome::finished);
  CHECK(result.world_model.kept_step == 10);
  CHECK(result.world_model.success == 0.3);
  CHECK(result.world_model.kept_success == 0.9);
  const auto told = io::read_json(folder / "run" / "bundle" / "config.json")["provenance"];
  CHECK(told["world_model"]["success"] == 0.9);  // of the weights in the bundle
  CHECK(told["critic"]["success"] == 0.6);
  CHECK(result.critic.success == 0.6);
  CHECK(with_critic == std::vector<bool>{false, false, false, false, true, true});
  CHECK_FALSE(std::filesystem::exists(folder / "run" / "candidate"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { learn_silently(dataset_of(pushed_square()), options, folder / "none"); },
      "measures planning success"));
}

}  // namespace foresight::train::continual_test
