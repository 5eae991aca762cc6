// SPDX-License-Identifier: Apache-2.0
// What `foresight train` does alike for all families: where a run goes, how it meets other
// processes, and what is said at its end.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "foresight/core/options_json.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/train/data_parallel.hpp"
#include "foresight/train/learn_family.hpp"
#include "machine_flags.hpp"
#include "reading_flags.hpp"

namespace CLI {
class App;
}

namespace foresight::cli {

struct RunFlags {
  std::string out, steps;
  bool resume = false;
  train::ProcessGroupOptions processes;
  MachineFlags machine;

  /// `steps_help`: what --steps does besides setting training.steps.
  void add(CLI::App& command, const char* steps_help);
};

/// What the run in --out learned from, where --resume goes on with it: what flags leave out is as
/// it was. Of a new run that learns on from a bundle, the columns of that one alone; of another,
/// nothing is known. How they are read holds for both.
struct ResumedData {
  TrainedOn recordings, replay;

  ResumedData(const RunFlags& flags, const std::string& bundle);
};

/// Where learning goes on, and what is rehearsed.
struct ContinueFlags {
  std::string bundle, replay;
  std::optional<double> share;  ///< none: as Continuation has it

  void add(CLI::App& command);
  /// Nothing without --continue. `open`: recordings from a path. Throws Error(invalid_option).
  std::optional<train::Continuation> from(
      const std::function<std::shared_ptr<const data::Dataset>(const std::string&)>& open) const;
};

/// This process, the others that torchrun, srun or a loop started, and the device to compute on.
struct TrainingMachine {
  std::unique_ptr<train::DataParallel> processes;  ///< null: it is alone
  at::Device device = at::kCPU;

  explicit TrainingMachine(const RunFlags& flags);
  /// Whether this process is the one that writes and prints.
  bool speaks() const { return !processes || processes->rank() == 0; }
};

/// What --preset names.
template <class Options>
struct TrainingPreset {
  const char* name;
  Options (*make)();
};

/// Adds --preset, one of `names`, of which the first is the default.
void add_preset(CLI::App& command, std::string& preset, const std::vector<std::string>& names);

template <class Options>
void add_preset(CLI::App& command, std::string& preset,
                const std::vector<TrainingPreset<Options>>& presets) {
  std::vector<std::string> names;
  for (const auto& known : presets) names.emplace_back(known.name);
  add_preset(command, preset, names);
}

/// Whether the file of --config is a run's config.json, which lists every option that there was
/// when the run began. What it lacks came later: it is off in a plain Options(), and presets turn
/// it on, so that no preset of today must fill the gaps.
bool tells_a_run(const std::string& file);

/// Throws Error(invalid_option) where the file of --config tells a run of another family than
/// `family`, the word behind `train`; empty: none.
void require_run_of(const std::string& family, const std::string& file);

/// What the options of a training start from: the preset `name`, or the first.
template <class Options>
Options preset_options(const std::string& name, const OptionFlags& given,
                       const std::vector<TrainingPreset<Options>>& presets) {
  if (tells_a_run(given.file)) return {};
  for (const auto& preset : presets)
    if (preset.name == name) return preset.make();
  return presets.front().make();
}

/// `options` with --reading.unreadable, which is --loader.unreadable in `train`.
OptionFlags with_unreadable(OptionFlags options, const ReadingFlags& reading);

/// Warm-up is a part of the run's length: that which the preset made it.
void scale_warmup(train::TrainOptions& preset, int64_t steps);

/// Says so where --resume finds nothing to go on with, as of a folder that was misspelled.
void print_start(const RunFlags& flags, const TrainingMachine& machine);

/// "data: 20 episodes, 4000 frames of 64x64".
void print_data(const data::Dataset& dataset);

/// Ends the command as shells tell of an end by a signal: with 128 + its number. Call it while the
/// InterruptGuard is there. Of a signal that another process got, as by SIGTERM.
[[noreturn]] void end_interrupted();

/// What a finished run made. Throws Error(non_finite) for one that diverged; ends the command of
/// one that was interrupted, having said how to go on.
void print_run(const train::LearnResult& result, const RunFlags& flags,
               const TrainingMachine& machine);

void add_train_families(CLI::App& app);

/// config.json of a bundle of `family`. Throws Error(unsupported) for one of another.
io::BundleConfig bundle_config_of(const std::string& bundle, const char* family);

/// Families whose windows are as far apart as their model's action blocks are long.
template <class Options>
constexpr bool kStrideIsBlock = std::is_same_v<Options, train::LearnOptions> ||
                                std::is_same_v<Options, train::DinoWmLearnOptions>;

/// Options that `seed`, the data and other options decide, whatever they are set to: no flags.
template <class Options>
std::vector<std::string> decided_options() {
  std::vector<std::string> paths;
  if constexpr (requires(Options options) { options.loader; })
    paths = {"loader.seed", "loader.states"};
  if constexpr (kStrideIsBlock<Options>)
    for (const auto* field : {"dim", "block", "mean", "std", "discrete"})
      paths.push_back(std::string("model.action.") + field);
  if constexpr (std::is_same_v<Options, train::LearnOptions>) paths.emplace_back("critic.latent");
  return paths;
}

/// Throws Error(invalid_option) where flags or the file of --config name options of a model that
/// comes from the bundle of --continue. A run's config.json tells those that the run went on from.
void require_no_model(const OptionFlags& given);

/// The options of the model in a bundle over `defaults`, and what its training said of its windows,
/// but for their frames: clips stay as long as they are. The weights are not read. Throws
/// Error(unsupported) for a bundle of another family than `family`.
template <class Options>
void take_from_bundle(Options& defaults, const std::string& bundle, const char* family) {
  const auto config = bundle_config_of(bundle, family);
  if constexpr (requires { defaults.model; }) {
    // What a bundle of an earlier version lacks is not a preset's to fill.
    std::decay_t<decltype(defaults.model)> model;
    read_options(model, config.options, bundle + ": options");
    defaults.model = model;
  }
  if constexpr (std::is_same_v<Options, train::VJepa2ProbeLearnOptions>) {
    models::VJepa2Options network;
    read_options(network, config.options, bundle + ": options");
    defaults.windows.frames = network.encoder.frames;
    train::take_probe(defaults, config, bundle);
  }
  if constexpr (requires { defaults.model.action; }) defaults.model.action = config.action;
  if constexpr (requires { defaults.model.history; }) defaults.model.history = config.history;
  if constexpr (requires { defaults.backbone; }) defaults.backbone = bundle;
  if constexpr (requires { defaults.windows; }) {
    const auto& told = config.provenance;
    if (told.is_object() && told.contains("stride") && told["stride"].is_number_integer())
      defaults.windows.stride = told["stride"].template get<int64_t>();
  }
  if constexpr (kStrideIsBlock<Options>) defaults.windows.stride = defaults.model.action.block;
  if constexpr (requires { defaults.image_size; }) defaults.image_size = 0;  // a preset's
}

}  // namespace foresight::cli
