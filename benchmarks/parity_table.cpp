// SPDX-License-Identifier: Apache-2.0
// Question: how close do foresight's numbers come to those of the implementations that it
// reproduces? Turns the lines that the tests append to $FORESIGHT_PARITY_OUT, one a compared
// tensor, into the page docs/parity.md: for every fixture and precision the largest errors, the
// tolerance that they were held to, and why it is that. scripts/parity.sh runs both.
// With the folder of the fixtures it also names those that no test compared, those of networks that
// none compared in bfloat16, every tensor that is neither an input, nor compared, nor exempt by
// name (parity_keys.hpp), and every one that a row in bfloat16 lacks without a reason there or that
// it must have, and ends with 3 where one is of a source that is reproduced as a whole.
//   benchmark_parity_table <figures.jsonl> [<fixtures> [<what the page calls them>]]
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <regex>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "measurement.hpp"
#include "parity_keys.hpp"
#include "parity_text.hpp"

namespace {

using foresight::benchmark::Exempt;
using foresight::benchmark::kSources;
using foresight::benchmark::Reproduced;
using foresight::benchmark::source_of;

// All tensors of one fixture that were computed in one precision and belong to one section.
struct Row {
  int64_t tensors = 0, elements = 0;
  double max_abs = 0, max_rel = 0, of_tolerance = -1;
  std::string tolerance;  // of the tensor that came closest to it
  std::set<std::string> reasons, keys;
  std::map<std::string, std::set<std::string>> own;  // tolerances of tests, by their reason
};

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1e", value);
  return value == 0 ? "0" : text;
}

std::string tolerance_text(const nlohmann::json& line) {
  std::string text;
  const auto add = [&](const char* key, const char* of) {
    const double value = line.at(key);
    if (value > 0) text += (text.empty() ? "" : " + ") + number(value) + of;
  };
  add("atol", "");
  add("rtol", " of the value");
  add("of_max", " of the largest");
  return text.empty() ? "exact" : text;
}

std::string precision_of(const nlohmann::json& line) {
  const std::string dtype = line.at("dtype"), key = line.at("key");
  if (dtype == "integers" || dtype == "pictures" || dtype == "sampled") return dtype;
  const bool is_beside_float32 = dtype == "Double" && line.at("stored") == "Float";
  std::string name = is_beside_float32     ? "float64 beside float32 records"
                     : dtype == "Double"   ? "float64"
                     : dtype == "Float"    ? "float32"
                     : dtype == "BFloat16" ? "bfloat16"
                                           : dtype;
  if (key.starts_with("grads")) name += ", gradients";
  if (key.starts_with("after_step")) name += ", after training steps";
  return name;
}

// Figures inside a reason are a file's own; the rule is what its files share.
std::string rule_of(const std::string& reason) {
  static const std::regex figure(R"([0-9.]+e[-+]?[0-9]+)");
  // "<" would begin a tag of HTML.
  return std::regex_replace(std::regex_replace(reason, figure, "…"), std::regex("<"), "&lt;");
}

// Of outputs, the float64 run's key is the float32 run's.
std::string without_section(const std::string& key) {
  const auto slash = key.find('/');
  return key.starts_with("outputs") ? key.substr(slash + 1) : key;
}

constexpr double kSmallest = 10;  // absolute tolerances that a tensor's largest value exceeds

struct Fixture {
  std::string kind;
  std::map<std::string, Row> rows;                        // by precision
  std::map<std::string, std::set<std::string>> computed;  // by key: in what, as tests write it
};
using Fixtures = std::map<std::string, Fixture>;
using Folders = std::map<std::string, Fixtures>;

