// SPDX-License-Identifier: Apache-2.0
// Every choice in which published sampling planners differ, as a named field. CEM, iCEM, MPPI and
// predictive sampling are points in this space (planning/presets.hpp names them).
#pragma once

#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/planning/problem.hpp"

namespace foresight {

/// What is sampled.
enum class ProposalKind {
  gaussian,      ///< action blocks, independent over time
  coloured,      ///< action blocks with noise of spectrum 1/f^exponent over time (iCEM)
  knots,         ///< a few control points, interpolated to the horizon (KMPPI, MuJoCo MPC)
  action_rates,  ///< rates of change, integrated from the last plan (SMPPI)
  categorical,   ///< one-hot symbols (discrete ActionSpace)
};
/// How knots become a plan.
enum class KnotKernel {
  rbf,     ///< Gaussian kernel regression through the knots (KMPPI)
  linear,  ///< straight lines
  hold,    ///< each knot until the next
  cubic,   ///< cubic spline, smooth at the knots; may overshoot between them
};
/// Scale of coloured noise.
enum class NoiseScale {
  per_sequence,  ///< every sequence is divided by its own unbiased std (stable-worldmodel)
  analytic,      ///< one factor that makes the variance 1 on average
};
enum class NoiseSchedule {
  fresh,   ///< new draws every iteration
  reused,  ///< one draw per solve (nav2's default): fewer draws, smoother progress
};
enum class NoiseSharing {
  shared,  ///< all problems see the same draws: a problem's plan does not depend on its neighbours
           ///< in the batch
  per_problem,  ///< independent draws
};
/// When the mean itself is a candidate (slot 0).
enum class MeanCandidate { never, every_iteration, last_iteration };
enum class BoundKind {
  none,
  box,        ///< clamp every candidate to the action limits
  radial,     ///< scale raw actions longer than `radius` back to it (eb_jepa)
  truncated,  ///< normal truncated at 2 std, std shrunk near the limits (mbrl-lib); then a clamp
};
enum class WeightKind {
  uniform,  ///< the survivors count equally (CEM); one survivor: arg-min
  softmax,  ///< weights exp(-(cost - min) / temperature)
};
enum class TemperatureRule {
  divide,            ///< exp(-(c - min) / temperature)
  multiply,          ///< exp(-(c - min) * temperature): an inverse temperature (TD-MPC2, eb_jepa)
  divide_by_spread,  ///< exp(-(c - min) / (temperature * std of the costs)): independent of the
                     ///< cost's units
};
/// A single usable survivor says nothing about the spread: the std then stays as it is, unless
/// min_std or variance_offset give it a floor.
enum class StdUpdate {
  fixed,       ///< the initial std stays (MPPI)
  unbiased,    ///< n/(n-1) times the weighted variance
  population,  ///< the weighted variance itself
};
/// Which quantity the std momentum averages.
enum class StdMomentum { std, variance };
enum class Returned {
  mean,              ///< the final mean
  best_last,         ///< best candidate of the last iteration
  best_ever,         ///< best candidate of all iterations
  sampled_survivor,  ///< one survivor of the last iteration, drawn by weight
};
/// How `sampled_survivor` draws.
enum class SurvivorDraw {
  gumbel,       ///< arg-max of log weight + Gumbel, from K uniforms (TD-MPC2)
  inverse_cdf,  ///< number of cumulative weights <= one uniform (eb_jepa)
};
enum class PlannerRecord { summary, everything };

template <>
struct EnumNames<Tail> {
  static constexpr std::array<std::pair<std::string_view, Tail>, 2> names{
      {{"prior", Tail::prior}, {"repeat_last", Tail::repeat_last}}};
};
template <>
struct EnumNames<ProposalKind> {
  static constexpr std::array<std::pair<std::string_view, ProposalKind>, 5> names{
      {{"gaussian", ProposalKind::gaussian},
       {"coloured", ProposalKind::coloured},
       {"knots", ProposalKind::knots},
       {"action_rates", ProposalKind::action_rates},
       {"categorical", ProposalKind::categorical}}};
};
template <>
struct EnumNames<KnotKernel> {
  static constexpr std::array<std::pair<std::string_view, KnotKernel>, 4> names{
      {{"rbf", KnotKernel::rbf},
       {"linear", KnotKernel::linear},
       {"hold", KnotKernel::hold},
       {"cubic", KnotKernel::cubic}}};
};
template <>
struct EnumNames<NoiseScale> {
  static constexpr std::array<std::pair<std::string_view, NoiseScale>, 2> names{
      {{"per_sequence", NoiseScale::per_sequence}, {"analytic", NoiseScale::analytic}}};
};
template <>
struct EnumNames<NoiseSchedule> {
  static constexpr std::array<std::pair<std::string_view, NoiseSchedule>, 2> names{
      {{"fresh", NoiseSchedule::fresh}, {"reused", NoiseSchedule::reused}}};
};
template <>
struct EnumNames<NoiseSharing> {
  static constexpr std::array<std::pair<std::string_view, NoiseSharing>, 2> names{
      {{"shared", NoiseSharing::shared}, {"per_problem", NoiseSharing::per_problem}}};
};
template <>
struct EnumNames<MeanCandidate> {
  static constexpr std::array<std::pair<std::string_view, MeanCandidate>, 3> names{
      {{"never", MeanCandidate::never},
       {"every_iteration", MeanCandidate::every_iteration},
       {"last_iteration", MeanCandidate::last_iteration}}};
};
template <>
struct EnumNames<BoundKind> {
  static constexpr std::array<std::pair<std::string_view, BoundKind>, 4> names{
      {{"none", BoundKind::none},
       {"box", BoundKind::box},
       {"radial", BoundKind::radial},
       {"truncated", BoundKind::truncated}}};
};
template <>
struct EnumNames<WeightKind> {
  static constexpr std::array<std::pair<std::string_view, WeightKind>, 2> names{
      {{"uniform", WeightKind::uniform}, {"softmax", WeightKind::softmax}}};
};
template <>
struct EnumNames<TemperatureRule> {
  static constexpr std::array<std::pair<std::string_view, TemperatureRule>, 3> names{
      {{"divide", TemperatureRule::divide},
       {"multiply", TemperatureRule::multiply},
       {"divide_by_spread", TemperatureRule::divide_by_spread}}};
};
template <>
struct EnumNames<StdUpdate> {
  static constexpr std::array<std::pair<std::string_view, StdUpdate>, 3> names{
      {{"fixed", StdUpdate::fixed},
       {"unbiased", StdUpdate::unbiased},
       {"population", StdUpdate::population}}};
};
template <>
struct EnumNames<StdMomentum> {
  static constexpr std::array<std::pair<std::string_view, StdMomentum>, 2> names{
      {{"std", StdMomentum::std}, {"variance", StdMomentum::variance}}};
};
template <>
struct EnumNames<Returned> {
  static constexpr std::array<std::pair<std::string_view, Returned>, 4> names{
      {{"mean", Returned::mean},
       {"best_last", Returned::best_last},
       {"best_ever", Returned::best_ever},
       {"sampled_survivor", Returned::sampled_survivor}}};
};
template <>
struct EnumNames<SurvivorDraw> {
  static constexpr std::array<std::pair<std::string_view, SurvivorDraw>, 2> names{
      {{"gumbel", SurvivorDraw::gumbel}, {"inverse_cdf", SurvivorDraw::inverse_cdf}}};
};
template <>
struct EnumNames<PlannerRecord> {
  static constexpr std::array<std::pair<std::string_view, PlannerRecord>, 2> names{
      {{"summary", PlannerRecord::summary}, {"everything", PlannerRecord::everything}}};
};

/// Options of SamplingPlanner; the defaults are LeWM's CEM with a final evaluation. Per-dimension
/// lists have 1 value, one per raw action dimension, or one per element of a block; all are in
/// normalised action units.
struct FORESIGHT_API SamplingOptions {
  int64_t samples = 300;
  int64_t iterations = 30;
  int64_t elites = 30;
  double sample_decay = 1.0;

