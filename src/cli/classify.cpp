// SPDX-License-Identifier: Apache-2.0
// foresight classify: what a bundle's attentive probe reads off films, as JSON.
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "commands.hpp"
#include "foresight/core/error.hpp"
#include "foresight/data/video_reader.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "machine_flags.hpp"

namespace foresight::cli {
namespace {

constexpr int64_t kStep = 4;

struct ClassifyFlags {
  std::string bundle;
  std::vector<std::string> films;
  int64_t clips = 2, top = 5;
  std::optional<int64_t> step;
  MachineFlags machine;
};

// `count` frames `step` apart from the beginning of each of `clips` equal parts of a film; behind
// its end its last frame. uint8 [clips,count,H,W,3].
Tensor clips_of(data::VideoReader& film, int64_t clips, int64_t count, int64_t step) {
  std::vector<int64_t> indices;
  for (int64_t c = 0; c < clips; ++c)
    for (int64_t i = 0; i < count; ++i)
      indices.push_back(std::min(film.num_frames() * c / clips + i * step, film.num_frames() - 1));
  return film.frames(indices).unflatten(0, {clips, count});
}

// The likeliest classes, or all values; mean over clips [clips,outputs].
nlohmann::json reading_of(const Tensor& outputs, const models::AttentiveProbeOptions& probe,
                          int64_t top) {
  const auto mean = outputs.to(at::kCPU, at::kDouble).mean(0);
  auto answers = nlohmann::json::array();
  if (probe.reading == models::ProbeReading::values) {
    for (int64_t i = 0; i < probe.outputs; ++i)
      answers.push_back({{"name", probe.name_of(i)}, {"value", mean[i].item<double>()}});
    return answers;
  }
  const auto [share, number] = mean.topk(std::min(top, probe.outputs));
  for (int64_t i = 0; i < share.size(0); ++i) {
    const auto which = number[i].item<int64_t>();
    answers.push_back({{"class", which},
                       {"name", probe.name_of(which)},
                       {"probability", share[i].item<double>()}});
  }
  return answers;
}

void require_positive(int64_t value, const char* flag) {
  require(value >= 1, ErrorCategory::invalid_option,
          fmt::format("{} = {} must be >= 1", flag, value));
}

void classify_command(const ClassifyFlags& flags) {
  require_positive(flags.clips, "--clips");
  require_positive(flags.step.value_or(1), "--step");
  require_positive(flags.top, "--top");
  const auto device = flags.machine.apply();
  at::NoGradGuard no_grad;
  const auto bundle = io::read_bundle(flags.bundle);
  const auto model = models::read_vjepa2(bundle, io::Placement::share);
  const auto probe = models::read_attentive_probe(bundle);
  require(probe != nullptr, ErrorCategory::unsupported,
          flags.bundle +
              " holds no attentive probe: train one with `foresight train vjepa2_probe "
              "--backbone " +
              flags.bundle + "`, or import one with --probe");
  // What the probe was trained on, else what the published ones were.
  const auto& told = bundle.config.provenance;
  const auto step = flags.step.value_or(told.is_object() ? told.value("stride", kStep) : kStep);
  require_positive(step, "the bundle's stride");
  model->to(device);
  probe->to(device);
  auto results = nlohmann::json::array();
  for (const auto& name : flags.films) {
    data::VideoReader film(name);
    const auto clips = clips_of(film, flags.clips, model->options().encoder.frames, step);
    const auto tokens = model->encode(model->preprocess(clips.to(device)));
    results.push_back({{"film", name},
                       {"frames", film.num_frames()},
                       {"step", step},
                       {std::string(enum_name(probe->options().reading)),
                        reading_of(probe->predict(tokens), probe->options(), flags.top)}});
  }
  fmt::print("{}\n", results.dump(2));
}

}  // namespace

void add_classify(CLI::App& app) {
  auto flags = std::make_shared<ClassifyFlags>();
  auto* command = app.add_subcommand(
      "classify", "What a bundle's attentive probe reads off films: classes, or values");
  command->add_option("bundle", flags->bundle, "bundle of family vjepa2 with a probe")->required();
  command->add_option("films", flags->films, "video files")->required();
  command
      ->add_option("--clips", flags->clips,
                   "clips from equal parts of a film, whose answers are averaged")
      ->capture_default_str();
  command->add_option("--step", flags->step,
                      "frames from one of a clip to the next (default: as the bundle's probe was "
                      "trained, else 4)");
  command->add_option("--top", flags->top, "likeliest classes that are told")
      ->capture_default_str();
  flags->machine.add(*command);
  command->callback([flags] { classify_command(*flags); });
}

}  // namespace foresight::cli