Folders read_figures(const char* path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(std::string("cannot read ") + path);
  Folders folders;
  for (std::string text; std::getline(file, text);) {
    const auto line = nlohmann::json::parse(text);
    auto& fixture = folders[line.at("folder")][line.at("fixture")];
    fixture.kind = line.at("kind");
    fixture.computed[line.at("key")].insert(line.at("dtype"));
    auto& row = fixture.rows[precision_of(line)];
    ++row.tensors;
    row.elements += line.at("elements").get<int64_t>();
    row.max_abs = std::max(row.max_abs, line.at("max_abs").get<double>());
    // A tensor that is zero but for rounding has no size to compare an error with.
    if (line.at("largest").get<double>() > kSmallest * line.at("atol").get<double>())
      row.max_rel = std::max(row.max_rel, line.at("max_rel").get<double>());
    if (const double share = line.at("of_tolerance"); share > row.of_tolerance) {
      row.of_tolerance = share;
      row.tolerance = tolerance_text(line);
    }
    row.keys.insert(without_section(line.at("key")));
    const std::string reason = line.at("reason");
    if (line.at("reason_of") == "test")
      row.own[reason].insert(tolerance_text(line));
    else if (!reason.empty())
      row.reasons.insert(rule_of(reason));
  }
  if (folders.empty()) throw std::runtime_error(std::string(path) + " holds no comparison");
  return folders;
}

// What of a folder no test compares, and may not.
struct Uncompared {
  struct Count {
    int64_t tensors = 0;
    std::set<std::string> fixtures;
    void add(const std::string& fixture) {
      ++tensors;
      fixtures.insert(fixture);
    }
  };
  std::map<const Exempt*, Count> exempt;
  std::map<const Exempt*, Count> not_in_bfloat16;
  Count excluded;                 // by the fixtures themselves
  std::set<std::string> waiting;  // whole fixtures, for what they are of to be reproduced
};

std::string joined(const std::set<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "`" : ", `") + name + "`";
  return text;
}

std::string of(const Uncompared::Count& count) {
  return std::to_string(count.tensors) + (count.tensors == 1 ? " tensor of " : " tensors of ") +
         joined(count.fixtures);
}

void print_exempt(std::span<const Exempt> table,
                  const std::map<const Exempt*, Uncompared::Count>& counts) {
  for (const auto& entry : table)
    if (const auto found = counts.find(&entry); found != counts.end())
      std::cout << "\n- `" << entry.keys << "`, " << of(found->second) << ": " << entry.reason;
}

void print_uncompared(const Uncompared& uncompared) {
  using namespace foresight::benchmark;
  const auto& [exempt, not_in_bfloat16, excluded, waiting] = uncompared;
  if (!not_in_bfloat16.empty()) {
    std::cout << "\nCompared in float32 or float64, and not in the fixture's row in bfloat16:\n";
    print_exempt(kNotInBfloat16, not_in_bfloat16);
    std::cout << "\n";
  }
  if (exempt.empty() && excluded.tensors == 0 && waiting.empty()) return;
  std::cout << "\nNot compared:\n";
  print_exempt(kExempt, exempt);
  if (excluded.tensors > 0)
    std::cout << "\n- " << of(excluded)
              << ", which the fixtures exclude: rounding noise in the original itself";
  if (!waiting.empty())
    std::cout << "\n- whole fixtures of what is not reproduced: " << joined(waiting);
  std::cout << "\n";
}

// Rows in bfloat16, whose names go on with what they are of: "", ", gradients".
constexpr std::string_view kBfloat16 = "bfloat16";

// The tensors that wider rows of `kind` compare.
std::set<std::string> wider_keys(const Fixture& fixture, const std::string& kind) {
  std::set<std::string> keys;
  for (const auto* wider : {"float32", "float64", "float64 beside float32 records"})
    if (const auto found = fixture.rows.find(wider + kind); found != fixture.rows.end())
      keys.insert(found->second.keys.begin(), found->second.keys.end());
  return keys;
}

// How many of a fixture's tensors a row compares: of what bfloat16 computes, also of how many that
// its float32 and float64 rows of the same kind have.
std::string tensors_of(const Fixture& fixture, const std::string& precision, const Row& row) {
  if (!precision.starts_with(kBfloat16)) return std::to_string(row.tensors);
  auto all = wider_keys(fixture, precision.substr(kBfloat16.size()));
  all.insert(row.keys.begin(), row.keys.end());
  return std::to_string(row.keys.size()) + " of " + std::to_string(all.size());
}

// What tests hold their tensors to for reasons of their own: "float64, 1.0e-06: reason (fixtures)".
void print_own_tolerances(const Fixtures& fixtures) {
  std::map<std::string, std::set<std::string>> users;
  for (const auto& [fixture, compared] : fixtures)
    for (const auto& [precision, row] : compared.rows)
      for (const auto& [reason, tolerances] : row.own)
        for (const auto& tolerance : tolerances)
          users[precision + ", " + tolerance + ": " + reason].insert(fixture);
  if (users.empty()) return;
  std::cout << "\nTolerances that tests set by hand, and why:\n";
  for (const auto& [text, names] : users)
    std::cout << "\n- " << text << " (" << joined(names) << ")";
  std::cout << "\n";
}