  ProposalKind proposal = ProposalKind::gaussian;
  std::vector<double> initial_mean = {0.0};
  std::vector<double> initial_std = {1.0};
  std::vector<double> covariance = {};
  std::vector<double> noise_mean = {};
  double noise_exponent = 2.0;
  NoiseScale noise_scale = NoiseScale::per_sequence;
  NoiseSchedule noise_schedule = NoiseSchedule::fresh;
  NoiseSharing noise_sharing = NoiseSharing::shared;
  int64_t knots = 0;
  KnotKernel knot_kernel = KnotKernel::rbf;
  double kernel_width = 1.0;
  double rate_step = 1.0;
  std::vector<double> max_rate = {};

  MeanCandidate mean_candidate = MeanCandidate::every_iteration;
  bool zero_candidate = false;
  int64_t kept_elites = 0;
  int64_t carried_elites = 0;
  BoundKind bound = BoundKind::none;
  double radius = 1.0;

  WeightKind weights = WeightKind::uniform;
  double temperature = 1.0;
  TemperatureRule temperature_rule = TemperatureRule::divide;
  StdUpdate std_update = StdUpdate::unbiased;
  std::vector<double> mean_momentum = {0.0};
  std::vector<double> std_momentum = {0.0};
  StdMomentum std_momentum_of = StdMomentum::std;
  double variance_offset = 0.0;
  double min_std = 0.0;
  double max_std = 0.0;
  double smoothing = 0.0;
  double control_cost = 0.0;
  bool absolute_noise_cost = false;

