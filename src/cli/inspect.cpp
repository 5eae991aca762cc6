// SPDX-License-Identifier: Apache-2.0
// foresight inspect: what a data set, a bundle or a file of weights holds.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "commands.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/statistics.hpp"
#include "foresight/data/windows.hpp"
#include "foresight/io/hf_folder.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/io/weights.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::cli {
namespace {

// A folder of transformers has files of the same names; only a bundle's config has a schema.
bool is_bundle(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path / io::kBundleConfigFile) ||
      !std::filesystem::exists(path / io::kBundleTensorsFile))
    return false;
  const auto config = io::read_json(path / io::kBundleConfigFile);
  return config.is_object() && config.contains("schema");
}

bool is_weights(const std::filesystem::path& path) {
  return std::filesystem::is_regular_file(path) ||
         std::filesystem::exists(path / io::kHfTensorsFile) ||
         std::filesystem::exists(path / io::kHfIndexFile);
}

void inspect_weights(const std::string& path) {
  const auto weights = io::open_weights(path);
  int64_t numbers = 0;
  for (const auto& [name, tensor] : weights.tensors) numbers += tensor.numel();
  fmt::print("{}: {} tensors, {} numbers\n", weights.path.string(), weights.tensors.size(),
             numbers);
  std::string groups;
  for (const auto& group : weights.groups) groups += (groups.empty() ? "" : ", ") + group;
  if (!groups.empty()) fmt::print("groups: {}\n", groups);
  for (const auto& [name, tensor] : weights.tensors)
    fmt::print("{}  {} {}\n", name, c10::toString(tensor.scalar_type()),
               shape_string(tensor.sizes()));
}

void describe_jepa(const io::Bundle& bundle) {
  const auto model = models::read_jepa(bundle);
  const auto critic = models::read_value_critic(bundle);
  fmt::print("{} parameters{}\n", nn::parameter_count(*model),
             critic ? fmt::format(" and a cost-to-go of {}", nn::parameter_count(*critic))
                    : std::string());
  const auto& spec = model->spec();
  fmt::print("latent: {} tokens x {} channels\n", spec.tokens, spec.channels);
}

void inspect_bundle(const std::string& path) {
  const auto bundle = io::read_bundle(path);
  const auto& config = bundle.config;
  fmt::print("bundle of family '{}': {} tensors, history of {} frames\n", config.family,
             bundle.tensors.names().size(), config.history);
  if (config.family == models::kJepaFamily) describe_jepa(bundle);
  for (const auto& field : config.observation)
    fmt::print("observes '{}' {}\n", field.name, shape_string(field.shape));
  fmt::print("actions: {}\n", write_options(config.action).dump());
  fmt::print("provenance: {}\n", config.provenance.dump(2));
  fmt::print("planner: {}\n", config.planner.dump(2));
}

void inspect_dataset(const std::string& path) {
  const auto dataset = data::open_dataset(path);
  std::vector<int64_t> lengths;
  for (int64_t e = 0; e < dataset->num_episodes(); ++e) lengths.push_back(dataset->length(e));
  std::sort(lengths.begin(), lengths.end());
  fmt::print("{}: {} episodes, {} frames of {}x{} at {} per second\n", path, lengths.size(),
             dataset->total_rows(), dataset->image_size().width, dataset->image_size().height,
             dataset->fps());
  fmt::print("episode length: shortest {}, median {}, longest {}\n", lengths.front(),
             lengths[lengths.size() / 2], lengths.back());
  const auto short_ones = std::count_if(lengths.begin(), lengths.end(), [](int64_t length) {
    return length < data::WindowOptions{.frames = 5}.rows();
  });
  if (short_ones > 0)
    fmt::print("{} episodes are too short for a window of 5 frames, 5 rows apart\n", short_ones);
  fmt::print("last action of an episode: {}\n", dataset->last_action() == data::LastAction::artefact
                                                    ? "artefact of the recorder"
                                                    : "applied");
  const auto print_statistics = [&](const char* what, const std::vector<std::string>& columns,
                                    data::LastRow last) {
    if (columns.empty()) return;
    const auto statistics = data::column_statistics(*dataset, columns, last);
    for (std::size_t i = 0; i < columns.size(); ++i)
      fmt::print(
          "{} {:<12} mean {:>10.4f}  std {:>10.4f}  min {:>10.4f}  max {:>10.4f}  {} rows{}\n",
          what, columns[i], statistics.mean[i], statistics.std[i], statistics.min[i],
          statistics.max[i], statistics.count[i],
          statistics.missing[i] > 0 ? fmt::format(", {} missing", statistics.missing[i])
                                    : std::string());
  };
  print_statistics("action", dataset->action_columns(), data::LastRow::exclude);
  print_statistics("state ", dataset->state_columns(), data::LastRow::include);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto path = std::make_shared<std::string>();
  auto* command =
      app.add_subcommand("inspect", "Describe a data set, a bundle or a file of weights");
  command
      ->add_option("path", *path,
                   "folder of recordings, bundle, checkpoint (.pt, .safetensors, ...)")
      ->required();
  command->callback([path] {
    if (is_bundle(*path))
      inspect_bundle(*path);
    else if (is_weights(*path))
      inspect_weights(*path);
    else
      inspect_dataset(*path);
  });
}

}  // namespace foresight::cli
