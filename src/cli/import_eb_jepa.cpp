// SPDX-License-Identifier: Apache-2.0
// foresight import eb_jepa: the action-conditioned model of EB-JEPA from its training checkpoint.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>

#include "flags.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/models/eb_jepa_checkpoint.hpp"
#include "foresight/nn/state_dict.hpp"
#include "importers.hpp"

namespace foresight::cli {
namespace {

// Of the encoder, whose sizes shapes tell: a norm without weights.
struct EbJepaEncoderImport {
  nn::NormKind inner_norm = nn::ImpalaOptions().inner_norm;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("inner_norm", self.inner_norm,
          "norm without weights between the stacks and the last layer: none or layer");
  }
  std::vector<std::string> validate() const { return {}; }  // with all of the model's options
};

// What a checkpoint's shapes do not tell.
struct EbJepaImportOptions {
  int64_t image_size = models::EbJepaOptions().image_size;
  std::vector<double> image_mean = models::EbJepaOptions().image_mean;
  std::vector<double> image_std = models::EbJepaOptions().image_std;
  EbJepaEncoderImport encoder;
  ActionSpace action = models::EbJepaOptions().action;
  int64_t predicted_steps = models::EbJepaOptions().predicted_steps;
  double prediction = models::EbJepaOptions().prediction;
  losses::LatentRegulariserOptions regulariser;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("image_size", self.image_size, "side of the square picture, pixels");
    visit("image_mean", self.image_mean, "mean per channel of values scaled to [0, 1]");
    visit("image_std", self.image_std, "standard deviation per channel");
    visit("encoder", self.encoder, "the convolutional encoder");
    visit("action", self.action, "dimensions, limits and statistics of actions");
    visit("predicted_steps", self.predicted_steps, "steps imagined in training on");
    visit("prediction", self.prediction, "weight in training on: imagined latents");
    visit("regulariser", self.regulariser, "the other terms in training on");
  }
  std::vector<std::string> validate() const { return base().validate(); }

  models::EbJepaOptions base() const {
    models::EbJepaOptions options;
    options.image_size = image_size;
    options.image_mean = image_mean;
    options.image_std = image_std;
    options.encoder.inner_norm = encoder.inner_norm;
    options.action = action;
    options.predicted_steps = predicted_steps;
    options.prediction = prediction;
    options.regulariser = regulariser;
    return options;
  }
};

struct EbJepaFlags {
  ImportFlags shared;
  OptionFlags options;
};

// `view` where a flag or the file of --config says regulariser.<name>.
std::optional<losses::LatentView> told_view(const OptionFlags& flags, const char* name,
                                            losses::LatentView view) {
  const auto tells = [&](const nlohmann::json& options) {
    return options.is_object() && options.contains("regulariser") &&
           options["regulariser"].contains(name);
  };
  const bool told = tells(flags.patch) || (!flags.file.empty() && tells(io::read_json(flags.file)));
  return told ? std::optional(view) : std::nullopt;
}

void import_eb_jepa_command(const EbJepaFlags& flags) {
  const auto given = resolve(EbJepaImportOptions(), flags.options);
  const auto weights = flags.shared.open(flags.shared.from);
  auto shared = flags.shared;
  const auto& groups = weights.groups;
  if (shared.group.empty() &&
      std::find(groups.begin(), groups.end(), models::kEbJepaGroup) != groups.end())
    shared.group = models::kEbJepaGroup;
  const auto tensors = shared.tensors(weights);
  const auto source = weights.path.string();
  const auto& terms = given.regulariser;
  const auto options = models::eb_jepa_options(
      tensors, given.base(), source,
      told_view(flags.options, "inverse_dynamics_view", terms.inverse_dynamics_view));
  // Only a training that goes on needs it, and would do something else without a word.
  require(options.projector.empty() || terms.temporal == 0 ||
              told_view(flags.options, "temporal_view", terms.temporal_view),
          ErrorCategory::invalid_option,
          source +
              ": has a projector, and no shape tells whether the temporal term looked through it: "
              "say --regulariser.temporal_view direct (sim_t_after_proj false, upstream's default) "
              "or projected_upstream (true: clips are mixed up as there), or projected");
  require(options.action.width() == given.action.width(), ErrorCategory::invalid_option,
          source + ": actions of width " + std::to_string(options.action.width()) +
              ", but --action.dim and --action.block make " + std::to_string(given.action.width()));
  models::EbJepa model(options, std::nullopt);
  models::load_eb_jepa(model, tensors, source);
  auto config = models::eb_jepa_bundle_config(model);
  config.planner = write_options(AgentOptions::eb_jepa());
  auto read = tensors;
  for (auto& [name, tensor] : read) name = models::eb_jepa_key(name);
  write_imported({std::move(config), nn::state_dict(model)}, shared, weights, read);
}

}  // namespace

void add_eb_jepa_import(CLI::App& command) {
  auto flags = std::make_shared<EbJepaFlags>();
  flags->shared.add(command);
  add_options(command, EbJepaImportOptions(), flags->options);
  command.callback([flags] { import_eb_jepa_command(*flags); });
}

}  // namespace foresight::cli