  Returned returned = Returned::mean;
  SurvivorDraw survivor_draw = SurvivorDraw::gumbel;
  double exploration = 0.0;
  std::vector<double> dead_zone = {};
  Tail tail = Tail::prior;
  bool evaluate_result = true;
  int64_t max_candidates = 0;
  PlannerRecord record = PlannerRecord::summary;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("samples", self.samples, "candidates per iteration");
    visit("iterations", self.iterations, "iterations per solve");
    visit("elites", self.elites, "candidates that shape the update; 0: all of them");
    visit("sample_decay", self.sample_decay,
          "iteration i uses max(samples / sample_decay^i, 2 * elites) candidates; 1: constant");
    visit("proposal", self.proposal, "what is sampled");
    visit("initial_mean", self.initial_mean, "prior mean, also of missing warm-start rows");
    visit("initial_std", self.initial_std, "std at the start of every solve");
    visit("covariance", self.covariance,
          "row-major noise covariance over the raw dimensions or the block; replaces initial_std; "
          "not with bound = truncated");
    visit("noise_mean", self.noise_mean, "added to every draw; empty: zero");
    visit("noise_exponent", self.noise_exponent, "spectral exponent of coloured noise; 0: white");
    visit("noise_scale", self.noise_scale, "scale of coloured noise");
    visit("noise_schedule", self.noise_schedule, "fresh draws per iteration or one set per solve");
    visit("noise_sharing", self.noise_sharing, "the same draws for all problems or own ones");
    visit("knots", self.knots, "control points; 0: half the horizon");
    visit("knot_kernel", self.knot_kernel, "interpolation of knots");
    visit("kernel_width", self.kernel_width, "std of the rbf kernel, in blocks");
    visit("rate_step", self.rate_step, "time step that turns rates into actions");
    visit("max_rate", self.max_rate, "limit of sampled rates per rate_step; empty: none");
    visit("mean_candidate", self.mean_candidate, "when the mean is a candidate");
    visit("zero_candidate", self.zero_candidate, "the zero plan is a candidate");
    visit("kept_elites", self.kept_elites, "best candidates that join the next iteration");
    visit("carried_elites", self.carried_elites,
          "best candidates that join the next solve, shifted");
    visit("bound", self.bound, "how candidates are kept within limits");
    visit("radius", self.radius, "largest Euclidean length of a raw action (radial bound)");
    visit("weights", self.weights, "how survivors count");
    visit("temperature", self.temperature, "of softmax weights");
    visit("temperature_rule", self.temperature_rule, "how the temperature enters");
    visit("std_update", self.std_update, "estimator of the new std");
    visit("mean_momentum", self.mean_momentum, "share of the old mean in the new one");
    visit("std_momentum", self.std_momentum, "share of the old std in the new one");
    visit("std_momentum_of", self.std_momentum_of, "std or variance is averaged");
    visit("variance_offset", self.variance_offset, "added to the variance before the root");
    visit("min_std", self.min_std, "floor of the refitted std");
    visit("max_std", self.max_std, "ceiling of the refitted std; 0: none");
    visit("smoothing", self.smoothing, "added to categorical frequencies before normalising");
    visit("control_cost", self.control_cost,
          "lambda in lambda * sum_t u_t' Sigma^-1 (candidate - u)_t, added to the cost");
    visit("absolute_noise_cost", self.absolute_noise_cost, "use |candidate - u| in control_cost");
    visit("returned", self.returned, "which plan is the answer");
    visit("survivor_draw", self.survivor_draw, "how a survivor is drawn");
    visit("exploration", self.exploration,
          "times the final std, added as noise to the first block");
    visit("dead_zone", self.dead_zone, "smaller magnitudes of the answer become 0; empty: off");
    visit("tail", self.tail, "rule for missing warm-start rows");
    visit("evaluate_result", self.evaluate_result,
          "one more rollout for the cost and terms of the answer when it is not a candidate; under "
          "constraints, without it or the time for it, the best candidate is the answer");
    visit("max_candidates", self.max_candidates, "candidates per cost call; 0: all at once");
    visit("record", self.record, "keep a summary or everything of each iteration");
  }
  std::vector<std::string> validate() const;
};

}  // namespace foresight
