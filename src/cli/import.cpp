// SPDX-License-Identifier: Apache-2.0
// foresight import: a checkpoint of another project becomes a bundle.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <optional>

#include "commands.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/statistics.hpp"
#include "foresight/models/world_models.hpp"
#include "importers.hpp"
#include "stored_types.hpp"

namespace foresight::cli {
namespace {

constexpr std::array kImporters{
    Importer{"lewm", "LeWM and PLDM of stable-worldmodel", add_lewm_import},
    Importer{"dino_wm", "DINO-WM, and PreJEPA of stable-worldmodel", add_dino_wm_import},
    Importer{"eb_jepa", "EB-JEPA with actions: training checkpoint", add_eb_jepa_import},
    Importer{"vit", "image encoders: folders of ViT, I-JEPA and DINOv2, or DINOv2's own file",
             add_vit_import},
    Importer{"vjepa2", "V-JEPA 2: original checkpoint or Hugging Face folder", add_vjepa2_import},
    Importer{"ijepa", "I-JEPA: original checkpoint (a Hugging Face folder: vit)", add_ijepa_import},
    Importer{"vjepa2_ac", "V-JEPA 2-AC: original checkpoint", add_vjepa2_ac_import},
};

int64_t numbers_in(const io::NamedTensors& tensors) {
  int64_t count = 0;
  for (const auto& [name, tensor] : tensors) count += tensor.numel();
  return count;
}

// "float32 303, int64 4"
std::string types_of(const io::NamedTensors& tensors) {
  std::map<std::string, int> types;
  for (const auto& [name, tensor] : tensors) ++types[c10::toString(tensor.scalar_type())];
  std::string text;
  for (const auto& [type, count] : types)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", type, count);
  return text;
}

// Whether all floating-point numbers are float32, whatever they were in a file.
bool in_float32(const io::NamedTensors& tensors) {
  return std::all_of(tensors.begin(), tensors.end(), [](const auto& item) {
    return !item.second.is_floating_point() || item.second.scalar_type() == at::kFloat;
  });
}

}  // namespace

std::span<const Importer> importers() { return kImporters; }

std::optional<io::HfFolder> hf_folder_of(const std::string& from, const io::Weights& weights) {
  const std::filesystem::path path = from;
  const bool whole = std::filesystem::is_directory(path);
  const auto folder = whole ? path : path.has_parent_path() ? path.parent_path() : ".";
  const auto has = [&](const char* name) { return std::filesystem::exists(folder / name); };
  const bool safe = has(io::kHfTensorsFile) || has(io::kHfIndexFile);  // read before a pickle
  const bool is_whole_model = whole ? safe || has(io::kHfPickleFile)
                                    : path.filename() == io::kHfTensorsFile ||
                                          (path.filename() == io::kHfPickleFile && !safe);
  if (!is_whole_model) return std::nullopt;
  const auto config = weights.config();
  if (!config.is_object() || !config.contains("model_type")) return std::nullopt;
  return io::read_hf_folder(folder);
}

void measure_actions(ActionSpace& action, const ImportData& data) {
  require(action.mean.empty() && action.std.empty(), ErrorCategory::invalid_option,
          "--data and --action.mean or --action.std both give the statistics of actions: leave one "
          "out");
  const auto dataset = data.open();
  const auto measured = data::action_space(*dataset, action.block);
  action.dim = measured.dim;
  action.mean = measured.mean;
  action.std = measured.std;
  fmt::print("actions: mean and std of {} rows of {}\n", dataset->total_rows(), data.path);
}

void ImportData::add(CLI::App& command, const std::string& help) {
  command.add_option("--data", path, help);
  reading.add(command, LoaderFlag::own);
}

bool ImportData::given() const {
  require(!path.empty() || (reading.camera.empty() && reading.given.patch.empty()),
          ErrorCategory::invalid_option,
          "--reading.*, --camera and --states say how --data is read, which is not given");
  return !path.empty();
}

void ImportFlags::add_files(CLI::App& command) {
  command.add_option("from", from, "file (.safetensors, .pt, .pth, .ckpt) or folder")->required();
  command.add_option("--out", out, "bundle to write")->required();
}

void ImportFlags::add(CLI::App& command) {
  add_files(command);
  command.add_option("--group", group,
                     "which state dict of a checkpoint with several, e.g. state_dict, or which "
                     "names of a flat one (teacher.*), e.g. teacher");
  command
      .add_option("--ignore", ignore,
                  "leave out tensors whose names begin with this (losses, probes); repeatable")
      ->delimiter(',');
}

io::Weights ImportFlags::open(const std::string& path) const {
  auto weights = io::open_weights(path);
  const auto folder = weights.path.has_parent_path() ? weights.path.parent_path() : ".";
  std::error_code none;  // `out` may not exist
  require(!std::filesystem::equivalent(folder, out, none), ErrorCategory::invalid_option,
          "--out " + out + ": holds '" + weights.path.filename().string() +
              "', which is read and would be replaced; give another folder");
  return weights;
}

io::NamedTensors ImportFlags::tensors(const io::Weights& weights) const {
  auto tensors = io::without_wrappers(
      io::without(io::without_wrappers(weights.model(group, "--group")), ignore));
  const auto left_out = weights.tensors.size() - tensors.size();
  fmt::print("{}: {} tensors ({})", weights.path.string(), tensors.size(), types_of(tensors));
  if (left_out > 0) fmt::print(", {} others left out", left_out);
  fmt::print("\n");
  return tensors;
}

void write_imported(models::UnwrittenBundle bundle, const ImportFlags& flags,
                    const io::Weights& weights, const io::NamedTensors& read) {
  auto& imported = bundle.config.provenance["imported"];
  imported = {{"file", weights.path.filename().string()},
              {"bytes", std::filesystem::file_size(weights.path)},
              {"version", FORESIGHT_VERSION}};
  const auto numbers = numbers_in(bundle.tensors);
  int64_t rounded = 0;
  if (in_float32(bundle.tensors)) {
    add_stored_types(imported, read);
    rounded = keep_rounded(bundle.tensors, read);
  }
  if (!flags.group.empty()) imported["group"] = flags.group;
  if (!flags.ignore.empty()) imported["ignored"] = flags.ignore;
  io::write_bundle(flags.out, bundle.config, bundle.tensors);
  if (rounded > 0)
    fmt::print(
        "types: the model computes in float32, which rounds {} tensors of float64; the bundle "
        "keeps these too, for an export\n",
        rounded);
  if (models::is_world_model(bundle.config.family))
    fmt::print("actions: {}\n", write_options(bundle.config.action).dump());
  if (bundle.config.options.contains("image"))
    fmt::print("pictures: {}\n", bundle.config.options["image"].dump());
  fmt::print("bundle: {} of family '{}', {} numbers, history {}\n", flags.out, bundle.config.family,
             numbers, bundle.config.history);
}

void add_import(CLI::App& app) {
  auto* command =
      app.add_subcommand("import", "Turn a checkpoint of another project into a bundle");
  command->require_subcommand(1);
  for (const auto& importer : importers())
    importer.add(*command->add_subcommand(importer.name, importer.summary));
}

}  // namespace foresight::cli
