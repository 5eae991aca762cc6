// SPDX-License-Identifier: Apache-2.0
// The formats of recorded data, each behind one function; open_dataset() chooses between them.
// Private to the data folder.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "foresight/data/dataset.hpp"

namespace foresight::data {

using OpenedDataset = std::shared_ptr<const Dataset>;

/// Throws Error(invalid_option) where DatasetOptions.split names a part of the recordings at
/// `path`, whose format has none that is read.
void refuse_split(const std::filesystem::path& path, const DatasetOptions& options);

/// LeRobot v2.0, v2.1, v3.0: a folder with meta/info.json.
OpenedDataset open_lerobot(const std::filesystem::path& folder, const DatasetOptions& options);

/// An HDF5 file of stable-worldmodel or robomimic, told by what it holds. `remarks` are of how it
/// was found.
OpenedDataset open_hdf5(const std::filesystem::path& path, const DatasetOptions& options,
                        std::vector<std::string> remarks = {});
/// Whether the file is such a one; false where it cannot be opened, as in a build without HDF5.
bool holds_hdf5_recording(const std::filesystem::path& path);

/// Several HDF5 files of one folder as one data set, in this order. With Unreadable::skip those
/// that cannot be opened are left out and named in its remarks, behind `remarks` of how the files
/// were found. Throws Error(bad_file) naming one that cannot be opened, or two whose features
/// differ.
OpenedDataset open_hdf5_files(const std::vector<std::filesystem::path>& files,
                              const DatasetOptions& options, std::vector<std::string> remarks = {});

/// stable-worldmodel's folders of .npz columns with videos or pictures.
OpenedDataset open_swm_folder(const std::filesystem::path& folder, const DatasetOptions& options);

/// DINO-WM: states.pth, actions and obses/.
OpenedDataset open_dino_wm(const std::filesystem::path& folder, const DatasetOptions& options);
/// What DINO-WM publishes of an environment: a folder with two of these, train/ and val/, as one
/// data set with these splits. DatasetOptions.split opens one alone.
OpenedDataset open_dino_wm_splits(const std::filesystem::path& folder,
                                  const DatasetOptions& options);
bool holds_dino_wm_splits(const std::filesystem::path& folder);

/// DROID: an episode's folder with trajectory.h5, a folder with such folders below it, or a text
/// file that lists them.
OpenedDataset open_droid(const std::filesystem::path& path, const DatasetOptions& options);
bool holds_droid_episodes(const std::filesystem::path& folder);

/// Videos or pictures alone: a folder with any of them, here or below, or one file. `remarks` are
/// of what else lies there.
OpenedDataset open_pictures(const std::filesystem::path& path, const DatasetOptions& options,
                            std::vector<std::string> remarks = {});
/// One of these, whichever the system lists first; empty where there is none.
std::filesystem::path any_picture(const std::filesystem::path& path);

}  // namespace foresight::data
