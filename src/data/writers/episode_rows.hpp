// SPDX-License-Identifier: Apache-2.0
// What every writer checks of a row before it writes any of it. Private to the data folder.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "foresight/data/episode_writer.hpp"

namespace foresight::data {

/// Throws as EpisodeWriter::append(). `where` opens every message; `sizes` are the known sizes of
/// the cameras' frames. Returns the values of every feature as [columns] on the CPU, in the
/// feature's type.
std::map<std::string, Tensor> checked_row(const RecordingOptions& options, const RecordedRow& row,
                                          const std::map<std::string, ImageSize>& sizes,
                                          const std::string& where);

/// Whether its shape has to be kept: one number is one in any shape.
bool is_matrix(const RecordedFeature& feature);

/// Of the matrices, by the stem of their columns, as dataset.json has them.
std::map<std::string, std::vector<int64_t>> table_shapes(
    const std::vector<RecordedFeature>& features);

/// Of the columns that are not float32, the names of their types, as dataset.json has them.
std::map<std::string, std::string> table_types(const std::vector<RecordedFeature>& features);

/// Of the columns whose features tell what they are, RecordedFeature::names, as dataset.json has
/// them.
std::map<std::string, std::string> table_names(const std::vector<RecordedFeature>& features);

/// Removes what a killed writer left below `folder`: files called NAME.PID.tmp whose process is
/// gone, NAME.tmp-* that nobody has locked, and NAME.staged.
void remove_abandoned_files(const std::filesystem::path& folder);

}  // namespace foresight::data
