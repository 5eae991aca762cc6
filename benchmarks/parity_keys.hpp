// SPDX-License-Identifier: Apache-2.0
// Which tensors of a fixture must be compared: all but its inputs and weights, those that it
// excludes itself, and those that are named here with the reason why not; and of what bfloat16
// computes, which of them in bfloat16 too, and which in any case.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "foresight/io/safetensors.hpp"

namespace foresight::benchmark {

/// Patterns of "folder/fixture" and of full keys; * is any text.
struct Exempt {
  std::string_view fixtures, keys, reason;
};
inline constexpr Exempt kExempt[] = {
    {"dino_wm/dino_wm_mpc*", "outputs/observed_visual",
     "pictures that the reference's environment drew, given to the control loop as what it sees"},
    {"dino_wm/dino_wm_mpc*", "outputs/noise_blocks_used",
     "how many draws each of the reference's searches took: ours is given as many"},
    {"dino_wm/dino_wm_mpc*", "outputs/warm_start_length",
     "the test takes from it which rows of the last plan come back, and demands them to the bit"},
    {"dino_wm/dino_wm_train*", "after_step/encoder.proj.*",
     "the frozen stand-in for a backbone, which is the test's own"},
    {"eb_jepa/eb_jepa_dataset_stats*", "outputs/number_of_trajectories",
     "how many walks the original drew: the test takes its sampling error from it"},
    {"lewm/lewm_preprocess_action*", "outputs*/percentile_low",
     "given to the action space that is compared: no recipe uses percentiles, nor any code of "
     "ours"},
    {"lewm/lewm_preprocess_action*", "outputs*/percentile_high",
     "given to the action space that is compared: no recipe uses percentiles, nor any code of "
     "ours"},
    {"eb_jepa/eb_jepa_ac_train_projector_first_t", "after_step/regularizer.projector.net.0.bias",
     "its gradients are rounding noise, of which Adam makes whole steps"},
    {"lewm/lewm_train_step", "outputs*/steps3_lr",
     "learning rates that the three steps are given; the schedule is compared in lewm_lr_schedule"},
    {"mppi/*", "outputs*/U_start",
     "the plan that the first command is given, which the reference's constructor drew or took"},
    {"tdmpc2/tdmpc2_plan_*", "outputs/call*/value",
     "values of the network's candidates, given to the search: the network is not reproduced"},
    {"tdmpc2/tdmpc2_plan_*", "outputs64/*",
     "the mean that a call starts from and the policy's proposals are recorded of the float32 run "
     "alone"},
    {"world_models/world_models_cma_*", "outputs64/const/chi_n_tutorial",
     "the tutorial's approximation of chi_n: ours is exact, and compared as chi_n"},
    {"world_models/world_models_cma_*", "outputs64/const/C0",
     "the covariance that the search is given to start from"},
    {"world_models/world_models_cma_*", "outputs64/B",
     "eigenvectors have arbitrary signs: the test demands that B D spans our covariance, and gives "
     "them to our search"},
    {"world_models/world_models_cma_*", "outputs64/hsig",
     "a switch inside of the update, whose effect is compared: the paths and the covariance"},
    {"world_models/world_models_cma_*", "outputs64/const/lazy_update_gap",
     "after how many generations the package takes the covariance apart anew, a fraction there; "
     "the replay does so in each"},
};

/// Tensors that are compared in float32 or float64, and not in bfloat16 though their fixture has a
/// row of that: patterns as above, but of keys without "outputs/" and "outputs64/". The first that
/// fits counts.
inline constexpr Exempt kNotInBfloat16[] = {
    {"eb_jepa/eb_jepa_plan_*", "*",
     "steps of a search: bfloat16 would select other candidates, and is asked for the costs of the "
     "recorded ones"},
    {"*/*_cem*", "*",
     "steps of a search: bfloat16 would select other candidates, and is asked for the costs of the "
     "recorded ones"},
    {"dino_wm/dino_wm_gd*", "*",
     "steps of a descent, each of which starts from the one before: bfloat16 is asked for the "
     "costs of the recorded ones"},
    {"lewm/lewm_projector", "*train*", "training, whose weights and statistics are float32"},
    {"lewm/*_rollout", "*_grad",
     "gradients of a plan: in bfloat16 it is inference that is compared"},
    {"lewm/*_rollout", "*_act_emb",
     "embedded actions, part of what is imagined; lewm_action_encoder has them in bfloat16"},
    {"lewm/*_rollout", "*_control_penalty", "of the candidates alone: no network computes it"},
    {"lewm/*_rollout", "*_weighted_sum", "the cost that is compared, and that penalty"},
    {"lewm/lewm_train_step", "steps3_*",
     "three steps: AdamW moves weights by the sign of gradients, which bfloat16 turns where they "
     "are small"},
    {"lewm/*_train_step*", "grad_norm*", "norms of gradients, each of which is compared"},
    {"lewm/*_train_step*", "act_*", "what `loss` is computed from"},
    {"lewm/pldm_train_step*", "*_loss", "parts of `loss`"},
    {"lewm/prejepa_train_loss", "*", "parts of `loss`, and what it is computed from"},
    {"dino_wm/dino_wm_rollout*", "*.latent",
     "`visual`, `proprio` and embedded actions in one, as the original lays them out"},
    {"dino_wm/dino_wm_train*", "*", "parts of `loss`, and what it is computed from"},
    {"dino_wm/dino_wm_dinov2_encoder", "*.resized", "a picture made ready, in float32"},
    {"vjepa2/*_train_step*", "*lr*", "a schedule"},
    {"vjepa2/*_train_step*", "*wd*", "a schedule"},
    {"vjepa2/*_train_step*", "*loss", "parts of `loss`"},
    {"vjepa2/*_train_step*", "loss_step*",
     "later steps: AdamW moves weights by the sign of gradients, and these have kinks"},
    {"vjepa2/vjepa2_encoder_sincos*", "fresh_sincos_pos_embed",
     "a table that is computed in float64 and kept in float32"},
    {"vjepa2/vjepa2_rope_axis", "*",
     "compared where the original's own bfloat16 run is recorded (`*_bf16`)"},
    {"eb_jepa/eb_jepa_ac_train*", "lr_*", "a schedule"},
    {"eb_jepa/eb_jepa_ac_train*", "*grad*", "a network with kinks: see above"},
    {"eb_jepa/eb_jepa_ac_train*", "step0.*", "parts of `step0.loss`"},
    {"eb_jepa/eb_jepa_ac_train*", "step*",
     "later steps: AdamW moves weights by the sign of gradients, and these have kinks"},
    {"eb_jepa/eb_jepa_probe", "*", "`prediction` and `unnormalized_mse` in other units"},
    {"eb_jepa/eb_jepa_video", "train.buffer_after.*", "statistics of norms, which stay float32"},
    {"eb_jepa/eb_jepa_video", "train.*", "parts of `train.loss`, and what it is computed from"},
};

/// What must be in some row in bfloat16 of a fixture wherever a wider one has it, so that the wide
/// patterns above hide no result that bfloat16 is asked for: patterns as there.
struct Demanded {
  std::string_view fixtures, keys;
};
inline constexpr Demanded kInBfloat16[] = {
    // Losses of training steps, and their gradients where the network has no kinks.
    {"lewm/*_train_*", "loss"},
    {"lewm/*_train_*", "grads/*"},
    {"dino_wm/dino_wm_train*", "loss"},
    {"dino_wm/dino_wm_train*", "grads/*"},
    {"vjepa2/vjepa2_train_step*", "loss_step0"},
    {"vjepa2/vjepa2_ac_train_step*", "*.loss"},
    {"eb_jepa/eb_jepa_ac_train*", "step0.loss"},
    {"eb_jepa/eb_jepa_video*", "train.loss"},
    {"eb_jepa/eb_jepa_probe*", "prediction"},
    {"eb_jepa/eb_jepa_probe*", "unnormalized_mse"},
    // Costs of the candidates that a search recorded.
    {"lewm/*_cem*", "costs"},
    {"dino_wm/dino_wm_cem*", "losses"},
    {"dino_wm/dino_wm_gd*", "loss_per_problem"},
    {"vjepa2/vjepa2_cem*", "energies"},
    {"eb_jepa/eb_jepa_plan_*", "costs"},
    // What is imagined.
    {"lewm/*_rollout*", "*_predicted_emb"},
    {"lewm/*_rollout*", "*_cost_sum"},
    {"dino_wm/dino_wm_rollout*", "*.visual"},
    {"dino_wm/dino_wm_rollout*", "*.proprio"},
    {"vjepa2/vjepa2_ac_train_step*", "*.z_ar"},
    {"eb_jepa/eb_jepa_ac_unroll*", "plan_states"},
    {"eb_jepa/eb_jepa_ac_train*", "predicted_states"},
    {"eb_jepa/eb_jepa_video*", "eval.*"},
};

/// Whether `pattern`, in which * is any text, is all of `text`.
inline bool matches(std::string_view pattern, std::string_view text) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == text;
  if (!text.starts_with(pattern.substr(0, star))) return false;
  const auto rest = pattern.substr(star + 1);
  for (auto from = star; from <= text.size(); ++from)
    if (matches(rest, text.substr(from))) return true;
  return false;
}

