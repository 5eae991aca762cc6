// SPDX-License-Identifier: Apache-2.0
// An episode as an mp4 film: what the camera saw, where the robot has been, what it planned at each
// moment and the goal beside it. Enough to see at a glance why an episode failed.
#pragma once

#include <filesystem>

#include "foresight/core/tensor.hpp"

namespace foresight::viz {

/// What a film shows. Coordinates are pixels of `frames` (x right, y down; (0,0) is the centre of
/// the first pixel).
struct EpisodeFilm {
  Tensor frames;          ///< uint8 [T,H,W,3], at least one frame
  Tensor goal = {};       ///< uint8 [H,W,3], shown at half size beside the frame; undefined: none
  Tensor positions = {};  ///< [T,2], the executed path grows with the film; undefined: none
  Tensor plans = {};  ///< [T,N,2], the plan at each frame; NaN rows are not drawn; undefined: none
  int64_t scale = 6;  ///< every pixel becomes scale x scale, 1 to 32
  double fps = 10;    ///< frames per second
};

/// Picture `t` of the film, uint8 [H',W',3] with even sides. Throws Error(invalid_argument) naming
/// the member that has a wrong shape, type or range.
FORESIGHT_API Tensor film_picture(const EpisodeFilm& film, int64_t t);

/// Writes the film to `path`; it appears under its name only when complete. Throws as
/// film_picture() and data::VideoWriter do.
FORESIGHT_API void write_episode_film(const EpisodeFilm& film, const std::filesystem::path& path);

}  // namespace foresight::viz
