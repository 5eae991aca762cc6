// SPDX-License-Identifier: Apache-2.0
// For the examples that make files: a folder of the system's own place for such, gone with its
// object.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>
#include <system_error>

class Scratch {
 public:
  explicit Scratch(const std::string& name)
      : path_(std::filesystem::temp_directory_path() / (name + "_" + std::to_string(getpid()))) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};
