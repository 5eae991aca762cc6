// SPDX-License-Identifier: Apache-2.0
// One episode from any source to a writer. Private to the data folder.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "foresight/data/episode_writer.hpp"

namespace foresight::data {

/// The source of a conversion, opened once for every camera.
struct ConversionSource {
  std::vector<std::string> cameras;
  std::vector<std::shared_ptr<const Dataset>> datasets;  ///< by camera
  const Dataset& first() const { return *datasets.front(); }
};

/// What reading an episode throws, as opposed to what writing it does.
class EpisodeReadError final : public Error {
  using Error::Error;
};

/// Writes an episode of `source` as `writing` describes it, and finishes it. Frames of all cameras
/// are read in pieces: an episode need not fit into memory. Throws EpisodeReadError where it cannot
/// be read, and what EpisodeWriter's functions throw.
void convert_episode(const ConversionSource& source, const RecordingOptions& writing,
                     int64_t episode, EpisodeWriter& writer);

/// Notes and names are JSON; a path may be of any bytes. What is no character becomes U+FFFD.
std::string as_utf8(const std::string& text);

}  // namespace foresight::data
