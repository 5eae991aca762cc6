// SPDX-License-Identifier: Apache-2.0
// foresight record: episodes of a built-in environment as video and tables.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <limits>
#include <memory>

#include "commands.hpp"
#include "foresight/core/error.hpp"
#include "foresight/core/fnv1a.hpp"
#include "foresight/data/episode_writer.hpp"
#include "foresight/envs/recording.hpp"
#include "foresight/envs/registry.hpp"
#include "foresight/train/progress.hpp"

namespace foresight::cli {
namespace {

struct RecordFlags {
  std::string env = "two_room", policy = "expert", out;
  data::TargetFormat format = data::TargetFormat::folder;
  int64_t episodes = 240, seed = 0, size = 64, crf = 12;
};

// In float64, which has the digits of any simulator's state.
data::RecordedFeature numbered(const char* name, const char* stem, int64_t count) {
  data::RecordedFeature feature{name, {}, at::kDouble};
  for (int64_t i = 0; i < count; ++i) feature.columns.push_back(fmt::format("{}_{}", stem, i));
  return feature;
}

data::RecordingOptions recording_options(const RecordFlags& flags, const envs::EnvSpec& spec) {
  data::RecordingOptions options;
  options.video.fps = spec.fps;
  options.video.crf = flags.crf;
  if (flags.format == data::TargetFormat::folder)
    options.video.key_interval = data::VideoWriterOptions().key_interval;
  options.cameras = {"pixels"};
  options.features = {numbered("action", "action", spec.action.dim),
                      numbered("observation.state", "state", std::ssize(spec.state_names)),
                      {"distance", {"distance"}, at::kDouble},
                      {"terminated", {"terminated"}, at::kBool},
                      {"truncated", {"truncated"}, at::kBool}};
  options.last_action = data::LastAction::artefact;
  options.notes = {{"environment", flags.env},
                   {"policy", flags.policy},
                   {"recorder", fmt::format("foresight {}", FORESIGHT_VERSION)},
                   {"seed", std::to_string(flags.seed)}};
  return options;
}

// Of an episode that is added: to go on behind others, by hand or with another seed, must not
// record any of them again.
std::uint64_t seed_of(const RecordFlags& flags, int64_t first, int64_t i) {
  if (first == 0)
    return static_cast<std::uint64_t>(flags.seed) * static_cast<std::uint64_t>(flags.episodes) +
           static_cast<std::uint64_t>(i);
  Fnv1a hash;
  hash.add(flags.seed);
  hash.add(first + i);
  return hash.value();
}

// Those whose pictures a video can hold.
std::vector<std::string> pictured_envs() {
  auto names = envs::env_names();
  std::erase_if(
      names, [](const auto& name) { return envs::make_env(name)->spec().picture_planes != 0; });
  return names;
}

void record(const RecordFlags& flags) {
  const auto env = envs::make_env(flags.env);
  const auto policy = envs::make_policy(flags.policy);
  const auto writer =
      data::open_episode_writer(flags.out, flags.format, recording_options(flags, env->spec()));
  const int64_t first = writer->next_episode();

  train::Progress progress("record", flags.episodes);
  int64_t rows = 0, reached = 0;
  for (int64_t i = 0; i < flags.episodes; ++i) {
    const auto episode = envs::record_episode(*env, *policy, seed_of(flags, first, i), flags.size);
    const auto length = episode.length();
    const auto last_row = [&](bool value) {
      auto rows = at::zeros({length}, at::kBool);
      rows.select(0, length - 1).fill_(value);
      return rows;
    };
    writer->write_episode({.frames = {{"pixels", episode.frames}},
                           .values = {{"action", episode.actions},
                                      {"observation.state", episode.states},
                                      {"distance", episode.distances},
                                      {"terminated", last_row(episode.terminated)},
                                      {"truncated", last_row(episode.truncated)}},
                           .texts = {},
                           .task = {}});
    rows += length;
    reached += episode.terminated ? 1 : 0;
    progress.update(i + 1, 1, fmt::format("{} frames", rows));
  }
  writer->finish();
  fmt::print("recorded {} episodes, {} frames of {}x{} pixels, in {}; {} reached their goal\n",
             flags.episodes, rows, flags.size, flags.size, flags.out, reached);
}

}  // namespace

void add_record(CLI::App& app) {
  auto flags = std::make_shared<RecordFlags>();
  auto* command = app.add_subcommand("record", "Record episodes of a built-in environment");
  command->add_option("--env", flags->env, "environment, of those that draw camera pictures")
      ->check(CLI::IsMember(pictured_envs()))
      ->capture_default_str();
  command
      ->add_option("--policy", flags->policy,
                   "who acts: at random, standing still, straight at the goal, or an expert of "
                   "two_room that knows its door, by default with noise, or exact")
      ->check(CLI::IsMember(envs::policy_names()))
      ->capture_default_str();
  command->add_option("--episodes", flags->episodes, "number of episodes")
      ->check(CLI::Range(int64_t{1}, int64_t{1000000}))
      ->capture_default_str();
  command
      ->add_option(
          "--seed", flags->seed,
          "seed of starts, goals and actions; with the same --episodes another seed shares "
          "no episode")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--size", flags->size, "side of the frames, pixels (even)")
      ->check(CLI::Range(int64_t{16}, int64_t{1024}))
      ->capture_default_str();
  command->add_option("--crf", flags->crf, "H.264 quality, 0 (best) to 51")
      ->check(CLI::Range(int64_t{0}, int64_t{51}))
      ->capture_default_str();
  command
      ->add_option_function<std::string>(
          "--format",
          [flags](const std::string& name) {
            for (const auto& [text, format] : EnumNames<data::TargetFormat>::names)
              if (text == name) flags->format = format;
          },
          "folder: videos and tables; lerobot: LeRobot v3.0")
      ->check(CLI::IsMember({"folder", "lerobot"}))
      ->default_str("folder");
  command->add_option("--out", flags->out, "folder to write; episodes are added to one that exists")
      ->required();
  command->callback([flags] { record(*flags); });
}

}  // namespace foresight::cli