/// The entry of `table` that names a key of "folder/fixture"; null where none does.
inline const Exempt* exemption_of(std::string_view fixture, std::string_view key,
                                  std::span<const Exempt> table = kExempt) {
  for (const auto& entry : table)
    if (matches(entry.fixtures, fixture) && matches(entry.keys, key)) return &entry;
  return nullptr;
}

/// The keys of `wide` that kInBfloat16 demands of "folder/fixture" and `narrow` lacks: what is
/// compared in float32 or float64, and in bfloat16, without the section of outputs.
inline std::vector<std::string> missing_in_bfloat16(std::string_view fixture,
                                                    const std::set<std::string>& wide,
                                                    const std::set<std::string>& narrow) {
  std::vector<std::string> missing;
  for (const auto& key : wide)
    if (!narrow.contains(key) &&
        std::any_of(std::begin(kInBfloat16), std::end(kInBfloat16), [&](const Demanded& entry) {
          return matches(entry.fixtures, fixture) && matches(entry.keys, key);
        }))
      missing.push_back(key);
  return missing;
}

/// Kinds of fixtures (their config.kind), or whole folders, that are computed in float32 or wider
/// whatever a network computes in: no row in bfloat16 is missed.
inline constexpr std::string_view kWithoutBfloat16[] = {
    // Searches without a network of ours, and rounds of control of which no cost is recorded.
    "planners/", "mppi/", "tdmpc2/", "world_models/", "dino_wm/mpc",
    // Losses: latents of bfloat16 become float32 first (tests/losses/half_width_test.cpp).
    "losses/", "eb_jepa/losses",
    // Environments, masks, poses, schedules, and what makes observations and actions ready.
    "eb_jepa/dataset", "eb_jepa/dataset_stats", "eb_jepa/env_reset", "eb_jepa/env_trace",
    "eb_jepa/normalizer", "lewm/lr_schedule", "lewm/lewm_preprocess_action",
    "lewm/lewm_preprocess_image", "vjepa2/masks", "vjepa2/pose"};

