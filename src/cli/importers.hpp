// SPDX-License-Identifier: Apache-2.0
// The families that `foresight import` and `foresight export` know: a line each.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "foresight/io/bundle.hpp"
#include "foresight/io/hf_folder.hpp"
#include "foresight/io/weights.hpp"
#include "foresight/models/lewm_import.hpp"
#include "reading_flags.hpp"

namespace CLI {
class App;
}

namespace foresight::cli {

/// What every `foresight import FAMILY` takes.
struct ImportFlags {
  std::string from, out;
  std::string group;                ///< of a checkpoint that holds several state dicts
  std::vector<std::string> ignore;  ///< prefixes of tensors that are no part of the model

  void add(CLI::App& command);
  /// add() without the choice of tensors, for families whose files have known parts.
  void add_files(CLI::App& command);
  /// Opens `path`, which is read. Throws Error(invalid_option) where writing `out` would replace
  /// it.
  io::Weights open(const std::string& path) const;
  /// The chosen state dict without wrappers, which all names have or all but ignored ones, and
  /// ignored tensors. Prints what was chosen.
  io::NamedTensors tensors(const io::Weights& weights) const;
};

/// --data, recordings that tell statistics which weights do not, and --reading.*, how it is read.
struct ImportData {
  std::string path;
  ReadingFlags reading;

  void add(CLI::App& command, const std::string& help);
  /// Whether --data is. Throws Error(invalid_option) where only its way of reading is.
  bool given() const;
  std::shared_ptr<const data::Dataset> open() const { return reading.open(path); }
};

/// `foresight import NAME`.
struct Importer {
  const char* name;
  const char* summary;
  void (*add)(CLI::App& command);  ///< options and callback
};
std::span<const Importer> importers();

/// `foresight export` of bundles of `family`.
struct Exporter {
  const char* family;
  std::span<const char* const> layouts;  ///< of names, beside kAsImported
  /// The bundle's tensors under upstream's names in one of `layouts`, or kAsImported.
  io::NamedTensors (*tensors)(const io::Bundle& bundle, const std::string& layout);
};
inline constexpr const char* kAsImported = "as_imported";

/// Key of a bundle's provenance: the layout of the names that it was imported from.
inline constexpr const char* kSourceLayout = "source_layout";
/// Its value for the files of a project's own code, where there are others by transformers.
inline constexpr const char* kOwnLayout = "original";
std::span<const Exporter> exporters();

/// Writes an imported bundle with a note of where it came from, and prints what it is. `read`: the
/// file's tensors that the model was made of and no others, under the names that an export gives
/// them.
void write_imported(models::UnwrittenBundle bundle, const ImportFlags& flags,
                    const io::Weights& weights, const io::NamedTensors& read);

/// The folder of transformers that `from` is or whose model.safetensors it names; nothing where no
/// config.json tells a model_type, and for other files, of which a folder may have one: what lies
/// beside one says nothing about it.
std::optional<io::HfFolder> hf_folder_of(const std::string& from, const io::Weights& weights);

/// Throws Error(invalid_option), naming them and `flag`, where the state dict `group` of `weights`
/// holds several encoders of DINOv2's names, as a training's flat file a student and its teacher,
/// and `ignore` (ImportFlags::ignore) leaves more than one.
void require_one_encoder(const io::Weights& weights, const std::string& group, const char* flag,
                         const std::vector<std::string>& ignore = {});

/// Fills dim, mean and std from the recordings in `data` that the model was trained on. Throws
/// Error(invalid_option) if they were given as well.
void measure_actions(ActionSpace& action, const ImportData& data);

void add_lewm_import(CLI::App& command);
void add_vit_import(CLI::App& command);
void add_dino_wm_import(CLI::App& command);
void add_eb_jepa_import(CLI::App& command);
void add_vjepa2_import(CLI::App& command);
void add_ijepa_import(CLI::App& command);
void add_vjepa2_ac_import(CLI::App& command);

}  // namespace foresight::cli
