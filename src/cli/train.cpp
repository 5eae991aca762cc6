// SPDX-License-Identifier: Apache-2.0
// foresight train: from recorded video to a bundle.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.hpp"
#include "flags.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/train/interrupt.hpp"
#include "foresight/train/learn.hpp"
#include "machine_flags.hpp"

namespace foresight::cli {
namespace {

struct TrainFlags {
  std::string data, out;
  bool resume = false;
  std::string steps;
  MachineFlags machine;
  OptionFlags options;
};

void train_command(const TrainFlags& flags) {
  const auto device = flags.machine.apply();
  auto given = flags.options;
  if (!flags.steps.empty())
    given.set("training.steps", flag_value(nlohmann::json(int64_t{1}), flags.steps, "--steps"));
  const auto options = resolve(train::LearnOptions{}, given, "learn");
  const auto dataset = data::open_dataset(flags.data);
  fmt::print("{}: {} episodes, {} frames of {}x{}\n", dataset->name(), dataset->num_episodes(),
             dataset->total_rows(), dataset->image_size().width, dataset->image_size().height);
  std::fflush(stdout);

  const train::InterruptGuard guard;
  const auto result = train::learn(dataset, options, {flags.out, flags.resume}, device);
  fmt::print("world model: {} steps, {:.1f} s ({:.1f} ms a step), loss {:.4g}, validation {:.4g}\n",
             result.world_model.step, result.world_model.seconds, result.world_model.step_ms,
             result.world_model.loss, result.world_model.validation_loss);
  if (result.critic.step > 0)
    fmt::print("cost-to-go: {} steps, {:.1f} s ({:.2f} ms a step), loss {:.4g}\n",
               result.critic.step, result.critic.seconds, result.critic.step_ms,
               result.critic.loss);
  if (result.outcome == train::Outcome::interrupted) {
    fmt::print(
        "{}; go on with: foresight train --data {} --out {} --resume --config {}/config.json\n",
        result.message, flags.data, flags.out, flags.out);
    return;
  }
  require(result.outcome == train::Outcome::finished, ErrorCategory::non_finite, result.message);
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
  flags->machine.add(*command);
  add_options(*command, train::LearnOptions{}, flags->options);
  command->callback([flags] { train_command(*flags); });
}

}  // namespace foresight::cli
