// SPDX-License-Identifier: Apache-2.0
#include "reading_flags.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <vector>

#include "foresight/core/log.hpp"
#include "foresight/io/bundle.hpp"

namespace foresight::cli {
namespace {

constexpr const char* kUnreadable = "unreadable";

// Whether these are flags of that command, or of one below it.
bool belongs_to(const CLI::App* app, const char* command) {
  for (; app != nullptr; app = app->get_parent())
    if (app->get_name() == command) return true;
  return false;
}

std::shared_ptr<const data::Dataset> open_seen_by(const std::string& path,
                                                  data::DatasetOptions options,
                                                  const std::string& asked,
                                                  const std::string& usual) {
  options.camera = asked.empty() ? usual : asked;
  try {
    return data::open_dataset(path, options);
  } catch (const Error& problem) {
    if (problem.category() != ErrorCategory::not_found || !asked.empty() || usual.empty()) throw;
  }
  options.camera.clear();
  auto dataset = data::open_dataset(path, options);
  if (dataset->cameras().size() > 1)
    log(LogLevel::warning, path + ": has no camera '" + usual +
                               "', which was trained on; frames are of '" + dataset->camera() +
                               "'");
  return dataset;
}

}  // namespace

TrainedOn told_by(const nlohmann::json& object) {
  TrainedOn told;
  if (!object.is_object()) return told;
  told.identity = data::identity_told(object);
  if (const auto reading = object.find("reading"); reading != object.end()) {
    require(reading->is_object(), ErrorCategory::invalid_option,
            "'reading' is no object: " + reading->dump());
    told.reading = *reading;
  }
  // A run tells it among its options; a bundle of an earlier version names what was skipped.
  const nlohmann::json::json_pointer option("/learn/loader/unreadable");
  if (object.contains(option))
    told.reading[kUnreadable] = object[option];
  else if (object.contains("unreadable_episodes") && !told.reading.contains(kUnreadable))
    told.reading[kUnreadable] = enum_name(data::Unreadable::skip);
  return told;
}

TrainedOn told_by_bundle(const std::filesystem::path& bundle) {
  const auto file = bundle / io::kBundleConfigFile;
  if (!std::filesystem::exists(file)) return {};
  return told_by(io::read_bundle_config(io::read_json(file), file.string()).provenance);
}

void ReadingFlags::add(CLI::App& app, LoaderFlag loader) {
  const bool inspects = belongs_to(&app, "inspect");
  const bool as_trained = !inspects && !belongs_to(&app, "import");
  std::string usual_camera = inspects ? "the first" : "the first that is listed";
  if (inspects) usual_camera = "all, on the contact sheet " + usual_camera;
  if (as_trained)
    usual_camera = "the one that a run or bundle was trained on, else " + usual_camera;
  app.add_option("--camera,--reading.camera", camera,
                 fmt::format("recordings of several cameras: whose frames are read (default: {}; "
                             "`foresight inspect` lists them)",
                             usual_camera));
  data::DatasetOptions usual;
  if (inspects)  // as inspect_data() reads
    usual = {.missing_states = data::NanPolicy::accept, .unreadable = data::Unreadable::skip};
  std::vector<FieldFlag> fields;
  list_fields(usual, "reading", fields);
  std::erase_if(fields, [](const FieldFlag& field) { return field.path == "reading.camera"; });
  add_field_flags(app, fields, given);
  if (as_trained)
    add_note(app,
             "--reading.*: the values shown hold unless a run or bundle was trained with others.");
  if (loader == LoaderFlag::own) return;
  app.add_option_function<std::string>(
         "--loader.unreadable",
         [this](const std::string& text) {
           given.set(std::string("reading.") + kUnreadable, text);
         },
         fmt::format("the same as --reading.unreadable (default: {}): skip leaves out episodes "
                     "whose frames cannot be read, and counts them",
                     as_trained ? "as a run or bundle was trained, else fail"
                                : enum_name(usual.unreadable)))
      ->excludes("--reading.unreadable");
}

nlohmann::json ReadingFlags::over(const nlohmann::json& told) const {
  auto fields = told;
  fields.merge_patch(given.patch.value("reading", nlohmann::json::object()));
  return fields;
}

nlohmann::json ReadingFlags::kept(const nlohmann::json& told) const {
  auto fields = over(told);
  fields.erase(kUnreadable);
  fields.erase("threads");
  return fields;
}

data::DatasetOptions ReadingFlags::options(const TrainedOn& trained_on,
                                           data::DatasetOptions options) const {
  read_options(options, over(trained_on.reading), "reading");
  return options;
}

std::shared_ptr<const data::Dataset> ReadingFlags::open_as(const TrainedOn& trained_on,
                                                           const std::string& path,
                                                           data::DatasetOptions asked) const {
  auto how = options(trained_on, std::move(asked));
  const auto& usual = trained_on.identity.camera;
  auto dataset = open_seen_by(path, how, camera, usual);
  const auto& here = dataset->action_columns();
  const auto& then = trained_on.identity.action_columns;
  if (then.empty() && !trained_on.identity.data.empty()) {  // by an early version, or no actions
    std::vector<std::string> in_table;
    for (const auto& column : dataset->columns())
      if (std::find(here.begin(), here.end(), column) != here.end()) in_table.push_back(column);
    if (!data::unnumbered_order(in_table).empty())
      log(LogLevel::warning,
          path +
              ": action columns are read in the order of their numbers. What was trained by an "
              "early version, which did not tell their order, had them as the table has: then "
              "list them so in dataset.json (\"action_columns\")");
  }
  if (here == then || !std::is_permutation(here.begin(), here.end(), then.begin(), then.end()))
    return dataset;
  log(LogLevel::warning,
      path + ": action " +
          (data::unnumbered_order(then).empty() ? std::string("columns are in another order here")
                                                : data::unnumbered_order(then)) +
          "; the order of the training is kept, so that a command means what "
          "was learned");
  how.actions = then;
  return open_seen_by(path, std::move(how), camera, usual);
}

}  // namespace foresight::cli
