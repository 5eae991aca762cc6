// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/hf_folder.hpp"

#include <map>
#include <set>

#include "foresight/core/error.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/io/json_file.hpp"
#include "swap_folders.hpp"
#include "temporary.hpp"

namespace foresight::io {

namespace fs = std::filesystem;

namespace {

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// The shards' names and the tensors that each must hold.
std::map<std::string, std::set<std::string>> read_index(const fs::path& path) {
  const auto index = read_json(path);
  const auto map = index.find("weight_map");
  require(index.is_object() && map != index.end() && map->is_object() && !map->empty(),
          ErrorCategory::bad_file,
          path.string() + ": expected an object with a non-empty 'weight_map'");
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [tensor, file] : map->items()) {
    require(file.is_string(), ErrorCategory::bad_file,
            path.string() + ": weight_map['" + tensor + "'] = " + file.dump() +
                ", expected a file name");
    const auto name = file.get<std::string>();
    require(!name.empty() && fs::path(name).filename() == name && name != "." && name != "..",
            ErrorCategory::bad_file,
            path.string() + ": weight_map['" + tensor + "'] = '" + name +
                "', expected the name of a file in this folder");
    shards[name].insert(tensor);
  }
  return shards;
}

std::vector<SafeTensors> read_shards(const fs::path& folder) {
  std::vector<SafeTensors> files;
  for (const auto& [name, wanted] : read_index(folder / kHfIndexFile)) {
    files.push_back(SafeTensors::open(folder / name));
    const auto& file = files.back();
    for (const auto& tensor : wanted)
      require(file.has(tensor), ErrorCategory::bad_file,
              file.path().string() + ": lacks tensor '" + tensor + "', which " + kHfIndexFile +
                  " places there");
    for (const auto& tensor : file.names())
      require(wanted.contains(tensor), ErrorCategory::bad_file,
              file.path().string() + ": tensor '" + tensor + "' is not listed for this file in " +
                  kHfIndexFile);
  }
  return files;
}

}  // namespace

std::string HfFolder::model_type() const {
  const auto type = config.find("model_type");
  require(type != config.end() && type->is_string(), ErrorCategory::bad_file,
          config_name() + ": no 'model_type', expected the name of a model family");
  return type->get<std::string>();
}

NamedTensors HfFolder::tensors() const {
  NamedTensors all;
  for (const auto& file : files)
    for (const auto& name : file.names()) all.emplace_back(name, file.at(name));
  return pickle ? pickle->tensors() : all;
}

std::string HfFolder::tensors_name() const {
  if (pickle) return pickle->path().string();
  return files.size() == 1 ? files.front().path().string() : (path / kHfIndexFile).string();
}

HfFolder read_hf_folder(const fs::path& path) {
  std::error_code ignored;
  require(fs::is_directory(path, ignored), ErrorCategory::not_found,
          path.string() + ": no such folder, expected one with " + kHfConfigFile + " and " +
              kHfTensorsFile);
  HfFolder folder;
  folder.path = path;
  folder.config = read_json(path / kHfConfigFile);
  require(folder.config.is_object(), ErrorCategory::bad_file,
          folder.config_name() + ": expected an object");
  if (is_file(path / kHfTensorsFile)) {
    folder.files.push_back(SafeTensors::open(path / kHfTensorsFile));
  } else if (is_file(path / kHfIndexFile)) {
    folder.files = read_shards(path);
  } else if (is_file(path / kHfPickleFile)) {
    folder.pickle = TorchCheckpoint::open(path / kHfPickleFile);
  } else {
    const bool pickled = is_file(path / "pytorch_model.bin.index.json");
    throw Error(ErrorCategory::not_found,
                path.string() + ": holds neither " + kHfTensorsFile + " nor " + kHfIndexFile +
                    (pickled ? "; its weights are several PyTorch pickles, save them as "
                               "safetensors (save_pretrained(..., safe_serialization=True))"
                             : ""));
  }
  return folder;
}

void write_hf_folder(const fs::path& folder, const nlohmann::ordered_json& config,
                     const NamedTensors& tensors) {
  std::error_code failure;
  fs::create_directories(resolved_target(folder).parent_path(), failure);
  require(!failure, ErrorCategory::io_failure,
          folder.string() + ": cannot create the folder above it: " + failure.message());
  require(!is_bundle(folder), ErrorCategory::invalid_argument,
          folder.string() + ": is a bundle, which a folder of transformers does not replace");
  replace_folder(folder, "folder of transformers", {kHfConfigFile, kHfTensorsFile},
                 [&](const fs::path& temporary) {
                   write_safetensors(temporary / kHfTensorsFile, tensors, {{"format", "pt"}});
                   write_json(temporary / kHfConfigFile, config);
                 });
}

}  // namespace foresight::io
