// SPDX-License-Identifier: Apache-2.0
#include "train_run.hpp"

#include <ATen/Context.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/cuda.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <map>

#include "command_lines.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/train/interrupt.hpp"
#include "report_parts.hpp"

namespace foresight::cli {
namespace {

// What a stage of the training did, and of which weights that is told.
void print_stage(const char* name, const train::TrainResult& stage) {
  // What was never computed, as the loss of no steps, is left out.
  const auto figure = [](const char* what, double value) {
    return std::isnan(value) ? std::string() : fmt::format(", {} {:.4g}", what, value);
  };
  fmt::print("{}: {} steps, {:.1f} s ({:.2f} ms a step){}{}\n", name, stage.step, stage.seconds,
             stage.step_ms, figure("loss", stage.loss),
             figure("validation", stage.kept_validation_loss));
  if (std::isfinite(stage.kept_success))
    fmt::print("planning problems solved: {:.0f} %\n", 100 * stage.kept_success);
  if (stage.kept_step != stage.step && stage.outcome == train::Outcome::finished)
    fmt::print("weights kept: those of step {}{}\n", stage.kept_step,
               std::isfinite(stage.kept_validation_loss) || std::isfinite(stage.kept_success)
                   ? ", whose validation and success these are"
                   : "");
}

void print_stages(const train::LearnResult& result) {
  print_stage("world model", result.world_model);
  if (result.critic.step > 0) print_stage("cost-to-go", result.critic);
}

}  // namespace

void RunFlags::add(CLI::App& command, const char* steps_help) {
  command.add_option("--out", out, "run folder to write")->required();
  command.add_flag("--resume", resume, "go on where the run in --out stopped");
  command.add_option("--steps", steps, steps_help)->type_name("INT");
  command
      .add_option("--process-timeout", processes.timeout,
                  "seconds to wait for other processes (RANK, WORLD_SIZE, MASTER_ADDR, "
                  "MASTER_PORT, as torchrun sets them)")
      ->capture_default_str();
  std::map<std::string, train::Transport> transports;
  for (const auto& [name, transport] : EnumNames<train::Transport>::names)
    transports.emplace(name, transport);
  command
      .add_option("--process-transport", processes.transport,
                  "how processes exchange: automatic (nccl on GPUs where it is built in, else "
                  "gloo; one process not at all), gloo (several processes may share a GPU) or nccl "
                  "(on GPUs alone)")
      ->transform(CLI::CheckedTransformer(transports).description("{automatic,gloo,nccl}"))
      ->default_str("automatic");
  machine.add(command);
}

ResumedData::ResumedData(const RunFlags& flags, const std::string& bundle) {
  const auto file = std::filesystem::path(flags.out) / "config.json";
  if (!flags.resume || !std::filesystem::exists(file)) {
    if (bundle.empty()) return;
    const auto before = told_by_bundle(bundle).identity;
    for (auto* part : {&recordings.identity, &replay.identity}) {
      part->action_columns = before.action_columns;
      part->observed_columns = before.observed_columns;
    }
    return;
  }
  const auto config = io::read_json(file);
  recordings = told_by(config);
  recordings.reading.erase("unreadable");  // as --loader.unreadable says, which must be the same
  const auto origin = config.value("learn_on", nlohmann::json::object());
  if (const auto told = origin.find("replay"); told != origin.end() && told->is_object())
    replay.identity = data::identity_told(*told);
  replay.reading = recordings.reading;
}

void ContinueFlags::add(CLI::App& command) {
  command
      .add_option("--continue", bundle,
                  "learn on from this bundle; its model and action statistics stay as they are")
      ->check([](const std::string& path) {
        return path.empty() ? std::string("names no bundle") : std::string();
      });
  command.add_option("--replay", replay,
                     "with --continue: earlier recordings, rehearsed in every batch");
  command.add_option("--replay-share", share, "part of every batch that is replayed")
      ->check(CLI::Range(0.0, 1.0))
      ->default_str(fmt::format("{}", train::Continuation().share));
}

std::optional<train::Continuation> ContinueFlags::from(
    const std::function<std::shared_ptr<const data::Dataset>(const std::string&)>& open) const {
  require(replay.empty() || !bundle.empty(), ErrorCategory::invalid_option,
          "--replay belongs to --continue: there is nothing to forget otherwise");
  require(!share || !replay.empty(), ErrorCategory::invalid_option,
          "--replay-share is a part of batches with replayed recordings: name them with --replay");
  if (bundle.empty()) return std::nullopt;
  train::Continuation from{bundle, nullptr};
  if (share) from.share = *share;
  if (!replay.empty()) from.replay = open(replay);
  from.check();
  return from;
}

void require_no_model(const OptionFlags& given) {
  constexpr const char* kRule = " comes from the bundle of --continue: leave it out";
  require(!given.patch.contains("model"), ErrorCategory::invalid_option,
          std::string("--model.*") + kRule);
  if (given.file.empty()) return;
  const auto file = io::read_json(given.file);
  require(!file.is_object() || !file.contains("model"), ErrorCategory::invalid_option,
          given.file + ": 'model'" + kRule);
}

io::BundleConfig bundle_config_of(const std::string& bundle, const char* family) {
  auto config = io::read_bundle_config(bundle);
  require(config.family == family, ErrorCategory::unsupported,
          fmt::format("{}: model family '{}', expected '{}'",
                      (std::filesystem::path(bundle) / io::kBundleConfigFile).string(),
                      config.family, family));
  return config;
}

void add_preset(CLI::App& command, std::string& preset, const std::vector<std::string>& names) {
  command
      .add_option("--preset", preset,
                  "what the options below start from, shown as of " + names.front() +
                      "; not those of a run's config.json")
      ->check(CLI::IsMember(names))
      ->default_str(names.front());
}

bool tells_a_run(const std::string& file) {
  if (file.empty()) return false;
  const auto config = io::read_json(file);
  return config.is_object() && config.contains("learn");
}

void require_run_of(const std::string& family, const std::string& file) {
  if (!tells_a_run(file)) return;
  const auto told = io::read_json(file).value("family", std::string());
  const auto words = [](const std::string& name) {
    return name.empty() ? std::string("train") : "train " + name;
  };
  require(
      told == family, ErrorCategory::invalid_option,
      fmt::format("{} is of a run of `foresight {}`, whose options are not those of `foresight {}`",
                  file, words(told), words(family)));
}

OptionFlags with_unreadable(OptionFlags options, const ReadingFlags& reading) {
  const auto given = reading.over(nlohmann::json::object());
  if (given.contains("unreadable")) options.set("loader.unreadable", given["unreadable"]);
  return options;
}

void scale_warmup(train::TrainOptions& preset, int64_t steps) {
  auto& warmup = preset.schedule.warmup;
  warmup = static_cast<int64_t>(static_cast<double>(warmup) * static_cast<double>(steps) /
                                static_cast<double>(preset.steps));
}

TrainingMachine::TrainingMachine(const RunFlags& flags) {
  const auto launch = train::Launch::from_environment();
  device = flags.machine.apply();
  // Every batch has the shapes of the last: cuDNN tries its algorithms once instead of guessing.
  if (device.is_cuda()) at::globalContext().setBenchmarkCuDNN(true);
  auto options = flags.processes;
  const bool asked = options.transport != train::Transport::automatic;
  require(options.transport != train::Transport::nccl || device.is_cuda(),
          ErrorCategory::invalid_option,
          fmt::format("--process-transport nccl exchanges between GPUs, the device is {}: choose "
                      "--device cuda, or gloo",
                      device.str()));
  if (device.is_cpu()) options.transport = train::Transport::gloo;  // whatever GPUs are there
  if (launch.world_size > 1 || asked)
    processes =
        std::make_unique<train::DataParallel>(train::ProcessGroup::connect(launch, options));
  // Over Gloo several processes may share a GPU.
  if (processes && device.is_cuda() && !device.has_index())
    device.set_index(
        static_cast<c10::DeviceIndex>(launch.local_rank % torch::cuda::device_count()));
}

void print_start(const RunFlags& flags, const TrainingMachine& machine) {
  if (flags.resume && machine.speaks() &&
      !std::filesystem::exists(std::filesystem::path(flags.out) / "config.json") &&
      !std::filesystem::exists(std::filesystem::path(flags.out) / "sweep.json"))
    fmt::print("{} holds no run to go on with: a new one begins\n", flags.out);
}

void print_data(const data::Dataset& dataset) {
  const auto cameras = dataset.cameras();
  fmt::print("{}: {} episodes, {} frames of {}x{}{}\n", dataset.name(), dataset.num_episodes(),
             dataset.total_rows(), dataset.image_size().width, dataset.image_size().height,
             cameras.size() > 1 ? fmt::format(" of camera '{}', one of {}", dataset.camera(),
                                              fmt::join(cameras, ", "))
                                : std::string());
}

void end_interrupted() {
  const int signal = train::InterruptGuard::signal();
  throw CLI::RuntimeError(128 + (signal != 0 ? signal : SIGTERM));
}

void print_run(const train::LearnResult& result, const RunFlags& flags,
               const TrainingMachine& machine) {
  if (machine.speaks()) print_stages(result);
  const bool reported =
      machine.speaks() && write_training_report(flags.out, machine.device, result);
  if (result.outcome == train::Outcome::interrupted) {
    if (machine.speaks())
      fmt::print("{}; go on with the same command and --resume --config {} (in place of another)\n",
                 result.message, shell_word(flags.out + "/config.json"));
    end_interrupted();
  }
  require(result.outcome == train::Outcome::finished, ErrorCategory::non_finite, result.message);
  if (!machine.speaks()) return;
  if (!result.held_out.empty()) fmt::print("{}\n", result.held_out);
  if (result.continual) fmt::print("{}", train::summary(*result.continual));
  fmt::print("bundle: {} ({:.1f} s in all, {:.1f} s of it decoding)\n", result.bundle.string(),
             result.seconds, result.decode_seconds);
  if (reported)
    fmt::print("report: {}\n", (std::filesystem::path(flags.out) / "report.html").string());
  std::fflush(stdout);  // a signal that comes once the guard is gone ends the process as it stands
}

}  // namespace foresight::cli
