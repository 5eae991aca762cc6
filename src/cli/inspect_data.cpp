// SPDX-License-Identifier: Apache-2.0
#include "inspect_data.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "foresight/core/log_once.hpp"
#include "foresight/data/inspection.hpp"
#include "foresight/data/windows.hpp"
#include "foresight/io/files.hpp"
#include "foresight/viz/image.hpp"

namespace foresight::cli {
namespace {

void print_statistics(const char* what, const data::Statistics& statistics) {
  for (std::size_t i = 0; i < statistics.columns.size(); ++i)
    fmt::print("{} {:<12} mean {:>10.4f}  std {:>10.4f}  min {:>10.4f}  max {:>10.4f}  {}{}\n",
               what, statistics.columns[i], statistics.mean[i], statistics.std[i],
               statistics.min[i], statistics.max[i],
               statistics.count[i] > 0 ? fmt::format("{} rows", statistics.count[i])
                                       : std::string("rows not told"),
               statistics.missing[i] > 0 ? fmt::format(", {} missing", statistics.missing[i])
                                         : std::string());
}

// As numpy calls it.
std::string type_name(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "float32";
    case at::kDouble:
      return "float64";
    case at::kLong:
      return "int64";
    case at::kInt:
      return "int32";
    case at::kBool:
      return "bool";
    default:
      return c10::toString(type);
  }
}

void print_list(const char* what, const std::vector<std::string>& names) {
  if (names.empty()) return;
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  fmt::print("{}: {}\n", what, text);
}

void print_cameras(const data::Dataset& dataset, bool chosen) {
  print_list("cameras", dataset.cameras());
  if (chosen)
    fmt::print("camera looked at: {}\n", dataset.camera());
  else if (dataset.cameras().size() > 1)
    fmt::print("training sees camera '{}', unless --camera names another\n", dataset.camera());
}

void print_shape(const data::Dataset& dataset, const data::Inspection& found, bool chosen) {
  const auto& lengths = found.lengths;
  fmt::print("{}: {} episodes, {} frames of {}x{}{}\n", dataset.name(), lengths.size(),
             dataset.total_rows(), dataset.image_size().width, dataset.image_size().height,
             dataset.fps() > 0 ? fmt::format(" at {} per second", dataset.fps())
                               : std::string(", rate unknown"));
  fmt::print("episode length: shortest {}, median {}, longest {}\n", lengths.front(),
             lengths[lengths.size() / 2], lengths.back());
  const auto short_ones = std::count_if(lengths.begin(), lengths.end(), [](int64_t length) {
    return length < data::WindowOptions{.frames = 5}.rows();
  });
  if (short_ones > 0)
    fmt::print("{} episodes are too short for a window of 5 frames, 5 rows apart\n", short_ones);
  print_cameras(dataset, chosen);
  std::vector<std::string> columns;
  for (const auto& column : dataset.columns())
    columns.push_back(fmt::format("{} {}", column,
                                  found.unread.contains(column)
                                      ? std::string("not read")
                                      : type_name(dataset.column_type(column))));
  print_list("columns", columns);
  print_list("texts", dataset.text_columns());
  fmt::print("last action of an episode: {}\n", dataset.last_action() == data::LastAction::artefact
                                                    ? "artefact of the recorder"
                                                    : "applied");
}

void print_numbers(const data::Inspection& found) {
  print_statistics("action", found.actions);
  print_statistics("state ", found.states);
  print_statistics("stored", found.stored);
  for (const auto& one : found.saturation)
    fmt::print("action {:<12} at its limit in {:.1f} % of the rows\n", one.column, 100 * one.share);
  fmt::print("time: {}\n", found.timed ? fmt::format("{} irregular steps", found.irregular_steps)
                                       : std::string("no timestamps to check"));
}

void print_verdict(const data::Dataset& dataset, const data::Inspection& found) {
  for (const auto& seen : found.cameras)
    fmt::print("frames{}: {} of {} looked at, {} equal to the one before; in {} of {} episodes\n",
               found.cameras.size() > 1 ? fmt::format(" of '{}'", seen.camera) : std::string(),
               seen.frames_seen, dataset.total_rows(), seen.repeated_frames, seen.episodes_seen,
               dataset.num_episodes());
  for (const auto& problem : found.unreadable) fmt::print("UNREADABLE {}\n", problem);
  for (const auto& fault : found.faults) fmt::print("FAULT {}\n", fault);
  for (const auto& warning : found.warnings) fmt::print("WARNING {}\n", warning);
  const bool all = std::all_of(found.cameras.begin(), found.cameras.end(), [&](const auto& seen) {
    return seen.frames_seen == dataset.total_rows();
  });
  const std::string nothing = "nothing found that would spoil training";
  fmt::print("verdict: {}\n", found.good() ? nothing + (all ? "" : ", of the frames looked at")
                              : !found.faults.empty() ? "not fit for training: see the faults"
                              : found.usable() ? "readable; look at the warnings before training"
                                               : "not fit for training: some frames do not decode");
}

// Before anything is read.
void check_sheet(const std::string& file) {
  const auto ending = CLI::detail::to_lower(std::filesystem::path(file).extension().string());
  require(file.empty() || ending == ".png", ErrorCategory::invalid_option,
          "--sheet " + file + ": a contact sheet is written as PNG: give a name that ends in .png");
}

void write_sheet(const std::string& file, const data::Dataset& dataset) {
  const auto png = viz::encode_png(data::contact_sheet(dataset));
  io::replace_file_atomically(file, [&](io::OutputFile& to) { to.write(png.data(), png.size()); });
  fmt::print("contact sheet: {}\n", file);
}

}  // namespace

void inspect_data(const InspectDataFlags& flags, const data::InspectionOptions& options) {
  check_sheet(flags.sheet);
  const LogOnce once;  // each camera opens the recording again
  auto reading = flags.reading.options(
      {}, {.missing_states = data::NanPolicy::accept, .unreadable = data::Unreadable::skip});
  const auto dataset = flags.reading.open(flags.path, reading);
  const bool chosen = !flags.reading.camera.empty();
  std::vector<std::shared_ptr<const data::Dataset>> others;
  std::vector<std::string> lost;  // cameras of which nothing can be read
  for (const auto& camera : dataset->cameras()) {
    if (chosen || camera == dataset->camera()) continue;
    reading.camera = camera;
    try {
      others.push_back(data::open_dataset(flags.path, reading));
    } catch (const Error& error) {
      lost.push_back(fmt::format("camera '{}': {}", camera, error.what()));
    }
  }
  auto found = data::inspect(*dataset, options, others);
  found.unreadable.insert(found.unreadable.end(), lost.begin(), lost.end());
  print_shape(*dataset, found, chosen);
  print_numbers(found);
  print_verdict(*dataset, found);
  if (!flags.sheet.empty()) write_sheet(flags.sheet, *dataset);
  if (!found.usable()) throw CLI::RuntimeError(kNotFit);
}

}  // namespace foresight::cli
