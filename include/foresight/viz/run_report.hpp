// SPDX-License-Identifier: Apache-2.0
// The report of a training run: what was learned, whether the latent space carries it, how far
// imagination holds, how the planner uses it and how often that succeeds. Plain data in,
// report.html out; whoever measured it fills the members.
#pragma once

#include <array>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "foresight/core/tensor.hpp"
#include "foresight/viz/report.hpp"

namespace foresight::viz {

/// One loss term over training. Steps and values have equal length; validation may be empty.
struct LossCurve {
  std::string term = {};
  std::vector<double> train_step = {};
  std::vector<double> train = {};
  std::vector<double> val_step = {};
  std::vector<double> val = {};
};

/// Latents along their first two principal axes, with two recorded numbers that each belongs to,
/// e.g. a position.
struct LatentMap {
  Tensor axes = {};      ///< [N,2]
  Tensor position = {};  ///< [N,2] in `unit`
  std::string unit = {};
  std::vector<double> explained = {};             ///< fraction of variance of each axis
  std::array<std::string, 2> names = {"x", "y"};  ///< of the two numbers
};

/// One imagined future next to what happened, in the same two principal axes.
struct ImaginedPath {
  Tensor actual = {};    ///< [H,2]
  Tensor imagined = {};  ///< [H,2]
};

/// Error of open-loop imagination against the horizon, in latent space.
struct Imagination {
  std::string metric = "mean squared latent error";
  std::vector<double> model = {};      ///< [H], step h at index h-1
  std::vector<double> copy_last = {};  ///< [H], error of predicting that nothing changes
  std::vector<double> model_low = {}, model_high = {};  ///< [H] each: spread over clips, optional
  std::vector<ImaginedPath> paths = {};
};

/// A camera frame with what the planner imagined from it. Paths are pixel coordinates; undefined
/// ones are left out.
struct PlannedFrame {
  std::string caption = {};
  Tensor image = {};       ///< uint8 [H,W,3]
  Tensor executed = {};    ///< [N,2]
  Tensor candidates = {};  ///< [S,H,2]
  Tensor elites = {};      ///< [S,H,2]
  Tensor chosen = {};      ///< [H,2]
  Tensor goal = {};        ///< [2]
};

/// One term of the chosen plan's cost; `value` is weighted, so that the terms add up to the total.
struct CostShare {
  std::string term = {};
  double weight = 1;
  double value = 0;
};

/// How often one planner reached the goal; `low`/`high` bound the success rate.
struct SuccessRow {
  std::string planner = {};
  int64_t successes = 0;
  int64_t trials = 0;
  double low = 0;
  double high = 1;
};

/// Outcome of one planner on each test instance: 1 success, 0 failure, NaN not run.
struct InstanceRow {
  std::string planner = {};
  std::vector<double> outcome = {};
};

struct Success {
  std::string criterion = {};  ///< "final distance to the goal < 5 px within 100 steps"
  std::string interval = "95 % Wilson interval";
  std::vector<SuccessRow>
      rows;  ///< the planner under test first, baselines (random, straight) after it
  std::vector<InstanceRow> instances = {};
};

/// Wall time of one operation, milliseconds.
struct TimingRow {
  std::string operation = {};
  int64_t runs = 0;
  double median = 0;
  double p95 = 0;
  double p99 = 0;
  double max = 0;
};

/// One planner setting: what it costs and what it brings.
struct TradeOffRow {
  std::string setting = {};
  int64_t samples = 0;
  int64_t iterations = 0;
  int64_t horizon = 0;
  double milliseconds = 0;  ///< median of one solve
  double success = 0;       ///< rate in [0,1]
  /// Bound the success rate, as Success::interval says; NaN: not known.
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();
};

/// Whether the latent space kept its dimensions.
struct Collapse {
  std::vector<double> step = {};            ///< training steps of the curves below
  std::vector<double> variance = {};        ///< mean variance of a latent channel over the batch
  std::vector<double> effective_rank = {};  ///< exp of the entropy of the normalised spectrum
  std::vector<double> spectrum = {};  ///< eigenvalues of the final latent covariance, largest first
  int64_t channels = 0;               ///< D, the largest possible rank
};

/// Held-out predictions of a linear probe.
struct ProbeScatter {
  std::string target = {};
  std::string unit = {};
  std::vector<double> truth = {};
  std::vector<double> predicted = {};
  double r2 = 0;  ///< coefficient of determination
};

/// One record of the safety monitor, as text where it is only shown.
struct IncidentRow {
  std::string time = {};   ///< UTC
  std::string event = {};  ///< raised, standing, cleared
  int64_t problem = 0;
  double surprise = 0;
  double threshold = 0;
  std::string decision = {};  ///< status and source of the action
  std::string action = {};
  std::string message = {};
  std::string costs = {};        ///< terms of the plan made at that step
  std::string observation = {};  ///< hash of what was seen
};

/// When reality was not what the model expected, oldest first.
struct Incidents {
  std::vector<IncidentRow> rows = {};
  int64_t suppressed = 0;                  ///< held back by the log's rate
  int64_t malformed = 0;                   ///< lines that could not be read
  std::vector<std::string> problems = {};  ///< the first of those, with their reason
};

/// A loss term on held-out recordings before and after learning on; NaN: not known.
struct LossChange {
  std::string recordings = {};  ///< "old" or "new"
  std::string term = {};
  double before = 0;
  double after = 0;
};

/// A column of new recordings against what the model was trained with; NaN: not known.
struct DriftRow {
  std::string column = {};
  double shift = 0;           ///< of the mean, in standard deviations of the training data
  double spread = 1;          ///< standard deviation, in those of the training data
  double outside = 0;         ///< part of the rows outside the model's limits, in [0,1]
  bool never_varied = false;  ///< in the training data: shift and spread are in the column's units
};

/// What learning on from a bundle did to it, and how far the new recordings were from the old.
struct LearnedOn {
  std::vector<LossChange> losses = {};
  double forgetting = std::numeric_limits<double>::quiet_NaN();  ///< after / before - 1, of the old
  std::vector<DriftRow> drift = {};
  std::vector<std::string> warnings = {};
};

/// Everything a report shows. What is left empty gives no section.
struct RunReport {
  std::string title = {};
  std::string summary = {};
  std::vector<Fact> headline = {};
  std::vector<LossCurve> losses = {};
  LatentMap latent = {};
  std::vector<ProbeScatter> probes = {};
  Collapse collapse = {};
  Imagination imagination = {};
  std::vector<PlannedFrame> frames = {};
  std::vector<CostShare> costs = {};
  Success success = {};
  std::vector<TimingRow> timings = {};
  std::string machine = {};  ///< where the timings were taken
  std::vector<TradeOffRow> trade_offs = {};
  Incidents incidents = {};
  LearnedOn learned_on = {};
  std::vector<Fact> data_set = {};
  std::vector<Fact> provenance = {};  ///< version, commit, seed, device, dates
  std::string configuration = {};     ///< the run's config.json
  std::vector<std::string> commands = {};
  std::string further = {};  ///< under the sections: what else such a page can hold, and how
  std::string mark = {};     ///< see Report::mark()
};

/// The sections of a run report, in order; a report has those for which it was given something.
FORESIGHT_API std::vector<std::string> run_report_sections();

/// Throws Error(invalid_argument) naming the member when lengths or shapes disagree.
FORESIGHT_API Report make_run_report(const RunReport& run);

/// make_run_report() written to `path`, beside it first and then renamed.
FORESIGHT_API void write_run_report(const RunReport& run, const std::filesystem::path& path);

}  // namespace foresight::viz
