// SPDX-License-Identifier: Apache-2.0
// Parsing, exit codes and what every sub-command shares.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <vector>

#include "commands.hpp"
#include "foresight/core/error.hpp"

namespace foresight::cli {
namespace {

constexpr int kDone = 0, kFailed = 1, kUsage = 2;

// Options and sub-commands of the commands that were named: an option of another one is no help.
void collect_words(const CLI::App& app, std::vector<std::string>& names) {
  for (const auto* option : app.get_options())
    for (const auto& name : option->get_lnames()) names.push_back("--" + name);
  for (const auto* command : app.get_subcommands(nullptr)) names.push_back(command->get_name());
  for (const auto* named : app.get_subcommands()) collect_words(*named, names);
}

// "did you mean --steps?" for the first argument that nothing took.
std::string suggestion(const CLI::App& app) {
  const auto left = app.remaining(true);
  if (left.empty()) return {};
  std::vector<std::string> names;
  collect_words(app, names);
  const auto word = left.front().substr(0, left.front().find('='));
  const auto nearest = nearest_name(word, names);
  return nearest.empty() ? std::string() : "'" + word + "': did you mean '" + nearest + "'?";
}

// Sub-commands inherit the leave to have extras, with which suggestion() finds the unknown word.
void refuse_extras(CLI::App& app) {
  for (auto* command : app.get_subcommands(nullptr)) refuse_extras(*command);
  app.allow_extras(false);
}

}  // namespace

int run(int argc, const char* const* argv) {
  CLI::App app{"foresight: learn a latent world model from recorded video, plan and act with it"};
  app.set_version_flag("--version", FORESIGHT_VERSION);
  app.require_subcommand(1);
  app.allow_extras();
  add_record(app);
  add_inspect(app);
  add_convert(app);
  add_import(app);
  add_export(app);
  add_train(app);
  add_eval(app);
  add_plan(app);
  add_classify(app);
  add_report(app);
  refuse_extras(app);
  try {
    app.parse(argc, argv);
    return kDone;
  } catch (const CLI::RuntimeError& end) {  // a command that chose its code
    return end.get_exit_code();
  } catch (const CLI::ParseError& problem) {
    if (problem.get_exit_code() == 0) return app.exit(problem);  // --help, --version
    std::fprintf(stderr, "foresight: %s\n", problem.what());
    if (const auto hint = suggestion(app); !hint.empty())
      std::fprintf(stderr, "%s\n", hint.c_str());
    std::fprintf(stderr, "Run with --help for more information.\n");
    return kUsage;
  } catch (const Error& problem) {
    std::fprintf(stderr, "foresight: %s\n", problem.what());
    return problem.category() == ErrorCategory::invalid_option ? kUsage : kFailed;
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "foresight: unexpected: %s\n", problem.what());
    return kFailed;
  }
}

}  // namespace foresight::cli
