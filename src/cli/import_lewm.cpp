// SPDX-License-Identifier: Apache-2.0
// foresight import lewm.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "flags.hpp"
#include "importers.hpp"

namespace foresight::cli {
namespace {

struct LewmFlags {
  ImportFlags shared;
  ImportData data;
  OptionFlags options;
};

void import_lewm_command(const LewmFlags& flags) {
  auto options = resolve(models::LewmImportOptions{}, flags.options);
  if (flags.data.given()) measure_actions(options.action, flags.data);
  const auto weights = flags.shared.open(flags.shared.from);
  const auto tensors = flags.shared.tensors(weights);
  auto bundle = models::import_lewm(tensors, options, weights.config(), weights.path.string());
  write_imported(std::move(bundle), flags.shared, weights, tensors);
}

}  // namespace

void add_lewm_import(CLI::App& command) {
  auto flags = std::make_shared<LewmFlags>();
  flags->shared.add(command);
  flags->data.add(command,
                  "recordings that the model was trained on, for the statistics of its actions");
  add_options(command, models::LewmImportOptions{}, flags->options);
  command.callback([flags] { import_lewm_command(*flags); });
}

}  // namespace foresight::cli
