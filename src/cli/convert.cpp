// SPDX-License-Identifier: Apache-2.0
// foresight convert: recorded data from one format to another.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.hpp"
#include "flags.hpp"
#include "foresight/data/convert.hpp"
#include "foresight/train/progress.hpp"

namespace foresight::cli {
namespace {

struct ConvertFlags {
  std::string from, to;
  OptionFlags options;
};

void convert_command(const ConvertFlags& flags) {
  const auto options = resolve(data::ConvertOptions{}, flags.options);
  std::unique_ptr<train::Progress> progress;
  const auto done =
      data::convert_dataset(flags.from, flags.to, options, [&](int64_t episode, int64_t all) {
        if (!progress) progress = std::make_unique<train::Progress>("convert", all);
        progress->update(episode, 1, "episodes");
      });
  std::string cameras;
  for (const auto& camera : done.cameras) cameras += (cameras.empty() ? "" : ", ") + camera;
  fmt::print("converted {} episodes, {} rows, cameras {} to {} ({})\n", done.episodes, done.rows,
             cameras, flags.to, enum_name(options.format));
  for (const auto& one : done.left_out)
    fmt::print("LEFT OUT episode {} ({}): {}\n", one.episode, one.name, one.reason);
  if (!done.left_out.empty()) fmt::print("{} episode(s) left out\n", done.left_out.size());
}

}  // namespace

void add_convert(CLI::App& app) {
  auto flags = std::make_shared<ConvertFlags>();
  auto* command = app.add_subcommand("convert", "Write recorded data in another format");
  command->add_option("from", flags->from, "recorded data, of any format that is read")->required();
  command->add_option("to", flags->to, "folder to write; must not exist")->required();
  command->add_option_function<std::string>(
      "--camera,--reading.camera",
      [flags](const std::string& camera) { flags->options.set("reading.camera", camera); },
      "write this camera only (default: all of them; `foresight inspect` lists them)");
  add_options(*command, data::ConvertOptions{}, flags->options, {"reading.camera"});
  command->callback([flags] { convert_command(*flags); });
}

}  // namespace foresight::cli
