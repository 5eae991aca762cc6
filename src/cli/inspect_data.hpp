// SPDX-License-Identifier: Apache-2.0
// foresight inspect on recorded data: what is in it, and what would spoil training.
#pragma once

#include <string>

#include "camera_flag.hpp"
#include "foresight/data/inspection.hpp"

namespace foresight::cli {

struct InspectDataFlags {
  std::string path;
  CameraFlag camera;
  std::string sheet;  ///< PNG file for the contact sheet; empty: none
};

/// Prints to standard output. Throws Error.
void inspect_data(const InspectDataFlags& flags, const data::InspectionOptions& options);

}  // namespace foresight::cli
