// SPDX-License-Identifier: Apache-2.0
// Chapters on what was learned: losses, latent space, probes, collapse, imagination.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report_chapters.hpp"

namespace foresight::viz {

namespace {
constexpr FigureSize kThird = {360, 290};  // three in a row on a wide page
}  // namespace

void add_losses(Report& report, const RunReport& run) {
  report.prose(
      "One plot per loss term, before its weight; the loss is their weighted sum. Validation uses "
      "held-out episodes.");
  std::vector<Figure> figures;
  const FigureSize size = run.losses.size() <= 2 ? FigureSize{} : kThird;
  for (const auto& curve : run.losses) {
    LinePlot plot{curve.term,
                  {"training step"},
                  {"loss", "", scale_for({&curve.train, &curve.val})},
                  {},
                  size};
    plot.series.push_back(
        {.name = "training", .x = curve.train_step, .y = curve.train, .colour = kTrainColour});
    if (!curve.val.empty() || !curve.val_step.empty())
      plot.series.push_back({.name = "validation",
                             .x = curve.val_step,
                             .y = curve.val,
                             .marker = Marker::dot,
                             .colour = kValidationColour});
    figures.push_back({draw(plot)});
  }
  report.figures(figures);
}

void add_latent(Report& report, const RunReport& run) {
  const auto axes = columns(run.latent.axes, 2, "latent.axes");
  const auto position = columns(run.latent.position, 2, "latent.position");
  require_member(axes[0].size() == position[0].size(),
                 fmt::format("latent has {} points and {} positions, expected as many",
                             axes[0].size(), position[0].size()));
  report.prose(
      "Latents of held-out frames on their first two principal axes, coloured by recorded numbers. "
      "Smooth colours mean that the latent space is laid out like the world.");
  auto axis = [&](std::size_t index) {
    const auto& explained = run.latent.explained;
    return Axis{fmt::format("principal axis {}", index + 1),
                index < explained.size() ? percent(explained[index]) + " of the variance" : ""};
  };
  std::vector<Figure> figures;
  for (std::size_t c = 0; c < 2; ++c) {
    const auto& name = run.latent.names[c];
    ScatterPlot plot{"Coloured by " + name, axis(0), axis(1), axes[0], axes[1]};
    plot.value = position[c];
    plot.colour = {"true " + name, run.latent.unit};
    plot.size = {560, 400};
    figures.push_back({draw(plot)});
  }
  report.figures(figures);
}

void add_probes(Report& report, const RunReport& run) {
  report.prose(
      "A linear map from the frozen latent to a physical quantity, fitted on one set of episodes "
      "and shown on "
      "another. Points on the dashed line are predicted exactly.");
  std::vector<Figure> figures;
  for (const auto& probe : run.probes) {
    ScatterPlot plot{fmt::format("{}, R² = {:.3f}", probe.target, probe.r2),
                     {"true " + probe.target, probe.unit},
                     {"predicted " + probe.target, probe.unit},
                     probe.truth,
                     probe.predicted};
    plot.reference = Reference::identity;
    plot.aspect = Aspect::equal;
    plot.size = {360, 380};
    figures.push_back({draw(plot)});
  }
  report.figures(figures);
}

void add_collapse(Report& report, const RunReport& run) {
  const auto& collapse = run.collapse;
  std::vector<Figure> figures;
  const Axis step{"training step"};
  if (!collapse.variance.empty()) {
    LinePlot plot{"Variance of a latent channel",
                  step,
                  {"mean variance", "", scale_for({&collapse.variance})},
                  {},
                  kThird};
    if (plot.y.scale == Scale::linear) plot.y.low = 0;
    plot.series.push_back({.name = "variance", .x = collapse.step, .y = collapse.variance});
    figures.push_back({draw(plot)});
  }
  if (!collapse.effective_rank.empty()) {
    LinePlot plot{"Effective rank", step, {"dimensions"}, {}, kThird};
    plot.y.low = 0;
    plot.series.push_back(
        {.name = "effective rank", .x = collapse.step, .y = collapse.effective_rank});
    if (collapse.channels > 0) {
      const auto ends = std::minmax_element(collapse.step.begin(), collapse.step.end());
      const auto full = static_cast<double>(collapse.channels);
      if (!collapse.step.empty())
        plot.series.push_back({.name = "channels of the latent",
                               .x = {*ends.first, *ends.second},
                               .y = {full, full},
                               .stroke = Stroke::dashed,
                               .colour = kBaselineColour});
    }
    figures.push_back({draw(plot)});
  }
  if (!collapse.spectrum.empty()) {
    LinePlot plot{"Spectrum of the latent covariance",
                  {"index"},
                  {"eigenvalue", "", Scale::log10},
                  {},
                  kThird};
    plot.series.push_back({.name = "eigenvalue",
                           .x = counting(collapse.spectrum.size()),
                           .y = collapse.spectrum,
                           .marker = collapse.spectrum.size() <= 64 ? Marker::dot : Marker::none});
    figures.push_back({draw(plot)});
  }
  report.prose(
      "A collapsed encoder maps every frame to nearly the same point, which makes prediction easy "
      "and planning "
      "impossible. Variance near zero, an effective rank of a few dimensions or a spectrum that "
      "falls off a "
      "cliff are its signs.");
  report.figures(figures);
}

namespace {

std::vector<Figure> imagined_paths(const Imagination& imagination) {
  std::vector<Figure> figures;
  for (std::size_t i = 0; i < imagination.paths.size(); ++i) {
    const auto actual =
        columns(imagination.paths[i].actual, 2, fmt::format("imagination.paths[{}].actual", i));
    const auto imagined =
        columns(imagination.paths[i].imagined, 2, fmt::format("imagination.paths[{}].imagined", i));
    LinePlot plot{
        fmt::format("Clip {}", i + 1), {"principal axis 1"}, {"principal axis 2"}, {}, {280, 300}};
    plot.series.push_back({.name = "actual",
                           .x = actual[0],
                           .y = actual[1],
                           .marker = Marker::dot,
                           .colour = kBaselineColour});
    plot.series.push_back({.name = "imagined",
                           .x = imagined[0],
                           .y = imagined[1],
                           .stroke = Stroke::dashed,
                           .marker = Marker::dot,
                           .colour = kModelColour});
    if (!actual[0].empty())
      plot.series.push_back({.name = "start",
                             .x = {actual[0].front()},
                             .y = {actual[1].front()},
                             .marker = Marker::dot,
                             .colour = kValidationColour});
    figures.push_back({draw(plot)});
  }
  return figures;
}

}  // namespace

void add_imagination(Report& report, const RunReport& run) {
  const auto& imagination = run.imagination;
  report.prose(
      "The model imagines a recorded clip from its first frames and the recorded actions alone, "
      "without seeing "
      "the rest. The baseline predicts that the latent never changes; a model is useful for "
      "planning as far as "
      "it stays below that.");
  std::vector<Figure> figures;
  if (!imagination.model.empty()) {
    const auto& copy = imagination.copy_last;
    LinePlot plot{"Error against the horizon",
                  {"imagined step"},
                  {imagination.metric, "", scale_for({&imagination.model, &copy})},
                  {},
                  {530, 300}};
    plot.y.low = plot.y.scale == Scale::linear ? std::optional(0.0) : std::nullopt;
    plot.series.push_back({.name = "model",
                           .x = counting(imagination.model.size()),
                           .y = imagination.model,
                           .low = imagination.model_low,
                           .high = imagination.model_high,
                           .marker = Marker::dot,
                           .colour = kModelColour});
    if (!copy.empty())
      plot.series.push_back({.name = "copy of the last frame",
                             .x = counting(copy.size()),
                             .y = copy,
                             .stroke = Stroke::dashed,
                             .marker = Marker::dot,
                             .colour = kBaselineColour});
    figures.push_back({draw(plot)});
  }
  for (auto& figure : imagined_paths(imagination)) figures.push_back(std::move(figure));
  report.figures(figures);
}

}  // namespace foresight::viz
