// SPDX-License-Identifier: Apache-2.0
// An EbJepa built from the settings and weights of a fixture.
#pragma once

#include <memory>
#include <sstream>
#include <string>

#include "eb_jepa_golden_nn.hpp"
#include "foresight/models/eb_jepa.hpp"
#include "foresight/models/eb_jepa_checkpoint.hpp"

namespace foresight {

/// "16-32-24": the layers' widths after the first, which is the latent's.
inline std::vector<int64_t> golden_projector(const std::string& dashed) {
  std::vector<int64_t> widths;
  std::istringstream stream(dashed);
  for (std::string width; std::getline(stream, width, '-');) widths.push_back(std::stoll(width));
  widths.erase(widths.begin());
  return widths;
}

inline models::EbJepaOptions golden_eb_jepa_options(const nlohmann::json& config) {
  using losses::LatentView;
  const auto& encoder = config.at("encoder");
  const auto& regulariser = config.at("regularizer");
  models::EbJepaOptions options;
  options.encoder = golden_impala_options(encoder);
  options.image_size = encoder.at("input_shape")[1];
  options.inverse_dynamics_hidden = config.at("idm_hidden");
  options.action.dim = config.at("action_dim");
  options.predicted_steps = config.value("nsteps", options.predicted_steps);
  if (regulariser.contains("projector"))
    options.projector = golden_projector(regulariser.at("projector"));
  auto& terms = options.regulariser;
  terms.std = regulariser.at("std_coeff");
  terms.cov = regulariser.at("cov_coeff");
  terms.temporal = regulariser.at("sim_coeff_t");
  terms.inverse_dynamics = regulariser.at("idm_coeff");
  const auto is = [&](const char* key) { return regulariser.at(key).get<bool>(); };
  terms.frames = is("first_t_only") ? losses::SampledFrames::first : losses::SampledFrames::all;
  terms.samples = is("spatial_as_samples") ? losses::SampleUnit::token : losses::SampleUnit::frame;
  terms.temporal_view =
      is("sim_t_after_proj") ? LatentView::projected_upstream : LatentView::direct;
  terms.inverse_dynamics_view =
      is("idm_after_proj") ? LatentView::projected_upstream : LatentView::direct;
  return options;
}

/// The model with the fixture's weights below `prefix`, in inference mode.
inline std::shared_ptr<models::EbJepa> golden_eb_jepa(const Golden& golden, at::ScalarType type,
                                                      const std::string& prefix = "") {
  auto model = std::make_shared<models::EbJepa>(golden_eb_jepa_options(golden.config()));
  model->to(test_device(), type);
  models::load_eb_jepa(*model, eb_jepa_params(golden, prefix), golden.name());
  model->eval();
  return model;
}

/// Upstream's actions [B,A,T], one a frame -> the blocks between frames [B,T-1,A].
inline Tensor blocks_between(const Tensor& actions) {
  return actions.transpose(1, 2).slice(1, 0, -1);
}

/// Compares a model after training with "after_step/..", but where the first step's gradient is
/// rounding noise, which Adam blows up to a step.
inline void compare_golden_weights(Golden& golden, const models::EbJepa& model) {
  const auto grads = golden.section("grads");  // of the first step
  for (const auto& [key, tensor] : models::eb_jepa_tensors(model)) {
    const auto owner = key.starts_with("predictor.final_ln.")
                           ? "encoder." + key.substr(std::string("predictor.").size())
                           : key;
    const auto grad = grads.find(owner);
    const auto where =
        grad == grads.end() ? at::ones_like(tensor, at::kBool) : grad->second.abs().gt(1e-6);
    if (where.any().item<bool>())
      golden.compare_where("after_step/" + key, tensor, where);
    else
      golden.leave_out("after_step/" + key);
  }
}

}  // namespace foresight