void print_folder(const std::string& folder, const Fixtures& fixtures,
                  const Uncompared& uncompared) {
  const auto* source = source_of(folder);
  std::cout << "\n## " << (source ? source->title : folder.c_str()) << "\n";
  if (source) std::cout << "\n" << source->text << "\n";
  if (fixtures.empty()) {
    std::cout << "\nNot reproduced yet: nothing is compared with " << joined(uncompared.waiting)
              << ".\n";
    return;
  }
  std::cout
      << "\n| fixture | computed in | tensors | numbers | largest error | of the tensor's largest "
         "value | tolerance | used |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n";
  std::set<std::string> reasons;
  for (const auto& [fixture, compared] : fixtures)
    for (const auto& [precision, row] : compared.rows) {
      std::cout << "| `" << fixture << "` | " << precision << " | "
                << tensors_of(compared, precision, row) << " | " << row.elements << " | "
                << number(row.max_abs) << " | " << number(row.max_rel) << " | " << row.tolerance
                << " | " << static_cast<int>(100 * row.of_tolerance + 0.5) << " % |\n";
      reasons.insert(row.reasons.begin(), row.reasons.end());
    }
  if (!reasons.empty()) std::cout << "\nTolerances in float32, in the fixtures' own words:\n";
  for (const auto& reason : reasons) std::cout << "\n- " << reason;
  if (!reasons.empty()) std::cout << "\n";
  print_own_tolerances(fixtures);
  print_uncompared(uncompared);
}

// Whether a fixture of a network lacks a row in bfloat16.
bool lacks_bfloat16(const std::string& folder, const Fixture& fixture) {
  return !foresight::benchmark::has_no_bfloat16(folder, fixture.kind) &&
         std::none_of(fixture.rows.begin(), fixture.rows.end(),
                      [](const auto& row) { return row.first.starts_with(kBfloat16); });
}

// Sorts the tensors of a fixture that has figures: compared, exempt, or, as the answer has them,
// neither; in the end those that its rows in bfloat16 lack.
std::vector<std::string> check_keys(const std::filesystem::path& file, const std::string& folder,
                                    const Fixture& fixture, Uncompared& uncompared) {
  const auto name = file.stem().string();
  std::vector<std::string> wrong;
  const auto keys = foresight::benchmark::keys_of(file);
  for (const auto& [key, stored] : keys.results) {
    const auto found = fixture.computed.find(key);
    const bool is_compared = found != fixture.computed.end() &&
                             std::any_of(found->second.begin(), found->second.end(),
                                         [&, &key = key, &stored = stored](const auto& dtype) {
                                           return foresight::benchmark::counts(dtype, key, stored);
                                         });
    const auto* exempt = foresight::benchmark::exemption_of(folder + "/" + name, key);
    if (is_compared && exempt)
      wrong.push_back(key + " (compared, and exempt all the same)");
    else if (exempt)
      uncompared.exempt[exempt].add(name);
    else if (!is_compared && keys.is_excluded(key))
      uncompared.excluded.add(name);
    else if (!is_compared)
      wrong.push_back(key);
  }
  std::set<std::string> wide, narrow;  // of all kinds of rows
  for (const auto& [precision, row] : fixture.rows) {
    if (!precision.starts_with(kBfloat16)) {
      wide.insert(row.keys.begin(), row.keys.end());
      continue;
    }
    narrow.insert(row.keys.begin(), row.keys.end());
    for (const auto& key : wider_keys(fixture, precision.substr(kBfloat16.size()))) {
      if (row.keys.contains(key)) continue;
      if (const auto* exempt = foresight::benchmark::exemption_of(
              folder + "/" + name, key, foresight::benchmark::kNotInBfloat16))
        uncompared.not_in_bfloat16[exempt].add(name);
      else
        wrong.push_back(key + " (in " + precision + ")");
    }
  }
  for (const auto& key :
       foresight::benchmark::missing_in_bfloat16(folder + "/" + name, wide, narrow))
    wrong.push_back(key + " (must be in bfloat16)");
  return wrong;
}

