// SPDX-License-Identifier: Apache-2.0
// A recording in a folder of its own, made by the test: short films of one grey level each, and
// tables. And ways to damage it.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "foresight/data/video_writer.hpp"
#include "temporary_folder.hpp"

namespace foresight {

class FilmFolder {
 public:
  FilmFolder(int64_t episodes, int64_t rows, int64_t side = 16) : rows_(rows), side_(side) {
    for (int64_t e = 0; e < episodes; ++e) add();
  }
  const std::filesystem::path& path() const { return folder_.path(); }
  std::filesystem::path film(int64_t episode) const { return file(episode, ".mp4"); }

  /// One more episode. Its films are noise around a grey level that is 20 times its number.
  void add() {
    data::VideoWriter writer(film(count_), {.fps = 10, .key_interval = 4, .preset = "ultrafast"});
    const auto noise = at::arange(rows_ * side_ * side_ * 3)
                           .mul(7919)
                           .remainder(31)
                           .view({rows_, side_, side_, 3});
    writer.write((noise + 20 * (count_ % 11)).to(at::kByte));
    writer.close();
    std::ofstream table(file(count_, ".csv"));
    table << "frame,action_0\n";
    for (int64_t row = 0; row < rows_; ++row)
      table << row << ',' << 0.1 * static_cast<double>(row % 5) << '\n';
    ++count_;
  }

  /// Spoils the coded pictures of a film without a trace in its size or time: a bad disk block.
  void spoil(int64_t episode) const {
    const auto time = std::filesystem::last_write_time(film(episode));
    const auto size = static_cast<std::streamoff>(std::filesystem::file_size(film(episode)));
    {
      std::fstream bytes(film(episode), std::ios::in | std::ios::out | std::ios::binary);
      bytes.seekp(size / 3 * 2);
      for (std::streamoff i = size / 3 * 2; i < size; ++i) bytes.put('\xFF');
    }
    std::filesystem::last_write_time(film(episode), time);
  }
  void cut(int64_t episode) const {
    std::filesystem::resize_file(film(episode), std::filesystem::file_size(film(episode)) / 2);
  }
  void remove(int64_t episode) const { std::filesystem::remove(film(episode)); }

 private:
  std::filesystem::path file(int64_t episode, const char* extension) const {
    auto name = std::to_string(episode);
    name.insert(0, name.size() < 4 ? 4 - name.size() : 0, '0');
    return folder_ / ("episode_" + name + extension);
  }

  TemporaryFolder folder_;
  int64_t rows_, side_, count_ = 0;
};

}  // namespace foresight
