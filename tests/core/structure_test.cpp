// SPDX-License-Identifier: Apache-2.0
// Guards the shape of the source tree: folders include only those before them, every file carries
// its licence, headers are guarded, and public headers stay light. The order and its reasons are in
// docs/architecture.md.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "catch.hpp"

namespace foresight::structure_test {

namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 14> kFolderOrder = {
    "core", "io",   "nn",   "losses", "models", "planning", "control",
    "data", "envs", "eval", "train",  "viz",    "cli",      "testing"};

std::optional<std::size_t> rank(const std::string& folder) {
  const auto* found = std::find(kFolderOrder.begin(), kFolderOrder.end(), folder);
  if (found == kFolderOrder.end()) return std::nullopt;
  return static_cast<std::size_t>(found - kFolderOrder.begin());
}

std::vector<fs::path> sources_under(const fs::path& root, const std::vector<std::string>& places) {
  std::vector<fs::path> files;
  for (const auto& place : places) {
    if (!fs::exists(root / place)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / place)) {
      const auto extension = entry.path().extension();
      const bool source = extension == ".hpp" || extension == ".cpp" || extension == ".cu";
      if (entry.is_regular_file() && source) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::string> lines_of(const fs::path& file) {
  std::ifstream stream(file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// What every line `#include <x>` or `#include "x"` of a file names.
std::vector<std::string> includes_of(const fs::path& file) {
  static const std::regex pattern(R"re(^\s*#\s*include\s*["<]([^">]+)[">].*)re");
  std::vector<std::string> names;
  std::smatch match;
  for (const auto& line : lines_of(file)) {
    if (std::regex_match(line, match, pattern)) names.push_back(match[1]);
  }
  return names;
}

/// The folder of the library that a file under include/foresight/ or src/ belongs to.
std::string folder_of(const fs::path& root, const fs::path& file) {
  const auto relative = fs::relative(file, root);
  auto part = relative.begin();
  if (part->string() == "include") ++part;  // include/foresight/<folder>
  return std::next(part)->string();
}

std::vector<std::string> arrows_against_the_order(const fs::path& root) {
  std::vector<std::string> faults;
  for (const auto& file : sources_under(root, {"include/foresight", "src"})) {
    const auto own = rank(folder_of(root, file));
    const auto name = fs::relative(file, root).string();
    if (!own) {
      faults.push_back(name + ": its folder is not in the folder order");
      continue;
    }
    for (const auto& included : includes_of(file)) {
      // A public header, or a private one outside of this file's own place.
      const bool public_one = included.rfind("foresight/", 0) == 0;
      if (!public_one && included.rfind("../", 0) != 0) continue;
      const auto header = public_one ? root / "include" / included : file.parent_path() / included;
      const auto other = rank(folder_of(root, header.lexically_normal()));
      if (!other || *other > *own) faults.push_back(name + " includes " + included);
    }
  }
  return faults;
}

std::vector<std::string> files_without_licence(const fs::path& root) {
  std::vector<std::string> faults;
  for (const auto& file :
       sources_under(root, {"include", "src", "tests", "examples", "benchmarks"})) {
    const auto lines = lines_of(file);
    if (lines.empty() || lines[0] != "// SPDX-License-Identifier: Apache-2.0") {
      faults.push_back(fs::relative(file, root).string());
    }
  }
  return faults;
}

std::vector<std::string> headers_without_guard(const fs::path& root) {
  std::vector<std::string> faults;
  for (const auto& file :
       sources_under(root, {"include", "src", "tests", "examples", "benchmarks"})) {
    if (file.extension() != ".hpp") continue;
    const auto lines = lines_of(file);
    if (std::find(lines.begin(), lines.end(), "#pragma once") == lines.end()) {
      faults.push_back(fs::relative(file, root).string());
    }
  }
  return faults;
}

/// Includes that public headers must not force on users: fmt and spdlog, whose version then depends
/// on the order of the user's include paths; FFmpeg; and torch beyond ATen where no module is
/// declared, 12 s a file.
std::vector<std::string> heavy_public_includes(const fs::path& root) {
  static const std::array<std::string_view, 4> modules = {"nn", "losses", "models", "train"};
  static const std::regex never(R"((fmt|spdlog|libav\w+|libsw\w+)/.*)");
  std::vector<std::string> faults;
  for (const auto& file : sources_under(root, {"include/foresight"})) {
    const auto folder = folder_of(root, file);
    const bool declares_modules =
        std::find(modules.begin(), modules.end(), folder) != modules.end();
    for (const auto& included : includes_of(file)) {
      const bool torch = included.rfind("torch/", 0) == 0;
      if (std::regex_match(included, never) || included == "torch/torch.h" ||
          (torch && !declares_modules)) {
        faults.push_back(fs::relative(file, root).string() + " includes " + included);
      }
    }
  }
  return faults;
}

/// A source tree in a temporary folder.
class Tree {
 public:
  Tree()
      : root_(fs::temp_directory_path() / ("foresight_structure_" + std::to_string(::getpid()))) {
    fs::remove_all(root_);
  }
  ~Tree() { fs::remove_all(root_); }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  const fs::path& root() const { return root_; }

 private:
  fs::path root_;
};

const fs::path kProject = FORESIGHT_SOURCE_DIR;
using Faults = std::vector<std::string>;

}  // namespace

TEST_CASE("the source tree is found") {
  CHECK(sources_under(kProject, {"include/foresight", "src"}).size() > 20);
}

TEST_CASE("no folder includes one that comes after it") {
  CHECK(arrows_against_the_order(kProject) == Faults{});
}

TEST_CASE("every source file starts with its licence") {
  CHECK(files_without_licence(kProject) == Faults{});
}

TEST_CASE("every header has #pragma once") { CHECK(headers_without_guard(kProject) == Faults{}); }

TEST_CASE("public headers include no fmt, spdlog or FFmpeg, and torch only where modules live") {
  CHECK(heavy_public_includes(kProject) == Faults{});
}

TEST_CASE("the structure checks notice what they look for") {
  const Tree tree;
  tree.write("include/foresight/core/up.hpp", "#include \"foresight/planning/planner.hpp\"\n");
  tree.write("include/foresight/planning/planner.hpp",
             "// SPDX-License-Identifier: Apache-2.0\n#pragma once\n"
             "#include \"foresight/core/up.hpp\"\n  #  include <fmt/format.h>\n");
  tree.write("src/control/mpc.cpp",
             "// SPDX-License-Identifier: Apache-2.0\n#include \"foresight/planning/planner.hpp\"\n"
             "#include \"foresight/data/dataset.hpp\"\n#include <spdlog/spdlog.h>\n");
  tree.write("src/control/parts/inner.cpp",
             "// SPDX-License-Identifier: Apache-2.0\n#include \"../beside.hpp\"\n"
             "#include \"../../io/below.hpp\"\n#include \"../../train/above.hpp\"\n");
  tree.write("include/foresight/nn/mlp.hpp",
             "// SPDX-License-Identifier: Apache-2.0\n#pragma once\n#include <torch/nn.h>\n");
  tree.write("include/foresight/io/read.hpp",
             "// SPDX-License-Identifier: Apache-2.0\n#pragma once\n#include <torch/nn.h>\n");
  tree.write("src/helpers/a.cpp", "// SPDX-License-Identifier: Apache-2.0\n");

  CHECK(arrows_against_the_order(tree.root()) ==
        Faults{"include/foresight/core/up.hpp includes foresight/planning/planner.hpp",
               "src/control/mpc.cpp includes foresight/data/dataset.hpp",
               "src/control/parts/inner.cpp includes ../../train/above.hpp",
               "src/helpers/a.cpp: its folder is not in the folder order"});
  CHECK(files_without_licence(tree.root()) == Faults{"include/foresight/core/up.hpp"});
  CHECK(headers_without_guard(tree.root()) == Faults{"include/foresight/core/up.hpp"});
  CHECK(heavy_public_includes(tree.root()) ==
        Faults{"include/foresight/io/read.hpp includes torch/nn.h",
               "include/foresight/planning/planner.hpp includes fmt/format.h"});
}

}  // namespace foresight::structure_test
