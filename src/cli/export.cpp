// SPDX-License-Identifier: Apache-2.0
// foresight export: the weights of a bundle as another project's Python code loads them.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>

#include "commands.hpp"
#include "foresight/io/checksum.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/models/eb_jepa_checkpoint.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/models/lejepa_bundle.hpp"
#include "foresight/models/vit_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/nn/vit_layouts.hpp"
#include "importers.hpp"
#include "stored_types.hpp"

namespace foresight::cli {
namespace {

constexpr std::array kLewmLayouts{"older", "newer"};
constexpr std::array kDinoWmLayouts{"dino_wm", "prejepa"};
constexpr std::array kVJepa2Layouts{"original", "transformers"};
constexpr std::array kLeJepaLayouts{"transformers"};

// The layout of that name; as imported: the one that the bundle came in, `own` for one that was
// trained here.
template <class Layout>
Layout chosen_layout(const io::Bundle& bundle, std::string name, Layout own) {
  if (name == kAsImported) name = bundle.config.provenance.value(kSourceLayout, std::string());
  for (const auto& [text, layout] : EnumNames<Layout>::names)
    if (name == text) return layout;
  return own;
}

io::NamedTensors lewm_tensors(const io::Bundle& bundle, const std::string& layout) {
  auto chosen = models::imported_layout(bundle.config);
  for (const auto& [name, value] : EnumNames<models::HfKeyLayout>::names)
    if (layout == name) chosen = value;
  return models::export_lewm(bundle, chosen);
}

io::NamedTensors dino_wm_tensors(const io::Bundle& bundle, const std::string& layout) {
  return models::export_dino_wm(bundle,
                                chosen_layout(bundle, layout, models::DinoWmLayout::dino_wm));
}

io::NamedTensors eb_jepa_tensors(const io::Bundle& bundle, const std::string&) {
  return models::eb_jepa_tensors(*models::read_eb_jepa(bundle));
}

io::NamedTensors vjepa2_tensors(const io::Bundle& bundle, const std::string& layout) {
  return models::export_vjepa2(bundle,
                               chosen_layout(bundle, layout, models::VJepa2Layout::original));
}

io::NamedTensors vjepa2_ac_tensors(const io::Bundle& bundle, const std::string&) {
  return models::export_vjepa2_ac(bundle);
}

io::NamedTensors vit_tensors(const io::Bundle& bundle, const std::string&) {
  const auto encoder = models::read_vit(bundle, io::Placement::share).encoder;
  const bool own = bundle.config.provenance.value(kSourceLayout, std::string()) == kOwnLayout;
  return own ? nn::dinov2_tensors(*encoder) : nn::hf_vit_tensors(*encoder);
}

// The whole model under its own names, or its encoder as transformers' ViTModel.
io::NamedTensors lejepa_tensors(const io::Bundle& bundle, const std::string& layout) {
  if (layout == kAsImported) return bundle.model_tensors();
  return nn::hf_vit_tensors(models::read_lejepa(bundle)->encoder());
}

constexpr std::array kExporters{
    Exporter{models::kJepaFamily, kLewmLayouts, lewm_tensors},
    Exporter{models::kDinoWmFamily, kDinoWmLayouts, dino_wm_tensors},
    Exporter{models::kEbJepaFamily, {}, eb_jepa_tensors},
    Exporter{models::kVitFamily, {}, vit_tensors},
    Exporter{models::kLeJepaFamily, kLeJepaLayouts, lejepa_tensors},
    Exporter{models::kVJepa2Family, kVJepa2Layouts, vjepa2_tensors},
    Exporter{models::kVJepa2AcFamily, {}, vjepa2_ac_tensors},
};

struct ExportFlags {
  std::string bundle, out, layout = kAsImported;
};

const Exporter& exporter_of(const std::string& family, const std::string& bundle) {
  std::string known;
  for (const auto& exporter : exporters()) {
    if (family == exporter.family) return exporter;
    known += (known.empty() ? "" : ", ") + std::string(exporter.family);
  }
  throw Error(ErrorCategory::unsupported,
              bundle + ": family '" + family + "' has no upstream layout, known: " + known);
}

void check_layout(const Exporter& exporter, const std::string& layout) {
  std::string accepted = kAsImported;
  bool known = layout == kAsImported;
  for (const auto* name : exporter.layouts) {
    accepted += std::string(", ") + name;
    known = known || layout == name;
  }
  require(known, ErrorCategory::invalid_option,
          "--layout " + layout + ": family '" + exporter.family + "' has the layouts " + accepted);
}

// The file that is written must not be one of the bundle's.
void require_outside(const std::string& out, const std::string& bundle) {
  // Where a link leads; of a relative path that is not there libstdc++ leaves the folder out.
  const auto file = std::filesystem::weakly_canonical(std::filesystem::absolute(out));
  require(
      file.parent_path() != std::filesystem::canonical(bundle), ErrorCategory::invalid_option,
      "--out " + out + ": is inside the bundle, which has files of its own; give another place");
}

void export_command(const ExportFlags& flags) {
  const auto bundle = io::read_bundle(flags.bundle);
  require_outside(flags.out, flags.bundle);
  io::require_checksum(bundle.tensors);  // not every family's export reads a network
  const auto& exporter = exporter_of(bundle.config.family, flags.bundle);
  check_layout(exporter, flags.layout);
  auto tensors = exporter.tensors(bundle, flags.layout);
  const auto& provenance = bundle.config.provenance;
  restore_types(tensors, bundle,
                flags.layout == kAsImported ||
                    flags.layout == provenance.value(kSourceLayout, std::string()));
  io::write_safetensors(flags.out, tensors, {{"format", "pt"}});
  fmt::print("{}: {} tensors\n", flags.out, tensors.size());
}

}  // namespace

std::span<const Exporter> exporters() { return kExporters; }

void add_export(CLI::App& app) {
  auto flags = std::make_shared<ExportFlags>();
  auto* command = app.add_subcommand("export", "Write a bundle's weights under upstream's names");
  command->add_option("bundle", flags->bundle, "bundle to read")->required();
  command->add_option("--out", flags->out, "safetensors file to write")->required();
  command
      ->add_option(
          "--layout", flags->layout,
          "which names: as_imported; of LeWM older (transformers before 5.9) or newer; of DINO-WM "
          "dino_wm or prejepa; of V-JEPA 2 and I-JEPA original or transformers; of LeJEPA "
          "transformers, the encoder alone")
      ->default_str(kAsImported);
  command->callback([flags] { export_command(*flags); });
}

}  // namespace foresight::cli
