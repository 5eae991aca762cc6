// SPDX-License-Identifier: Apache-2.0
// What every writer checks of a row before it writes any of it. Private to the data folder.
#pragma once

#include <map>
#include <string>

#include "foresight/data/episode_writer.hpp"

namespace foresight::data {

/// Throws as EpisodeWriter::append(). `where` opens every message; `sizes` are the known sizes of
/// the cameras' frames. Returns the values of every feature as [columns] on the CPU, in the
/// feature's type.
std::map<std::string, Tensor> checked_row(const RecordingOptions& options, const RecordedRow& row,
                                          const std::map<std::string, ImageSize>& sizes,
                                          const std::string& where);

/// Removes what a killed writer left below `folder`: files called NAME.PID.tmp whose process is
/// gone, and NAME.staged.
void remove_abandoned_files(const std::filesystem::path& folder);

}  // namespace foresight::data
