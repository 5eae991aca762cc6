// SPDX-License-Identifier: Apache-2.0
// foresight inspect: what a data set, a bundle or a file of weights holds.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "commands.hpp"
#include "described_probe.hpp"
#include "flags.hpp"
#include "foresight/control/safety_monitor.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/checksum.hpp"
#include "foresight/io/hf_folder.hpp"
#include "foresight/io/weights.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/models/world_models.hpp"
#include "foresight/nn/state_dict.hpp"
#include "inspect_data.hpp"

namespace foresight::cli {
namespace {

bool is_weights(const std::filesystem::path& path) {
  const auto extension = CLI::detail::to_lower(path.extension().string());
  // The last are of parts of a data set, which is opened by its folder: its reader says so.
  const std::vector<std::string> recordings = {
      ".h5",  ".hdf5", ".txt",  ".mp4",  ".mkv",   ".webm", ".avi",     ".mov", ".m4v",
      ".png", ".jpg",  ".jpeg", ".json", ".jsonl", ".csv",  ".parquet", ".npz"};
  const bool recording =
      std::find(recordings.begin(), recordings.end(), extension) != recordings.end();
  return (std::filesystem::is_regular_file(path) && !recording) ||
         std::filesystem::exists(path / io::kHfTensorsFile) ||
         std::filesystem::exists(path / io::kHfIndexFile) || io::is_weights_folder(path);
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

void describe_world_model(const io::Bundle& bundle) {
  const auto loaded = models::read_world_model(bundle, io::Placement::share);
  const auto critic = models::read_value_critic(bundle);
  fmt::print("{} parameters{}\n", nn::parameter_count(*loaded.module),
             critic ? fmt::format(" and a cost-to-go of {}", nn::parameter_count(*critic))
                    : std::string());
  const auto& spec = loaded.model->spec();
  fmt::print("latent: {} tokens x {} channels\n", spec.tokens, spec.channels);
  const auto& heads = bundle.config.heads;
  if (!heads.contains(kSurpriseHead)) return;
  SurpriseCalibration calibration;
  read_options(calibration, heads.at(kSurpriseHead), "heads.surprise");
  fmt::print("surprise: median {:.3g}, spread {:.3g} over {} held-out transitions\n",
             calibration.median, calibration.spread, calibration.transitions);
}

void inspect_bundle(const std::string& path) {
  const auto bundle = io::read_bundle(path);
  const auto& config = bundle.config;
  io::require_checksum(bundle.tensors);
  const auto imported = bundle.tensors.tensors(io::kImportedPrefix).size();
  fmt::print("bundle of family '{}': {} tensors{}, history of {} frames\n", config.family,
             bundle.tensors.names().size() - imported,
             imported > 0 ? fmt::format(" and {} in float64 for an export", imported) : "",
             config.history);
  const auto checksum = io::told_checksum(bundle.tensors);
  fmt::print("checksum: {}\n", checksum ? *checksum + ", and the tensors have it" : "none");
  const bool is_world_model = models::is_world_model(config.family);
  if (is_world_model) describe_world_model(bundle);
  if (const auto probe = models::attentive_probe_options(config, path))
    fmt::print("{}\n", described(*probe));
  for (const auto& field : config.observation)
    fmt::print("observes '{}' {}\n", field.name, shape_string(field.shape));
  if (is_world_model) fmt::print("actions: {}\n", write_options(config.action).dump());
  fmt::print("provenance: {}\n", config.provenance.dump(2));
  fmt::print("planner: {}\n", config.planner.dump(2));
}

}  // namespace

void add_inspect(CLI::App& app) {
  struct Flags {
    InspectDataFlags data;
    OptionFlags options;
  };
  auto flags = std::make_shared<Flags>();
  auto* command =
      app.add_subcommand("inspect", "Describe a data set, a bundle or a file of weights");
  command
      ->add_option("path", flags->data.path,
                   "recordings of any format that is read, bundle, checkpoint (.pt, ...)")
      ->required();
  flags->data.reading.add(*command, LoaderFlag::added);
  command->add_option("--sheet", flags->data.sheet, "recordings: write a contact sheet, *.png");
  add_options(*command, data::InspectionOptions{}, flags->options);
  command->callback([flags] {
    const auto& path = flags->data.path;
    if (io::is_bundle(path) &&
        std::filesystem::exists(std::filesystem::path(path) / io::kBundleTensorsFile))
      inspect_bundle(path);
    else if (is_weights(path))
      inspect_weights(path);
    else
      inspect_data(flags->data, resolve(data::InspectionOptions{}, flags->options));
  });
}

}  // namespace foresight::cli
