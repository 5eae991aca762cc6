// SPDX-License-Identifier: Apache-2.0
// Does the world still behave as the model says? What the model predicted one step ahead is
// compared with what was then observed, in latent space, against how large that error was while the
// model was right. Plans made with a model that is wrong are worth nothing, so that this is the
// check that a robot needs beside limits and deadlines.
//
//   auto calibration = calibrate_surprise(*model, episodes, noise);
//   mpc.watch(std::make_shared<SafetyMonitor>(model, calibration), incidents);
#pragma once

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "foresight/control/receding_horizon.hpp"
#include "foresight/core/world_model.hpp"

namespace foresight {

/// The head under which a bundle's config.json keeps the calibration of its model.
inline constexpr const char* kSurpriseHead = "surprise";

/// The distribution of surprise while the model is right. Surprise of a transition is
///   sqrt(mean over P and D of ((predicted - observed) / scale)^2),
/// about 1 on the data that it was calibrated with. Plain numbers, so that a file can keep it.
struct FORESIGHT_API SurpriseCalibration {
  int64_t transitions = 0;        ///< that the quantiles come from; 0: not calibrated
  double median = 0;              ///< of surprise
  double spread = 0;              ///< 1.4826 * median absolute deviation, a robust std
  std::vector<double> levels;     ///< probabilities of `quantiles`, ascending
  std::vector<double> quantiles;  ///< surprise that a fraction `levels` of transitions stays below
  std::vector<double> scale;      ///< [D] root mean square error of each latent channel

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("transitions", self.transitions, "transitions that the quantiles come from");
    visit("median", self.median, "median surprise");
    visit("spread", self.spread, "1.4826 times the median absolute deviation of surprise");
    visit("levels", self.levels, "probabilities of the quantiles, ascending");
    visit("quantiles", self.quantiles, "surprise that this fraction of transitions stays below");
    visit("scale", self.scale, "root mean square prediction error of each latent channel");
  }
  std::vector<std::string> validate() const;
};

/// What surprise is compared with.
enum class SurpriseRule {
  quantile,  ///< a calibrated quantile: the false alarm rate is known whatever the distribution
  robust_z,  ///< median + z * spread: reaches beyond what few transitions can tell
};

/// What a raised flag does to the action.
enum class SafetyResponse {
  report,       ///< nothing: flag, message and incident record only
  hold,         ///< the last executed action goes on
  safe_action,  ///< the configured safe action
};

template <>
struct EnumNames<SurpriseRule> {
  static constexpr std::array<std::pair<std::string_view, SurpriseRule>, 2> names{
      {{"quantile", SurpriseRule::quantile}, {"robust_z", SurpriseRule::robust_z}}};
};
template <>
struct EnumNames<SafetyResponse> {
  static constexpr std::array<std::pair<std::string_view, SafetyResponse>, 3> names{
      {{"report", SafetyResponse::report},
       {"hold", SafetyResponse::hold},
       {"safe_action", SafetyResponse::safe_action}}};
};

struct FORESIGHT_API SafetyMonitorOptions {
  SurpriseRule rule = SurpriseRule::quantile;
  double level = 0.99;      ///< one step in a hundred exceeds it by chance, ...
  int64_t raise_after = 3;  ///< ... three in a row one in a million, if they are independent
  double z = 6.0;
  double margin = 1.0;
  int64_t clear_after = 10;
  double clear_ratio = 0.8;
  SafetyResponse response = SafetyResponse::report;
  int64_t seed = 0;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("rule", self.rule, "what surprise is compared with");
    visit("level", self.level, "rule quantile: fraction of normal transitions below the threshold");
    visit("raise_after", self.raise_after,
          "transitions in a row above the threshold that raise the flag");
    visit("z", self.z, "rule robust_z: robust standard deviations above the median");
    visit("margin", self.margin, "factor on the threshold");
    visit("clear_after", self.clear_after, "calm transitions in a row that clear the flag");
    visit("clear_ratio", self.clear_ratio, "calm: surprise at most this fraction of the threshold");
    visit("response", self.response, "what a raised flag does to the action");
    visit("seed", self.seed, "of the noise of a stochastic model's prediction");
  }
  std::vector<std::string> validate() const;
};

