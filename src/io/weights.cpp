// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/weights.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "descriptor.hpp"
#include "foresight/core/error.hpp"
#include "foresight/io/hf_folder.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/io/torch_checkpoint.hpp"
#include "foresight/io/zip_directory.hpp"

namespace foresight::io {

namespace fs = std::filesystem;

namespace {

constexpr std::array<std::string_view, 2> kMarks{"module.", "_orig_mod."};  // of wrappers
constexpr std::array<std::string_view, 5> kExtensions{".safetensors", ".pt", ".pth", ".ckpt",
                                                      ".bin"};

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

/// Formats are told apart by their first bytes: people rename files.
bool is_zip(const fs::path& path) {
  struct stat status{};
  const Descriptor file = open_regular(AT_FDCWD, path, path, status);  // waits for no pipe
  std::string bytes(4, '\0');
  const auto count = ::pread(file.get(), bytes.data(), bytes.size(), 0);
  if (count < 0) throw system_error(path, "read");
  return starts_like_zip(bytes);
}

bool is_torch_pickle(const fs::path& path) {
  const auto extension = path.extension();
  return is_zip(path) || extension == ".pt" || extension == ".pth" || extension == ".ckpt" ||
         extension == ".bin";
}

bool is_weights_name(const fs::path& name) {
  return std::find(kExtensions.begin(), kExtensions.end(), name.extension().string()) !=
         kExtensions.end();
}

/// The one file of weights in a folder.
fs::path weights_file(const fs::path& folder) {
  // A Trainer leaves other files beside it.
  if (fs::exists(folder / kHfPickleFile)) return folder / kHfPickleFile;
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (is_weights_name(entry.path())) found.push_back(entry.path().filename().string());
  std::sort(found.begin(), found.end());
  require(!found.empty(), ErrorCategory::not_found,
          folder.string() + ": no file of weights here, expected " + kHfTensorsFile +
              ", or one .safetensors, .pt, .pth, .ckpt or .bin");
  require(found.size() == 1, ErrorCategory::invalid_argument,
          folder.string() + ": several files of weights, name one: " + listed(found));
  return folder / found.front();
}

}  // namespace

NamedTensors Weights::group(std::string_view name) const {
  const auto prefix = std::string(name) + ".";
  NamedTensors chosen;
  for (const auto& [key, tensor] : tensors)
    if (key.starts_with(prefix)) chosen.emplace_back(key.substr(prefix.size()), tensor);
  if (!chosen.empty()) return chosen;
  std::set<std::string> parts(groups.begin(), groups.end());
  if (parts.empty())
    for (const auto& [key, tensor] : tensors)
      if (const auto dot = key.find('.'); dot != std::string::npos)
        parts.insert(key.substr(0, dot));
  throw Error(ErrorCategory::not_found, path.string() + ": no group '" + std::string(name) +
                                            "', it has: " + listed({parts.begin(), parts.end()}));
}

nlohmann::json Weights::config() const {
  return config_file.empty() ? nlohmann::json() : read_json(config_file);
}

NamedTensors Weights::model(std::string_view name, std::string_view flag) const {
  if (!name.empty()) return group(name);
  if (groups.empty()) return tensors;
  require(std::find(groups.begin(), groups.end(), kModelGroup) != groups.end(),
          ErrorCategory::invalid_option,
          path.string() + ": holds several groups of tensors, choose one: " + listed(groups) +
              (flag.empty() ? "" : " (" + std::string(flag) + ")"));
  return group(kModelGroup);
}

Weights open_weights(const fs::path& path) {
  Weights weights;
  weights.path = path;
  require(fs::exists(path), ErrorCategory::not_found,
          path.string() +
              ": no such file or folder; nothing is downloaded here, `hf download NAME "
              "--local-dir FOLDER` fetches a folder of Hugging Face");
  if (fs::is_directory(path)) {
    if (fs::exists(path / kHfTensorsFile) || fs::exists(path / kHfIndexFile)) {
      const auto folder = read_hf_folder(path);
      return {folder.tensors_name(), folder.tensors(), {}, folder.config_name()};
    }
    weights.path = weights_file(path);
  }
  if (is_torch_pickle(weights.path)) {
    const auto file = TorchCheckpoint::open(weights.path);
    weights.tensors = file.tensors();
    weights.groups = file.groups();
  } else {
    weights.tensors = SafeTensors::open(weights.path).tensors();
  }
  const auto config = weights.path.parent_path() / kHfConfigFile;
  if (fs::exists(config)) weights.config_file = config;
  return weights;
}

bool is_weights_folder(const fs::path& path) {
  if (!fs::is_directory(path)) return false;
  bool found = false;
  for (const auto& entry : fs::directory_iterator(path)) {
    const auto& name = entry.path();
    const auto extension = name.extension();
    const bool text = extension.empty() || extension == ".json" || extension == ".txt" ||
                      extension == ".md";  // without extension: LICENSE
    const bool hidden = name.filename().string().starts_with('.');
    if (is_weights_name(name) && fs::is_regular_file(name))
      found = true;
    else if (!hidden && (!text || entry.is_directory()))
      return false;
  }
  return found;
}

NamedTensors without_wrappers(const NamedTensors& tensors, const std::vector<std::string>& others) {
  std::vector<std::string> prefixes(kMarks.begin(), kMarks.end());
  prefixes.insert(prefixes.end(), others.begin(), others.end());
  std::size_t length = 0;
  const auto all_begin_with = [&](const std::string& prefix) {
    return std::all_of(tensors.begin(), tensors.end(), [&](const auto& item) {
      return std::string_view(item.first).substr(length).starts_with(prefix);
    });
  };
  for (bool found = !tensors.empty(); found;) {
    found = false;
    for (const auto& prefix : prefixes) {
      if (prefix.empty() || !all_begin_with(prefix)) continue;
      length += prefix.size();
      found = true;
    }
  }
  NamedTensors bare;
  for (const auto& [name, tensor] : tensors) bare.emplace_back(name.substr(length), tensor);
  return bare;
}

std::string without_marks(std::string key) {
  for (const auto mark : kMarks)
    for (auto at = key.find(mark); at != std::string::npos; at = key.find(mark, at)) {
      if (at == 0 || key[at - 1] == '.')
        key.erase(at, mark.size());
      else
        ++at;
    }
  return key;
}

NamedTensors without(const NamedTensors& tensors, const std::vector<std::string>& prefixes) {
  NamedTensors kept;
  std::vector<bool> used(prefixes.size());
  for (const auto& [name, tensor] : tensors) {
    bool left_out = false;
    for (std::size_t i = 0; i < prefixes.size(); ++i) {
      if (!name.starts_with(prefixes[i])) continue;
      left_out = used[i] = true;
    }
    if (!left_out) kept.emplace_back(name, tensor);
  }
  for (std::size_t i = 0; i < prefixes.size(); ++i)
    require(used[i], ErrorCategory::invalid_option,
            "no tensor's name begins with '" + prefixes[i] + "', nothing to leave out");
  return kept;
}

}  // namespace foresight::io
