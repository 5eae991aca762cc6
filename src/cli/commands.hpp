// SPDX-License-Identifier: Apache-2.0
// The sub-commands of `foresight`. Each adds itself to the parser; its work is a callback that
// throws Error.
#pragma once

namespace CLI {
class App;
}

namespace foresight::cli {

/// Parses and runs a command line. Returns the exit code: 0 done, 1 failed, 2 wrong usage, 3 (of
/// `inspect`) recordings that are not fit for training, 128 + signal for a training that was
/// interrupted.
int run(int argc, const char* const* argv);

void add_record(CLI::App& app);
void add_inspect(CLI::App& app);
void add_convert(CLI::App& app);
void add_import(CLI::App& app);
void add_export(CLI::App& app);
void add_train(CLI::App& app);
void add_eval(CLI::App& app);
void add_plan(CLI::App& app);
void add_classify(CLI::App& app);
void add_report(CLI::App& app);

}  // namespace foresight::cli
