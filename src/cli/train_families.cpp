// SPDX-License-Identifier: Apache-2.0
// foresight train FAMILY: the families of train/learn_family.hpp, each with its own options.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <type_traits>
#include <vector>

#include "camera_flag.hpp"
#include "flags.hpp"
#include "foresight/train/interrupt.hpp"
#include "foresight/train/learn_family.hpp"
#include "planning_success.hpp"
#include "train_run.hpp"

namespace foresight::cli {
namespace {

// Families whose success the environments can measure: they show pictures and nothing else.
template <class Options>
constexpr bool kPlansFromPictures = std::is_same_v<Options, train::DinoWmLearnOptions>;

template <class Options>
struct TrainingPreset {
  const char* name;
  Options (*make)();
};

template <class Options>
struct FamilyFlags {
  RunFlags run;
  std::string data, preset;
  std::vector<std::string> states;
  CameraFlag camera;
  SuccessFlags success;
  OptionFlags options;
};

// What is said before the family's name is meant for no family.
void require_no_flags(const CLI::App& parent, const char* family) {
  for (const auto* option : parent.get_options())
    require(option->count() == 0, ErrorCategory::invalid_option,
            option->get_name() + " belongs behind the family's name: foresight train " + family +
                " " + option->get_name());
}

template <class Options>
Options chosen_options(const FamilyFlags<Options>& flags,
                       const std::vector<TrainingPreset<Options>>& presets) {
  Options defaults;
  for (const auto& preset : presets)
    if (flags.preset == preset.name) defaults = preset.make();
  auto given = flags.options;
  if (!flags.run.steps.empty()) {
    const auto steps = flag_value(nlohmann::json(int64_t{1}), flags.run.steps, "--steps");
    // Warm-up is a part of the run's length.
    defaults.training.schedule.warmup =
        Options::recipe(steps.template get<int64_t>()).schedule.warmup;
    given.set("training.steps", steps);
  }
  return resolve(defaults, given, "learn");
}

template <class Options>
train::LearnResult family_result(const FamilyFlags<Options>& flags, const Options& options,
                                 const TrainingMachine& machine) {
  const train::RunFolder folder{flags.run.out, flags.run.resume};
  train::LearnHooks hooks;
  hooks.reducer = machine.processes.get();
  if constexpr (std::is_same_v<Options, train::EbJepaLearnOptions>) {
    const train::InterruptGuard guard;
    return train::learn(options, folder, machine.device, train::ProgressStyle::automatic, hooks);
  } else {
    const auto dataset = flags.camera.open(flags.data, {.states = flags.states});
    if (machine.speaks()) print_data(*dataset);
    std::fflush(stdout);
    if constexpr (kPlansFromPictures<Options>)
      if (options.training.success_every > 0)
        hooks.success = success_of_bundles(planning_ground(dataset, flags.success.environment),
                                           flags.success, machine.device);
    const train::InterruptGuard guard;
    return train::learn(dataset, options, folder, machine.device, train::ProgressStyle::automatic,
                        hooks);
  }
}

// The first preset is the default; --help shows its values.
template <class Options>
void add_family(CLI::App& parent, const char* name, const char* summary,
                const std::vector<TrainingPreset<Options>>& presets) {
  auto flags = std::make_shared<FamilyFlags<Options>>();
  auto* command = parent.add_subcommand(name, summary);
  if constexpr (!std::is_same_v<Options, train::EbJepaLearnOptions>) {
    command->add_option("--data", flags->data, "recorded data")->required();
    command
        ->add_option("--states", flags->states,
                     "state columns to read; by default those of the format")
        ->delimiter(',');
    flags->camera.add(*command);
    if constexpr (kPlansFromPictures<Options>) flags->success.add(*command);
  }
  flags->run.add(*command);
  std::vector<std::string> names;
  for (const auto& preset : presets) names.emplace_back(preset.name);
  flags->preset = names.front();
  command->add_option("--preset", flags->preset, "what the options below start from")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  add_options(*command, presets.front().make(), flags->options);
  command->callback([flags, presets, name, &parent] {
    require_no_flags(parent, name);
    const TrainingMachine machine(flags->run);
    print_run(family_result(*flags, chosen_options(*flags, presets), machine), flags->run, machine);
  });
}

}  // namespace

void add_train_families(CLI::App& app) {
  using namespace train;
  add_family<DinoWmLearnOptions>(app, "dino_wm", "DINO-WM on a frozen image encoder",
                                 {{"small", DinoWmLearnOptions::small},
                                  {"dino_wm", DinoWmLearnOptions::dino_wm},
                                  {"adaln", DinoWmLearnOptions::adaln}});
  add_family<VJepa2LearnOptions>(
      app, "vjepa2", "V-JEPA 2: a video encoder, from clips without actions",
      {{"tiny", VJepa2LearnOptions::tiny}, {"large", VJepa2LearnOptions::large}});
  add_family<VJepa2AcLearnOptions>(
      app, "vjepa2_ac", "V-JEPA 2-AC on a frozen video encoder, from a gripper's poses",
      {{"small", VJepa2AcLearnOptions::small}, {"vjepa2_ac", VJepa2AcLearnOptions::vjepa2_ac}});
  add_family<IJepaLearnOptions>(
      app, "ijepa", "I-JEPA: an image encoder, from pictures",
      {{"tiny", IJepaLearnOptions::tiny}, {"huge", IJepaLearnOptions::huge}});
  add_family<LeJepaLearnOptions>(
      app, "lejepa", "LeJEPA: an image encoder, from pictures, watched by a probe",
      {{"tiny", LeJepaLearnOptions::tiny}, {"small", LeJepaLearnOptions::small}});
  add_family<EbJepaLearnOptions>(
      app, "eb_jepa", "EB-JEPA on Two Rooms, whose data are made as needed",
      {{"small", EbJepaLearnOptions::small}, {"two_rooms", EbJepaLearnOptions::two_rooms}});
}

}  // namespace foresight::cli
