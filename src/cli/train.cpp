// SPDX-License-Identifier: Apache-2.0
// foresight train: from recorded video to a bundle.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <memory>
#include <optional>

#include "commands.hpp"
#include "flags.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/train/data_parallel.hpp"
#include "foresight/train/interrupt.hpp"
#include "foresight/train/learn.hpp"
#include "machine_flags.hpp"
#include "planning_success.hpp"
#include "sweep.hpp"

namespace foresight::cli {
namespace {

struct TrainFlags {
  std::string data, out;
  bool resume = false;
  std::string steps, sweep, bundle, replay;
  double share = train::Continuation().share;
  SuccessFlags success;
  train::ProcessGroupOptions processes;
  MachineFlags machine;
  OptionFlags options;
};

void print_result(const train::LearnResult& result) {
  fmt::print("world model: {} steps, {:.1f} s ({:.1f} ms a step), loss {:.4g}, validation {:.4g}\n",
             result.world_model.step, result.world_model.seconds, result.world_model.step_ms,
             result.world_model.loss, result.world_model.validation_loss);
  if (result.critic.step > 0)
    fmt::print("cost-to-go: {} steps, {:.1f} s ({:.2f} ms a step), loss {:.4g}\n",
               result.critic.step, result.critic.seconds, result.critic.step_ms,
               result.critic.loss);
  for (const auto* stage : {&result.world_model, &result.critic}) {
    if (std::isfinite(stage->success))
      fmt::print("planning problems solved: {:.0f} %\n", 100 * stage->success);
    if (stage->kept_step != stage->step && stage->outcome == train::Outcome::finished)
      fmt::print("weights kept: those of step {}\n", stage->kept_step);
  }
}

// Options from flags and file; where learning goes on from a bundle, its own are the defaults.
train::LearnOptions options_of(const TrainFlags& flags) {
  auto given = flags.options;
  if (!flags.steps.empty())
    given.set("training.steps", flag_value(nlohmann::json(int64_t{1}), flags.steps, "--steps"));
  train::LearnOptions defaults;
  if (!flags.bundle.empty()) defaults.model = models::read_jepa(flags.bundle)->options();
  return resolve(defaults, given, "learn");
}

std::optional<train::Continuation> continuation_of(const TrainFlags& flags) {
  require(flags.replay.empty() || !flags.bundle.empty(), ErrorCategory::invalid_option,
          "--replay belongs to --continue: there is nothing to forget otherwise");
  if (flags.bundle.empty()) return std::nullopt;
  train::Continuation from{flags.bundle, nullptr, flags.share};
  if (!flags.replay.empty()) from.replay = data::open_dataset(flags.replay);
  from.check();
  return from;
}

// The processes that torchrun, srun or a loop started, of which this is one; null: it is alone.
std::unique_ptr<train::DataParallel> launched_processes(const TrainFlags& flags) {
  const auto launch = train::Launch::from_environment();
  if (launch.world_size == 1) return nullptr;
  require(flags.sweep.empty(), ErrorCategory::invalid_option,
          "--sweep trains in one process; WORLD_SIZE = " + std::to_string(launch.world_size));
  return std::make_unique<train::DataParallel>(
      train::ProcessGroup::connect(launch, flags.processes));
}

void train_command(const TrainFlags& flags) {
  const auto processes = launched_processes(flags);
  const bool speaks = !processes || processes->rank() == 0;
  auto device = flags.machine.apply();
  if (processes && device.is_cuda() && !device.has_index())
    device.set_index(static_cast<c10::DeviceIndex>(train::Launch::from_environment().local_rank));
  const auto options = options_of(flags);
  const auto from = continuation_of(flags);
  const auto dataset = data::open_dataset(flags.data);
  if (speaks)
    fmt::print("{}: {} episodes, {} frames of {}x{}\n", dataset->name(), dataset->num_episodes(),
               dataset->total_rows(), dataset->image_size().width, dataset->image_size().height);
  if (processes && speaks) fmt::print("{} processes share every batch\n", processes->world_size());
  std::fflush(stdout);

  const train::InterruptGuard guard;
  const auto learn = [&](const train::LearnOptions& chosen, const train::RunFolder& folder) {
    train::LearnHooks hooks;
    hooks.reducer = processes.get();
    if (chosen.training.success_every > 0 || chosen.critic_training.success_every > 0)
      hooks.success = success_of_bundles(planning_ground(dataset, flags.success.environment),
                                         flags.success, device);
    if (from) hooks.continuation = &*from;
    return train::learn(dataset, chosen, folder, device, train::ProgressStyle::automatic, hooks);
  };
  if (!flags.sweep.empty()) {
    const bool done =
        run_sweep(flags.sweep, flags.out, options,
                  [&](const train::LearnOptions& chosen, const std::filesystem::path& folder) {
                    return learn(chosen, {folder, /*resume=*/true});
                  });
    if (!done) fmt::print("interrupted; the same command goes on\n");
    return;
  }
  const auto result = learn(options, {flags.out, flags.resume});
  if (speaks) print_result(result);
  if (result.outcome == train::Outcome::interrupted) {
    if (speaks)
      fmt::print("{}; go on with the same command and --resume --config {}/config.json\n",
                 result.message, flags.out);
    return;
  }
  require(result.outcome == train::Outcome::finished, ErrorCategory::non_finite, result.message);
  if (!speaks) return;
  if (result.continual) fmt::print("{}", train::summary(*result.continual));
  fmt::print("bundle: {} ({:.1f} s in all, {:.1f} s of it decoding)\n", result.bundle.string(),
             result.seconds, result.decode_seconds);
}

}  // namespace

void add_train(CLI::App& app) {
  auto flags = std::make_shared<TrainFlags>();
  auto* command = app.add_subcommand("train", "Train a world model on recorded video and actions");
  command->add_option("--data", flags->data, "recorded data")->required();
  command->add_option("--out", flags->out, "run folder to write")->required();
  command->add_flag("--resume", flags->resume, "go on where the run in --out stopped");
  command->add_option("--steps", flags->steps, "the same as --training.steps");
  auto* sweep = command->add_option("--sweep", flags->sweep,
                                    "JSON grid {\"option.path\": [values], ...}: trains every "
                                    "combination in a folder of its own below --out");
  sweep->check(CLI::ExistingFile);
  auto* bundle = command->add_option("--continue", flags->bundle,
                                     "learn on from this bundle; its model and action statistics "
                                     "stay as they are");
  bundle->check(CLI::ExistingDirectory)->excludes(sweep);
  command->add_option("--replay", flags->replay,
                      "with --continue: earlier recordings, rehearsed in every batch");
  command->add_option("--replay-share", flags->share, "part of every batch that is replayed")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--process-timeout", flags->processes.timeout,
                   "seconds to wait for other processes (RANK, WORLD_SIZE, MASTER_ADDR, "
                   "MASTER_PORT, as torchrun sets them)")
      ->capture_default_str();
  flags->success.add(*command);
  flags->machine.add(*command);
  add_options(*command, train::LearnOptions{}, flags->options);
  command->callback([flags] { train_command(*flags); });
}

}  // namespace foresight::cli