std::set<std::filesystem::path> fixtures_below(const std::filesystem::path& root) {
  std::set<std::filesystem::path> fixtures;
  for (const auto& folder : std::filesystem::directory_iterator(root))
    if (folder.is_directory())
      for (const auto& file : std::filesystem::directory_iterator(folder.path()))
        if (file.path().extension() == ".safetensors") fixtures.insert(file.path());
  if (fixtures.empty()) throw std::runtime_error(root.string() + " holds no fixture");
  return fixtures;
}

// Names fixtures that no line is of, or none in bfloat16 where it should be, and tensors that none
// is of. Returns how many fixtures are named that are of a source which waits for nothing, and
// fills in what may stay uncompared, by folder.
int64_t name_forgotten(const std::set<std::filesystem::path>& fixtures, const Folders& folders,
                       std::map<std::string, Uncompared>& uncompared) {
  constexpr std::size_t kNamed = 5;  // tensors of a fixture
  int64_t forgotten = 0;
  for (const auto& file : fixtures) {
    const auto folder = file.parent_path().filename().string(), fixture = file.stem().string();
    const auto* source = source_of(folder);
    const bool waits = source && source->reproduced == Reproduced::part;
    const auto tell = [&](const std::string& what) {
      std::cerr << "no test compares " << folder << "/" << fixture << what << "\n";
    };
    const auto known = folders.find(folder);
    if (known == folders.end() || !known->second.contains(fixture)) {
      tell(waits ? ", which is not reproduced yet" : "");
      uncompared[folder].waiting.insert(fixture);
      forgotten += !waits;
      continue;
    }
    const auto& figures = known->second.at(fixture);
    const bool lacks = lacks_bfloat16(folder, figures);
    const auto keys = check_keys(file, folder, figures, uncompared[folder]);
    if (lacks) tell(" in bfloat16");
    for (std::size_t i = 0; i < std::min(keys.size(), kNamed); ++i) tell(": " + keys[i]);
    if (keys.size() > kNamed) tell(": " + std::to_string(keys.size() - kNamed) + " more tensors");
    forgotten += (lacks || !keys.empty()) && !waits;
  }
  return forgotten;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2 || argc > 4)
    throw std::runtime_error("usage: benchmark_parity_table <figures.jsonl> [<fixtures> [<name>]]");
  const auto folders = read_figures(argv[1]);
  std::map<std::string, Uncompared> uncompared;
  const auto fixtures = argc >= 3 ? fixtures_below(argv[2]) : std::set<std::filesystem::path>();
  const auto forgotten = name_forgotten(fixtures, folders, uncompared);
  int64_t compared = 0, waiting = 0;
  for (const auto& [folder, of_folder] : folders)
    compared += static_cast<int64_t>(of_folder.size());
  for (const auto& [folder, of_folder] : uncompared)
    waiting += static_cast<int64_t>(of_folder.waiting.size());
  const auto machine = foresight::benchmark::machine();
  std::cout << foresight::benchmark::kParityIntroduction << "Computed on "
            << machine.at("cpu").get<std::string>() << " with LibTorch "
            << machine.at("libtorch").get<std::string>() << ", one thread.\n";
  if (!fixtures.empty())
    std::cout << "\nFixtures: " << fixtures.size() << ", of which " << compared
              << " are compared below and " << waiting << " named as not compared; "
              << (argc == 4 ? argv[3] : "all of one folder") << ".\n";
  const auto print = [&](const std::string& folder) {
    const auto found = folders.find(folder);
    const auto rows = found == folders.end() ? Fixtures() : found->second;
    if (!rows.empty() || !uncompared[folder].waiting.empty())
      print_folder(folder, rows, uncompared[folder]);
  };
  std::set<std::string> others;
  for (const auto& source : kSources) print(source.folder);
  for (const auto& [folder, rows] : folders) others.insert(folder);
  for (const auto& [folder, rows] : uncompared) others.insert(folder);
  for (const auto& folder : others)
    if (!source_of(folder)) print(folder);
  return forgotten > 0 ? 3 : 0;
} catch (const std::exception& error) {
  std::cerr << "benchmark_parity_table: " << error.what() << "\n";
  return 1;
}
