// SPDX-License-Identifier: Apache-2.0
// Which recordings something was learned from: told once, in a run's config.json and in a bundle's
// provenance, so that a run goes on with, and a model is measured on, the same ones.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "foresight/data/dataset.hpp"

namespace foresight::data {

/// Recordings and what of them was learned from. Empty and 0: not known, as earlier versions told
/// less.
struct FORESIGHT_API DataIdentity {
  std::string data = {};                           ///< the name: the path as it was given
  std::string camera = {};                         ///< whose pictures
  std::vector<std::string> action_columns = {};    ///< that were learned from
  std::vector<std::string> observed_columns = {};  ///< state columns that were learned from
  int64_t episodes = 0, frames = 0;
  std::string fingerprint =
      {};  ///< of all lengths, and of numbers of a few episodes; 16 hex digits
  /// Of the stored pictures of `camera`, wherever they lie: "1:" (how it is made) and, for each of
  /// up to 32 parts of equally many episodes, 8 hex digits of the sizes of all its files and of
  /// some bytes of its first episode, or "-" where some pictures cannot be read.
  std::string pictures = {};

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("data", self.data, "name of the recordings: the path as it was given");
    visit("camera", self.camera, "whose pictures");
    visit("action_columns", self.action_columns, "action columns that were learned from");
    visit("observed_columns", self.observed_columns, "state columns that were learned from");
    visit("episodes", self.episodes, "episodes");
    visit("frames", self.frames, "rows of all episodes");
    visit("fingerprint", self.fingerprint, "of all lengths and some numbers");
    visit("pictures", self.pictures, "of sizes and some bytes of the stored pictures");
  }
};

/// The identity of `dataset`, of which these columns are learned from. Reads them in three
/// episodes, and of 32 at most some bytes of their pictures. Throws Error(bad_file) for a column
/// that is learned from, or a camera, whose name is not UTF-8: it could not be told.
FORESIGHT_API DataIdentity identity_of(const Dataset& dataset, std::vector<std::string> actions,
                                       std::vector<std::string> observed);

/// What `object`, a config.json or a provenance, tells beside other things. Throws
/// Error(invalid_option) for a value of another kind.
FORESIGHT_API DataIdentity identity_told(const nlohmann::json& object);

/// What tells `now` from `then`, e.g. "frames: 240 here, 200 then"; nothing of what one of them
/// does not know, and of pictures only where both are of one camera. Not `data`: recordings may
/// have moved.
FORESIGHT_API std::vector<std::string> differences(const DataIdentity& now,
                                                   const DataIdentity& then);

/// Whether both paths lead to one place, however they are spelled.
FORESIGHT_API bool same_place(const std::string& a, const std::string& b);

/// Whether `dataset` holds the recordings that were learned from then, whatever camera it shows:
/// the same ones by their fingerprint, else as many episodes and frames at the same place. Where no
/// numbers tell them apart, pictures of the same camera must be the same too.
FORESIGHT_API bool holds(const Dataset& dataset, const DataIdentity& then);

/// What is to be said of columns of one vector that are not in the order of their numbers, as
/// earlier versions read hand-made tables: action_0, action_1, action_10, action_2. Empty where
/// there are none.
FORESIGHT_API std::string unnumbered_order(const std::vector<std::string>& columns);

}  // namespace foresight::data