/// What a step did to the flag.
enum class FlagChange { none, raised, cleared };

/// The monitor's view of one problem.
struct SafetyVerdict {
  double surprise = std::numeric_limits<double>::quiet_NaN();  ///< NaN: no transition at this step
  double threshold = 0;
  bool flagged = false;
  FlagChange change = FlagChange::none;
  int64_t consecutive = 0;  ///< transitions in a row above the threshold
  std::string message;      ///< why no transition could be judged, if that is unusual
  SafetyResponse response = SafetyResponse::report;  ///< to the flag; `report` while it is down

  bool judged() const { return surprise == surprise; }
};

/// Watches any number of problems; one instance serves one control loop and one thread.
class FORESIGHT_API SafetyMonitor {
 public:
  /// Throws Error: invalid_option for options or a calibration that make no sense or do not fit
  /// each other (a level that so few transitions cannot tell), invalid_argument for a calibration
  /// of another model's latent.
  SafetyMonitor(std::shared_ptr<const WorldModel> model, SurpriseCalibration calibration,
                SafetyMonitorOptions options = {});

  /// Judges one transition of each of `rows`: `before` and `after` are observed states of batch
  /// [N], `block` [N,A] the normalised actions between. Never throws: a transition that cannot be
  /// predicted leaves the flag as it is and says why; a prediction that is not finite is infinitely
  /// surprising.
  void judge(const std::vector<int64_t>& rows, const State& before, const Tensor& block,
             const State& after) noexcept;
  /// The verdicts of problems 0..batch-1 on this step. Starts the next step: `surprise` and
  /// `change` are told once, the flag stands until it is cleared.
  std::vector<SafetyVerdict> conclude(int64_t batch);
  /// New episode for some problems: flags and counts are cleared.
  void reset(const std::vector<int64_t>& rows);

  double threshold() const noexcept { return threshold_; }
  const SafetyMonitorOptions& options() const noexcept { return options_; }
  const SurpriseCalibration& calibration() const noexcept { return calibration_; }

 private:
  struct Flag {
    SafetyVerdict verdict;
    int64_t calm = 0;
  };
  Flag& flag(int64_t row);
  void update(Flag& flag, double surprise) const;

  std::shared_ptr<const WorldModel> model_;
  SurpriseCalibration calibration_;
  SafetyMonitorOptions options_;
  double threshold_ = 0;
  PhiloxNoise noise_;
  std::vector<Flag> flags_;
};

/// Predicted minus observed latent of N transitions, [N,P,D]. States of batch [N], `block` [N,A]
/// normalised. Throws Error(invalid_argument) for shapes that do not belong together, and what the
/// model throws.
FORESIGHT_API Tensor prediction_error(const WorldModel& model, const State& before,
                                      const Tensor& block, const State& after, Noise& noise);

/// Surprise [N] of prediction errors [N,P,D], `scale` of length D.
FORESIGHT_API Tensor surprise_of(const Tensor& errors, const std::vector<double>& scale);

/// Calibrates from prediction errors [N,P,D] in any order: those at even places give the scale,
/// those at odd places the quantiles, so that no transition is judged by a scale that it shaped.
/// Quantiles are split-conformal: the ceil((n+1) * level)-th smallest of n, below which a fraction
/// of at least `level` of later transitions stays on average, whatever the distribution (Vovk,
/// Gammerman & Shafer, Algorithmic Learning in a Random World, 2005). Throws Error:
/// invalid_argument for fewer than 20 transitions, non_finite.
FORESIGHT_API SurpriseCalibration calibrate_surprise(const Tensor& errors);

/// Calibrates from recorded episodes of the model at its best, usually held-out data: each holds
/// frames one block apart and the blocks between.
FORESIGHT_API SurpriseCalibration calibrate_surprise(const WorldModel& model,
                                                     const std::vector<ObservationWindow>& episodes,
                                                     Noise& noise);

/// The threshold that options and calibration give. Throws Error(invalid_option).
FORESIGHT_API double surprise_threshold(const SurpriseCalibration& calibration,
                                        const SafetyMonitorOptions& options);

}  // namespace foresight
