// SPDX-License-Identifier: Apache-2.0
// foresight train FAMILY: the families of train/learn_family.hpp, each with its own options.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <type_traits>
#include <vector>

#include "flags.hpp"
#include "foresight/core/log.hpp"
#include "foresight/data/first_episodes.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/models/lejepa_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/train/interrupt.hpp"
#include "foresight/train/learn_family.hpp"
#include "planning_success.hpp"
#include "reading_flags.hpp"
#include "sweep.hpp"
#include "train_run.hpp"

namespace foresight::cli {
namespace {

// EB-JEPA makes its data as needed.
template <class Options>
constexpr bool kRecorded = !std::is_same_v<Options, train::EbJepaLearnOptions>;

// Families whose success the environments can measure: they show pictures and nothing else.
template <class Options>
constexpr bool kPlansFromPictures =
    std::is_same_v<Options, train::DinoWmLearnOptions> || !kRecorded<Options>;

// Families whose published clips have so many frames a second, whatever the recordings' rate.
template <class Options>
constexpr bool kClipsByRate = std::is_same_v<Options, train::VJepa2LearnOptions> ||
                              std::is_same_v<Options, train::VJepa2AcLearnOptions>;

constexpr int64_t kUntold = 0;  // no stride at all

constexpr const char* kEbRooms = "eb_two_rooms";

// What success is measured by unless flags say otherwise: without recordings, problems that the
// environment draws.
template <class Options>
SuccessFlags usual_success() {
  SuccessFlags success;
  if constexpr (!kRecorded<Options>) {
    success.environment = kEbRooms;
    success.protocol = fmt::format("random/{}", envs::make_env(kEbRooms)->spec().problem_steps);
  }
  return success;
}

template <class Options>
struct FamilyFlags {
  RunFlags run;
  std::string data, preset, sweep;  // no preset: the first
  std::vector<std::string> states;
  ReadingFlags reading;
  ContinueFlags continued;
  SuccessFlags success = usual_success<Options>();
  OptionFlags options;
};

// What is said before the family's name is meant for no family.
void require_no_flags(const CLI::App& parent, const char* family) {
  for (const auto* option : parent.get_options())
    require(option->count() == 0, ErrorCategory::invalid_option,
            option->get_name() + " belongs behind the family's name: foresight train " + family +
                " " + option->get_name());
}

// Whether flags or the file of --config say how far apart the frames of a window are.
bool gives_stride(const OptionFlags& given) {
  static const nlohmann::json::json_pointer place("/windows/stride");
  return given.patch.contains(place) ||
         (!given.file.empty() && io::read_json(given.file).contains(place));
}

// `by_rate`: windows.stride is for the recordings' rate to decide, as a published preset was chosen
// and nothing else names one.
template <class Options>
struct Chosen {
  Options options;
  bool by_rate = false;
};

template <class Options>
Chosen<Options> chosen_options(const FamilyFlags<Options>& flags,
                               const std::vector<TrainingPreset<Options>>& presets,
                               const char* bundles) {
  auto defaults = preset_options(flags.preset, flags.options, presets);
  const bool published = kClipsByRate<Options> && !tells_a_run(flags.options.file) &&
                         !flags.preset.empty() && flags.preset != presets.front().name;
  auto given = with_unreadable(flags.options, flags.reading);
  const bool continues = !flags.continued.bundle.empty();
  bool by_rate = published && !gives_stride(given);
  if (continues) {
    require_no_model(given);
    if constexpr (kClipsByRate<Options>)
      if (by_rate) defaults.windows.stride = kUntold;
    take_from_bundle(defaults, flags.continued.bundle, bundles);
    if constexpr (kClipsByRate<Options>) {
      by_rate = by_rate && defaults.windows.stride == kUntold;
      if (by_rate) defaults.windows.stride = 1;
    }
  }
  constexpr bool kClips = std::is_same_v<Options, train::VJepa2LearnOptions>;
  if constexpr (kClips)  // as a preset that was asked for has them, else as the bundle
    if (continues && flags.preset.empty()) defaults.windows.frames = defaults.model.encoder.frames;
  if (!flags.run.steps.empty()) {
    const auto steps = flag_value(nlohmann::json(int64_t{1}), flags.run.steps, "--steps");
    scale_warmup(defaults.training, steps.template get<int64_t>());
    given.set("training.steps", steps);
  }
  auto options = overlaid(defaults, given, "learn");
  if constexpr (kClips)
    if (continues && train::takes_any_clip_length(options.model))
      options.model.encoder.frames = options.windows.frames;
  require_valid(options);
  return {options, by_rate};
}

// What the run in --out that goes on, or the sweep there, said of an option; null: nothing.
nlohmann::json told_before(const RunFlags& run, bool sweeps, const std::string& place) {
  if (!sweeps && !run.resume) return {};
  // One that began nothing starts anew, with what is asked for now.
  const std::filesystem::path out(run.out);
  if (!sweeps && !std::filesystem::exists(out / "checkpoints") &&
      !std::filesystem::exists(out / "bundle"))
    return {};
  const auto file = std::filesystem::path(run.out) / (sweeps ? "sweep.json" : "config.json");
  if (!std::filesystem::exists(file)) return {};
  const auto told = io::read_json(file);
  const nlohmann::json::json_pointer path((sweeps ? "/base" : "/learn") + place);
  return told.contains(path) ? told[path] : nlohmann::json();
}

// windows.stride of published clips, and says which; a run that goes on keeps its own.
int64_t stride_by_rate(const data::Dataset& dataset, const RunFlags& run, bool sweeps,
                       bool speaks) {
  if (const auto told = told_before(run, sweeps, "/windows/stride"); told.is_number_integer()) {
    if (speaks) fmt::print("windows.stride {}: as what is in {} began\n", told.dump(), run.out);
    return told.get<int64_t>();
  }
  const auto stride = train::vjepa2_clip_stride(dataset.fps());
  if (dataset.fps() > 0 && speaks)
    fmt::print("windows.stride {}: of {} rows a second, published clips have at most 4\n", stride,
               dataset.fps());
  if (dataset.fps() <= 0 && speaks)
    log(LogLevel::warning,
        fmt::format("{} tells no rate: windows.stride = {}, every row, where published clips have "
                    "4 a second; set --reading.fps or --windows.stride",
                    dataset.name(), stride));
  return stride;
}

// Where success is measured: with recordings, on pictures of their size; else in the rooms that the
// walks go through.
template <class Options>
PlanningGround ground_of(const Options& options, std::shared_ptr<const data::Dataset> dataset,
                         const SuccessFlags& success) {
  if constexpr (kRecorded<Options>)
    return planning_ground(std::move(dataset), success.environment);
  else
    return planning_ground(nullptr, success.environment,
                           {{"geometry", write_options(options.walks.geometry)}});
}

// Whether a training looks at state columns: no other may fail for want of some.
template <class Options>
bool reads_states(const Options& options) {
  if constexpr (requires { options.task.probe; })
    return options.task.probe.outputs() > 0;
  else
    return std::is_same_v<Options, train::DinoWmLearnOptions> ||
           std::is_same_v<Options, train::VJepa2AcLearnOptions> ||
           std::is_same_v<Options, train::VJepa2ProbeLearnOptions>;
}

// What all runs of one command share: the recordings are opened once.
template <class Options>
class FamilyTraining {
 public:
  FamilyTraining(const FamilyFlags<Options>& flags, const TrainingMachine& machine,
                 const Options& options)
      : flags_(flags), machine_(machine) {
    auto unreadable = data::Unreadable::fail;
    if constexpr (kRecorded<Options>) unreadable = options.loader.unreadable;
    const auto open = [&](const std::string& path, TrainedOn before) {
      auto states = flags.states;
      if (states.empty() && reads_states(options)) states = before.identity.observed_columns;
      if (!flags.states.empty()) before.reading.erase("states");
      return data::without_appended(
          flags.reading.open_as(before, path, {.states = states, .unreadable = unreadable}),
          before.identity);
    };
    const ResumedData before(flags.run, flags.continued.bundle);
    reading_ = flags.reading.kept(before.recordings.reading);
    if constexpr (kRecorded<Options>) {
      dataset_ = open(flags.data, before.recordings);
      if (machine.speaks()) print_data(*dataset_);
      std::fflush(stdout);
    }
    from_ =
        flags.continued.from([&](const std::string& path) { return open(path, before.replay); });
  }