inline bool has_no_bfloat16(const std::string& folder, const std::string& kind) {
  const auto full = kind.starts_with(folder + "/") ? kind : folder + "/" + kind;
  return std::any_of(std::begin(kWithoutBfloat16), std::end(kWithoutBfloat16),
                     [&](auto entry) { return entry == full || entry == folder + "/"; });
}

/// Tensors of a fixture that a test should compare, by full key: not inputs/.. and params/.., nor
/// empty ones.
struct FixtureKeys {
  std::map<std::string, at::ScalarType> results;
  std::set<std::string> excluded;  ///< by the fixture itself: noise in the reference

  bool is_excluded(const std::string& key) const {
    return excluded.contains(key) || excluded.contains(key.substr(key.find('/') + 1));
  }
};

inline FixtureKeys keys_of(const std::filesystem::path& path) {
  const auto file = io::SafeTensors::open(path);
  FixtureKeys keys;
  for (const auto& name : file.names()) {
    const auto& shape = file.shape(name);
    const bool is_empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
    if (!name.starts_with("inputs/") && !name.starts_with("params/") && !is_empty)
      keys.results.emplace(name, file.dtype(name));
  }
  const auto entry = file.metadata().find("tolerance");
  if (entry == file.metadata().end()) return keys;
  const auto tolerance = nlohmann::json::parse(entry->second, nullptr, /*allow_exceptions=*/false);
  if (tolerance.is_object() && tolerance.contains("excluded"))
    keys.excluded = tolerance.at("excluded").get<std::set<std::string>>();
  return keys;
}

/// Whether a figure of what was computed in `dtype` (as tests write it) counts as the comparison of
/// a key: what is computed in less than it is stored in does not.
inline bool counts(const std::string& dtype, const std::string& key, at::ScalarType stored) {
  const bool is_narrow = dtype == "BFloat16" || dtype == "fixed16";
  if (is_narrow) return stored == at::kBFloat16;
  const bool is_float64_run = key.substr(0, key.find('/')).ends_with("64");
  return !is_float64_run || (dtype != "Float" && dtype != "packed");
}

}  // namespace foresight::benchmark
