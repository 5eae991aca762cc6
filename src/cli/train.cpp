// SPDX-License-Identifier: Apache-2.0
// foresight train: from recorded video to a bundle.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <vector>

#include "commands.hpp"
#include "flags.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/first_episodes.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/train/interrupt.hpp"
#include "foresight/train/learn.hpp"
#include "planning_success.hpp"
#include "reading_flags.hpp"
#include "sweep.hpp"
#include "train_run.hpp"

namespace foresight::cli {
namespace {

struct TrainFlags {
  RunFlags run;
  std::string data, preset, sweep;
  ReadingFlags reading;
  ContinueFlags continued;
  SuccessFlags success;
  OptionFlags options;
};

// The first is the default.
std::vector<TrainingPreset<train::LearnOptions>> presets() {
  return {{"small", train::LearnOptions::small},
          {"lewm", train::LearnOptions::lewm},
          {"pldm", train::LearnOptions::pldm}};
}

// Options from flags, file and preset; where learning goes on from a bundle, its model's are its
// own.
train::LearnOptions options_of(const TrainFlags& flags) {
  require_run_of("", flags.options.file);
  auto given = with_unreadable(flags.options, flags.reading);
  auto defaults = preset_options(flags.preset, given, presets());
  if (!flags.run.steps.empty()) {
    const auto steps = flag_value(nlohmann::json(int64_t{1}), flags.run.steps, "--steps");
    const bool published = !flags.preset.empty() && flags.preset != presets().front().name;
    if (published) scale_warmup(defaults.training, steps.get<int64_t>());
    given.set("training.steps", steps);
  }
  const bool continues = !flags.continued.bundle.empty();
  if (continues) require_no_model(given);
  if (continues) take_from_bundle(defaults, flags.continued.bundle, models::kJepaFamily);
  return resolve(defaults, given, "learn");
}

void train_command(const TrainFlags& flags) {
  const TrainingMachine machine(flags.run);
  const bool speaks = machine.speaks();
  require(!machine.processes || flags.sweep.empty(), ErrorCategory::invalid_option,
          "--sweep trains in one process: leave out WORLD_SIZE and --process-transport");
  print_start(flags.run, machine);
  const auto options = options_of(flags);
  const auto open = [&](const std::string& path, const TrainedOn& before) {
    return data::without_appended(
        flags.reading.open_as(before, path, {.unreadable = options.loader.unreadable}),
        before.identity);
  };
  const ResumedData before(flags.run, flags.continued.bundle);
  const auto reading = flags.reading.kept(before.recordings.reading);
  const auto from =
      flags.continued.from([&](const std::string& path) { return open(path, before.replay); });
  const auto dataset = open(flags.data, before.recordings);
  if (speaks) print_data(*dataset);
  const auto count = machine.processes ? machine.processes->world_size() : 0;
  if (speaks && count > 1) fmt::print("{} processes share every batch\n", count);
  if (speaks && count == 1)
    fmt::print("one process exchanges with itself over {}\n",
               enum_name(flags.run.processes.transport));
  std::fflush(stdout);

  const train::InterruptGuard guard;
  const auto learn = [&](const train::LearnOptions& chosen, const train::RunFolder& folder) {
    train::LearnHooks hooks;
    hooks.reducer = machine.processes.get();
    hooks.reading = reading.dump();
    if (chosen.training.success_every > 0 || chosen.critic_training.success_every > 0) {
      hooks.success = success_of_bundles(planning_ground(dataset, flags.success.environment),
                                         flags.success, machine.device);
      hooks.success_setting = write_options(flags.success).dump();
    }
    if (from) hooks.continuation = &*from;
    return train::learn(dataset, chosen, folder, machine.device, train::ProgressStyle::automatic,
                        hooks);
  };
  if (!flags.sweep.empty()) {
    const bool done =
        run_sweep(flags.sweep, flags.run.out, options,
                  sweep_setting(dataset.get(), {}, reading, flags.success),
                  [&](const train::LearnOptions& chosen, const std::filesystem::path& folder) {
                    return learn(chosen, {folder, /*resume=*/true});
                  });
    if (done) return;
    fmt::print("interrupted; the same command goes on\n");
    end_interrupted();
  }
  print_run(learn(options, {flags.run.out, flags.run.resume}), flags.run, machine);
}

}  // namespace

void add_train(CLI::App& app) {
  auto flags = std::make_shared<TrainFlags>();
  auto* command = app.add_subcommand(
      "train",
      "Train a world model on recorded video and actions: LeWM, PLDM or the small model, or the "
      "family that is named (below, as `foresight train dino_wm`)");
  command->add_option("--data", flags->data, "recorded data; needed without a family");
  flags->run.add(*command,
                 "training.steps, of which a published preset's warm-up stays the same part");
  command
      ->get_option("--out")  // a family has its own
      ->required(false)
      ->description("run folder to write; needed without a family");
  auto* sweep = command->add_option("--sweep", flags->sweep,
                                    "JSON grid {\"option.path\": [values], ...}: trains every "
                                    "combination in a folder of its own below --out");
  sweep->check(CLI::ExistingFile);
  flags->reading.add(*command, LoaderFlag::own);
  flags->continued.add(*command);
  command->get_option("--continue")->excludes(sweep);
  flags->success.add(*command);
  add_preset(*command, flags->preset, presets());
  add_options(*command, train::LearnOptions{}, flags->options,
              decided_options<train::LearnOptions>());
  command->get_option("--reading.unreadable")->excludes("--loader.unreadable");
  command->require_subcommand(0, 1);
  add_train_families(*command);
  command->callback([flags, command] {
    if (!command->get_subcommands().empty()) return;
    for (const auto* name : {"--data", "--out"})
      if (command->count(name) == 0) throw CLI::RequiredError(name);
    train_command(*flags);
  });
}

}  // namespace foresight::cli