  /// Null where data are made as needed.
  const data::Dataset* dataset() const { return dataset_.get(); }

  /// What a sweep is compared by besides its options.
  nlohmann::json setting() const {
    return sweep_setting(dataset_.get(), flags_.states, reading_, flags_.success);
  }

  train::LearnResult operator()(const Options& options, const train::RunFolder& folder) const {
    train::LearnHooks hooks;
    hooks.reducer = machine_.processes.get();
    hooks.reading = reading_.dump();
    if (from_) hooks.continuation = &*from_;
    if constexpr (kPlansFromPictures<Options>)
      if (options.training.success_every > 0) {
        hooks.success = success_of_bundles(ground_of(options, dataset_, flags_.success),
                                           flags_.success, machine_.device);
        hooks.success_setting = write_options(flags_.success).dump();
      }
    constexpr auto kProgress = train::ProgressStyle::automatic;
    if constexpr (kRecorded<Options>)
      return train::learn(dataset_, options, folder, machine_.device, kProgress, hooks);
    else
      return train::learn(options, folder, machine_.device, kProgress, hooks);
  }

 private:
  const FamilyFlags<Options>& flags_;
  const TrainingMachine& machine_;
  nlohmann::json reading_;
  std::shared_ptr<const data::Dataset> dataset_;
  std::optional<train::Continuation> from_;
};

template <class Options>
void train_family(const FamilyFlags<Options>& flags, Chosen<Options> chosen) {
  auto& options = chosen.options;
  const TrainingMachine machine(flags.run);
  require(!machine.processes || flags.sweep.empty(), ErrorCategory::invalid_option,
          "--sweep trains in one process: leave out WORLD_SIZE and --process-transport");
  print_start(flags.run, machine);
  const FamilyTraining<Options> training(flags, machine, options);
  if constexpr (kClipsByRate<Options>)
    if (chosen.by_rate)
      options.windows.stride =
          stride_by_rate(*training.dataset(), flags.run, !flags.sweep.empty(), machine.speaks());
  const train::InterruptGuard guard;
  if (flags.sweep.empty()) {
    print_run(training(options, {flags.run.out, flags.run.resume}), flags.run, machine);
    return;
  }
  const bool done = run_sweep(flags.sweep, flags.run.out, options, training.setting(),
                              [&](const Options& point, const std::filesystem::path& folder) {
                                return training(point, {folder, /*resume=*/true});
                              });
  if (done) return;
  fmt::print("interrupted; the same command goes on\n");
  end_interrupted();
}

// The first preset is the default; --help shows its values.
template <class Options>
void add_family(CLI::App& parent, const char* name, const char* bundles, const char* summary,
                const std::vector<TrainingPreset<Options>>& presets) {
  auto flags = std::make_shared<FamilyFlags<Options>>();
  auto* command = parent.add_subcommand(name, summary);
  command->footer(std::string());  // its parent's are of other options
  if constexpr (kRecorded<Options>) {
    command->add_option("--data", flags->data, "recorded data")->required();
    command
        ->add_option("--states", flags->states,
                     "state columns to read; by default those of the format")
        ->delimiter(',');
    flags->reading.add(*command, LoaderFlag::own);
    command->get_option("--states")->excludes("--reading.states");
  }
  if constexpr (kPlansFromPictures<Options>)
    flags->success.add(*command,
                       kRecorded<Options> ? envs::env_names() : std::vector<std::string>{kEbRooms});
  flags->run.add(*command, "training.steps, of which the preset's warm-up stays the same part");
  auto* sweep = command->add_option("--sweep", flags->sweep,
                                    "JSON grid {\"option.path\": [values], ...}: trains every "
                                    "combination in a folder of its own below --out");
  sweep->check(CLI::ExistingFile);
  flags->continued.add(*command);
  command->get_option("--continue")->excludes(sweep);
  add_preset(*command, flags->preset, presets);
  add_options(*command, presets.front().make(), flags->options, decided_options<Options>());
  if constexpr (kClipsByRate<Options>)
    add_note(*command,
             "--windows.stride: published presets take it from the recordings' rate, for clips of "
             "at most 4 frames a second, unless it is given or the bundle of --continue tells it.");
  if constexpr (kRecorded<Options>)
    command->get_option("--reading.unreadable")->excludes("--loader.unreadable");
  command->callback([flags, presets, name, bundles, &parent] {
    require_no_flags(parent, name);
    require_run_of(name, flags->options.file);
    train_family(*flags, chosen_options(*flags, presets, bundles));
  });
}

}  // namespace

void add_train_families(CLI::App& app) {
  using namespace train;
  add_family<DinoWmLearnOptions>(app, "dino_wm", models::kDinoWmFamily,
                                 "DINO-WM on a frozen image encoder",
                                 {{"small", DinoWmLearnOptions::small},
                                  {"dino_wm", DinoWmLearnOptions::dino_wm},
                                  {"adaln", DinoWmLearnOptions::adaln}});
  add_family<VJepa2LearnOptions>(app, "vjepa2", models::kVJepa2Family,
                                 "V-JEPA 2: a video encoder, from clips without actions",
                                 {{"tiny", VJepa2LearnOptions::tiny},
                                  {"large", VJepa2LearnOptions::large},
                                  {"huge", VJepa2LearnOptions::huge},
                                  {"giant", VJepa2LearnOptions::giant},
                                  {"cool_down", VJepa2LearnOptions::cool_down}});
  add_family<VJepa2ProbeLearnOptions>(
      app, "vjepa2_probe", models::kVJepa2Family,
      "an attentive probe on a frozen V-JEPA 2: a class or numbers, from labelled clips",
      {{"small", VJepa2ProbeLearnOptions::small},
       {"published", VJepa2ProbeLearnOptions::published}});
  add_family<VJepa2AcLearnOptions>(
      app, "vjepa2_ac", models::kVJepa2AcFamily,
      "V-JEPA 2-AC on a frozen video encoder, from a gripper's poses",
      {{"small", VJepa2AcLearnOptions::small}, {"vjepa2_ac", VJepa2AcLearnOptions::vjepa2_ac}});
  add_family<IJepaLearnOptions>(app, "ijepa", models::kVJepa2Family,
                                "I-JEPA: an image encoder, from pictures",
                                {{"tiny", IJepaLearnOptions::tiny},
                                 {"huge", IJepaLearnOptions::huge},
                                 {"huge_448", IJepaLearnOptions::huge_448},
                                 {"giant", IJepaLearnOptions::giant}});
  add_family<LeJepaLearnOptions>(app, "lejepa", models::kLeJepaFamily,
                                 "LeJEPA: an image encoder, from pictures, watched by a probe",
                                 {{"tiny", LeJepaLearnOptions::tiny},
                                  {"small", LeJepaLearnOptions::small},
                                  {"minimal", LeJepaLearnOptions::minimal}});
  add_family<EbJepaLearnOptions>(
      app, "eb_jepa", models::kEbJepaFamily, "EB-JEPA on Two Rooms, whose data are made as needed",
      {{"small", EbJepaLearnOptions::small}, {"two_rooms", EbJepaLearnOptions::two_rooms}});
}

}  // namespace foresight::cli
