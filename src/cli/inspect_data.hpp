// SPDX-License-Identifier: Apache-2.0
// foresight inspect on recorded data: what is in it, and what would spoil training.
#pragma once

#include <string>

#include "foresight/data/inspection.hpp"
#include "reading_flags.hpp"

namespace foresight::cli {

struct InspectDataFlags {
  std::string path;
  ReadingFlags reading;  ///< over missing_states = accept, unreadable = skip
  std::string sheet;     ///< *.png for the contact sheet; empty: none
};

/// The exit code where something was found that would break training.
inline constexpr int kNotFit = 3;

/// Prints to standard output: all cameras unless the flag chooses one. Throws Error, and
/// CLI::RuntimeError with kNotFit, when everything is printed.
void inspect_data(const InspectDataFlags& flags, const data::InspectionOptions& options);

}  // namespace foresight::cli
