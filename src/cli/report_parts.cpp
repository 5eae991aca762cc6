// SPDX-License-Identifier: Apache-2.0
#include "report_parts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

namespace foresight::cli {
namespace {

constexpr int64_t kMapPoints = 1500;  // enough to see the shape, few enough for a light page
constexpr int64_t kImaginedPaths = 6;

std::vector<double> doubles(const Tensor& tensor) {
  const auto flat = tensor.to(at::kCPU, at::kDouble).contiguous().flatten();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

// Every k-th row, so that at most `count` remain.
Tensor thinned(const Tensor& rows, int64_t count) {
  return rows.slice(0, 0, rows.size(0), std::max<int64_t>(1, (rows.size(0) + count - 1) / count));
}

// The two principal axes of centred latents, on the CPU.
struct PrincipalAxes {
  Tensor mean, directions;  // [D], [D,2]
  std::vector<double> explained;
  Tensor project(const Tensor& latents) const {
    return at::matmul(latents.to(at::kCPU, at::kDouble) - mean, directions);
  }
};

PrincipalAxes principal_axes(const Tensor& latents, Tensor& spectrum) {
  const auto z = latents.to(at::kCPU, at::kDouble);
  const auto mean = z.mean(0);
  const auto centred = z - mean;
  const auto covariance = at::matmul(centred.t(), centred) / static_cast<double>(z.size(0));
  const auto [values, vectors] = at::linalg_eigh(covariance);
  spectrum = values.flip(0).clamp_min(0);
  const auto total = spectrum.sum().item<double>();
  PrincipalAxes axes{mean, vectors.flip(1).narrow(1, 0, std::min<int64_t>(2, z.size(1))), {}};
  for (int64_t i = 0; i < axes.directions.size(1); ++i)
    axes.explained.push_back(total > 0 ? spectrum[i].item<double>() / total : 0.0);
  return axes;
}

viz::SuccessRow success_row(const nlohmann::json& report, const std::string& name) {
  return {.planner = name,
          .successes = report.at("successes"),
          .trials = report.at("trials"),
          .low = report.at("interval").at(0),
          .high = report.at("interval").at(1)};
}

viz::InstanceRow instance_row(const nlohmann::json& report, const std::string& name) {
  viz::InstanceRow row{.planner = name};
  for (const auto& record : report.at("instances"))
    row.outcome.push_back(record.at("success").get<bool>() ? 1.0 : 0.0);
  return row;
}

// By what tells the published planners apart.
std::string planner_name(const nlohmann::json& evaluation) {
  const auto agent = evaluation.value("agent", nlohmann::json::object());
  const auto sampling = agent.value("sampling", nlohmann::json());
  if (!sampling.is_object()) return "planner";  // of an earlier version
  if (sampling.value("weights", "") == enum_name(WeightKind::softmax)) return "MPPI";
  return sampling.value("proposal", "") == enum_name(ProposalKind::coloured) ? "iCEM" : "CEM";
}

viz::TradeOffRow trade_off_row(const nlohmann::json& row, const std::string& protocol,
                               const std::string& planner) {
  const auto& success = row.at("success").at(protocol);
  viz::TradeOffRow told{
      .setting = planner + ", " + protocol,
      .samples = row.at("samples"),
      .iterations = row.at("iterations"),
      .horizon = row.at("horizon"),
      .milliseconds = row.at("latency").at("median_ms"),
      .success = success.at("successes").get<double>() / success.at("trials").get<double>()};
  if (success.contains("interval")) {  // earlier versions told none
    told.low = success.at("interval").at(0);
    told.high = success.at("interval").at(1);
  }
  return told;
}

}  // namespace

std::vector<viz::LossCurve> loss_curves(const std::vector<train::MetricsRow>& metrics) {
  std::map<std::string, viz::LossCurve> curves;
  for (const auto& row : metrics) {
    for (const auto& [name, value] : row.scalars) {
      for (const auto* part : {"/train/", "/validation/"}) {
        const auto at = name.find(part);
        if (at == std::string::npos) continue;
        auto& curve =
            curves[name.substr(0, at) + ": " + name.substr(at + std::string(part).size())];
        const bool train = part == std::string("/train/");
        (train ? curve.train_step : curve.val_step).push_back(static_cast<double>(row.step));
        (train ? curve.train : curve.val).push_back(value);
      }
    }
  }
  std::vector<viz::LossCurve> list;
  for (auto& [term, curve] : curves) {
    curve.term = term;
    list.push_back(std::move(curve));
  }
  return list;
}

void describe_training(viz::RunReport& report, const io::Bundle& bundle) {
  const auto& provenance = bundle.config.provenance;
  report.data_set = {{"recordings", provenance.value("data", std::string("unknown"))}};
  for (const auto* count : {"episodes", "frames"})
    if (provenance.contains(count)) report.data_set.push_back({count, provenance[count].dump()});
  for (const auto& [key, value] : provenance.items())
    if (!value.is_array())
      report.provenance.push_back(
          {key, value.is_string() ? value.get<std::string>() : value.dump()});
  int64_t parameters = 0;
  for (const auto& [name, tensor] : bundle.model_tensors())
    if (!name.ends_with(".running_mean") && !name.ends_with(".running_var") &&
        at::isFloatingType(tensor.scalar_type()))
      parameters += tensor.numel();
  report.headline.push_back({"parameters", std::to_string(parameters)});
  double seconds = 0;
  for (const auto* stage : {"world_model", "critic"})
    if (provenance.contains(stage)) seconds += provenance[stage].value("seconds", 0.0);
  report.headline.push_back({"training", fmt::format("{:.0f} s", seconds)});
  if (provenance.contains("skipped_windows"))
    report.headline.push_back({"windows skipped", provenance["skipped_windows"].dump(),
                               "their frames could not be read: unreadable_episodes below"});
}

void describe_processes(viz::RunReport& report, const nlohmann::json& config) {
  std::vector<std::string> told;
  for (const auto& count : config.value("processes", nlohmann::json::array()))
    told.push_back(count.is_number() ? count.dump() : "unknown");
  if (!told.empty())
    report.provenance.push_back({"processes", fmt::format("{}", fmt::join(told, ", then "))});
}

void describe_data(viz::RunReport& report, const data::Dataset& dataset) {
  report.data_set = {
      {"recordings", dataset.name()},
      {"episodes", std::to_string(dataset.num_episodes())},
      {"frames", fmt::format("{} of {}x{} pixels", dataset.total_rows(), dataset.image_size().width,
                             dataset.image_size().height)},
      {"frame rate",
       dataset.fps() > 0 ? fmt::format("{} per second", dataset.fps()) : "not recorded"},
      {"used for training", "frames and actions; never the true state"}};
}

void describe_left_out(viz::RunReport& report, const std::map<int64_t, std::string>& unreadable,
                       const data::Dataset& dataset) {
  if (unreadable.empty()) return;
  fmt::print("{}\n", left_out(unreadable, dataset));
  std::string which;
  for (const auto& [name, why] : named(unreadable, dataset))
    which += fmt::format("{}{}: {}", which.empty() ? "" : "; ", name, why);
  report.headline.push_back({"episodes left out",
                             fmt::format("{} of {}", unreadable.size(), dataset.num_episodes()),
                             "their frames cannot all be read"});
  report.data_set.push_back({"left out", which});
}

// By the rule of the problems, which is that of their environment: the same for all of them.
std::string success_criterion(const nlohmann::json& protocols) {
  const auto rule = protocols.empty() ? nlohmann::json() : protocols.front().at("planner");
  const std::string names =
      "; a protocol a/b takes goals a steps ahead in the recordings, random/b start and goal "
      "anywhere, and both allow b steps";
  if (rule.is_object() && rule.value("solved_when", "terminated") != "terminated")
    return fmt::format("the last step of the protocol's budget ends nearer to the goal than {}{}",
                       rule.at("success_distance").get<double>(), names);
  return "the environment reports success within the protocol's budget" + names;
}

void add_evaluation(viz::RunReport& report, const nlohmann::json& evaluation) {
  try {
    for (const auto& entry : evaluation.at("protocols")) {
      const auto& planner = entry.at("planner");
      const auto protocol = planner.at("protocol").get<std::string>();
      report.headline.push_back({"goals reached, " + protocol,
                                 fmt::format("{} of {}", planner.at("successes").get<int64_t>(),
                                             planner.at("trials").get<int64_t>())});
      const auto add = [&](const nlohmann::json& row, const std::string& policy) {
        report.success.rows.push_back(success_row(row, policy + ", " + protocol));
        report.success.instances.push_back(instance_row(row, policy + ", " + protocol));
      };
      add(planner, "planner");
      if (entry.contains("baselines"))
        for (const auto& baseline : entry.at("baselines"))
          add(baseline, baseline.at("policy").get<std::string>());
      for (const auto* part : {"act", "plan"}) {
        const auto& latency = entry.at("latency").at(part);
        report.timings.push_back(
            {.operation = part == std::string("act")
                              ? "decide: encode, plan, check (" + protocol + ")"
                              : "plan only (" + protocol + ")",
             .runs = latency.at("runs"),
             .median = latency.at("median_ms"),
             .p95 = latency.at("p95_ms"),
             .p99 = latency.at("p99_ms"),
             .max = latency.at("worst_ms")});
      }
    }
    report.success.criterion = success_criterion(evaluation.at("protocols"));
    if (!evaluation.contains("trade_off")) return;
    // Of several protocols the last, which is usually the hardest.
    const auto& last = evaluation.at("protocols").back().at("planner").at("protocol");
    for (const auto& row : evaluation.at("trade_off"))
      report.trade_offs.push_back(
          trade_off_row(row, last.get<std::string>(), planner_name(evaluation)));
  } catch (const nlohmann::json::exception& problem) {
    throw Error(ErrorCategory::bad_file,
                fmt::format("eval.json is not a result of `foresight eval`: {}", problem.what()));
  }
}

void add_world_model(viz::RunReport& report, const Agent& agent,
                     std::shared_ptr<const data::FrameCache> frames, const Episodes& episodes,
                     const WorldModelMeasures& measures) {
  Tensor spectrum;
  const auto axes = principal_axes(measures.held_latents, spectrum);
  report.collapse.spectrum = doubles(spectrum);
  report.collapse.channels = measures.collapse.channels;
  report.headline.push_back(
      {"effective rank",
       fmt::format("{:.1f} of {}", measures.collapse.effective_rank, measures.collapse.channels)});
  if (measures.open_loop) {
    report.imagination.model = measures.open_loop->model_mse;
    report.imagination.copy_last = measures.open_loop->copy_mse;
  }
  if (measures.held_states.defined() && measures.held_states.size(1) >= 2) {
    report.latent = {
        .axes = axes.project(thinned(measures.held_latents, kMapPoints)),
        .position = thinned(measures.held_states, kMapPoints).narrow(1, 0, 2),
        .explained = axes.explained,
        .names = {measures.probe_report.columns[0].name, measures.probe_report.columns[1].name}};
    for (std::size_t i = 0; i < measures.probe_report.columns.size(); ++i) {
      const auto column = static_cast<int64_t>(i);
      report.probes.push_back(
          {.target = measures.probe_report.columns[i].name,
           .truth = doubles(thinned(measures.held_states, kMapPoints).select(1, column)),
           .predicted = doubles(thinned(measures.held_predictions, kMapPoints).select(1, column)),
           .r2 = measures.probe_report.columns[i].r2});
      report.headline.push_back(
          {"probe of " + measures.probe_report.columns[i].name,
           fmt::format("r = {:.4f}", measures.probe_report.columns[i].pearson_r)});
    }
  }
  // Imagined next to actual latents of a few held-out clips.
  const auto& dataset = *frames->dataset();
  const auto& action = agent.model().spec().action;
  PhiloxNoise noise(0);
  for (const auto episode : episodes.held_out) {
    const auto blocks =
        std::min<int64_t>(kOpenLoopHorizon, (dataset.length(episode) - 1) / action.block);
    if (blocks < 3 || static_cast<int64_t>(report.imagination.paths.size()) >= kImaginedPaths)
      continue;
    std::vector<int64_t> rows;
    for (int64_t t = 0; t <= blocks; ++t) rows.push_back(t * action.block);
    const auto latents =
        token_mean(agent.model().encode({kPixels, frames->frames(episode, rows)}, noise));
    const auto raw = dataset.read_rows(dataset.action_columns(), episode, 0, blocks * action.block);
    const auto actions = action.normalise(raw.to(at::kFloat).reshape({blocks, -1}));
    const auto start = agent.model().observe(agent.model().initial(1), {},
                                             {kPixels, frames->frames(episode, {0})}, noise);
    const auto future = actions.to(start.at("latent").device()).unsqueeze(0).unsqueeze(0);
    const auto imagined = agent.model().rollout(start, future, noise);
    report.imagination.paths.push_back(
        {.actual = axes.project(latents.narrow(0, 1, blocks)),
         .imagined = axes.project(token_mean(imagined.states.at("latent")).reshape({blocks, -1}))});
  }
}

}  // namespace foresight::cli
