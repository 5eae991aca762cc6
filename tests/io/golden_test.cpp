// SPDX-License-Identifier: Apache-2.0
// The fixture reader: which files a family has, which tolerance a key gets, and that a difference
// is a failure.
#include "golden.hpp"

#include <cmath>
#include <cstdlib>
#include <regex>
#include <sstream>

#include "catch.hpp"
#include "temporary_folder.hpp"

namespace foresight::golden_test {

namespace {

// An environment variable with another value for one test.
class ChangedVariable {
 public:
  ChangedVariable(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    ::setenv(name, value.c_str(), /*overwrite=*/1);
  }
  ~ChangedVariable() { ::setenv(name_, before_.c_str(), /*overwrite=*/1); }
  ChangedVariable(const ChangedVariable&) = delete;
  ChangedVariable& operator=(const ChangedVariable&) = delete;

 private:
  const char* name_;
  std::string before_;  // empty means none
};

// Fixtures of a test's own, so that those which are added to a set change nothing here.
class OwnGoldens {
 public:
  void write(const std::string& file, const io::NamedTensors& tensors,
             const std::map<std::string, std::string>& metadata = {}) const {
    const auto path = folder_.path() / (file + ".safetensors");
    std::filesystem::create_directories(path.parent_path());
    io::write_safetensors(path, tensors, metadata);
  }

 private:
  TemporaryFolder folder_;
  ChangedVariable variable_{"FORESIGHT_GOLDENS", folder_.path().string()};
};

}  // namespace

TEST_CASE("a family is every file of its kind, or else every file of its name") {
  const OwnGoldens own;
  const auto write = [&](const std::string& file, const std::string& kind) {
    own.write(file, {{"outputs/x", at::zeros({1})}}, {{"config", R"({"kind": ")" + kind + "\"}"}});
  };
  write("nets/encoder", "encoder");
  write("nets/encoder_added", "nets/encoder");
  write("nets/other_name", "encoder");
  write("nets/encoder_of_another_kind", "mlp");
  write("nets/projector", "mlp");
  write("nets/projector_added", "mlp");
  const auto names = [](const std::string& family) {
    std::vector<std::string> result;
    for (const auto& file : golden_files(family)) result.push_back(file.stem().string());
    return result;
  };
  using Names = std::vector<std::string>;
  CHECK(names("nets/encoder") == Names{"encoder", "encoder_added", "other_name"});
  CHECK(names("nets/projector") == Names{"projector", "projector_added"});  // no such kind
  CHECK(names("nets/no_such_family").empty());
  CHECK(names("no_such_folder/x").empty());
}

TEST_CASE("a fixture gives its settings, sections and the tolerance of each key") {
  const OwnGoldens own;
  own.write("nets/step", {{"params/w", at::ones({2})}, {"outputs/emb", at::ones({2})}},
            {{"config", R"({"kind": "train_step"})"}, {"tolerance", R"({"atol": 1e-3, "rtol": 1e-5,
               "per_family": {"outputs": {"atol": 5e-6}, "after_step": {"rtol": 2e-7}},
               "excluded": ["net.0.bias", "after_steps3/net.1.running_mean"]})"}});
  for_each_golden("nets/train_step", [&](Golden& golden) {
    CHECK(golden.kind() == "train_step");
    CHECK(golden.section("params").size() == 1);
    CHECK(golden.tolerance_of("outputs/emb").atol == 5e-6);
    CHECK(golden.tolerance_of("outputs/emb").rtol == 1e-5);
    CHECK(golden.tolerance_of("after_step/x").atol == 1e-3);
    CHECK(golden.tolerance_of("after_step/x").rtol == 2e-7);
    CHECK(golden.tolerance_of("outputs64/emb").atol == 1e-9);
    CHECK(golden.excluded("grads/net.0.bias"));
    CHECK(golden.excluded("after_steps3/net.1.running_mean"));
    CHECK_FALSE(golden.excluded("after_step/net.1.running_mean"));
    CHECK(golden.uncompared("outputs").size() == 1);
    golden.compare("emb", golden.output("emb"));
    CHECK(golden.uncompared("outputs").empty());
  });
}

TEST_CASE("tolerances written as prose are understood") {
  const std::string mppi =
      "fp32: abs 7.2e-05 + rel 1e-4 (10x the fp32-fp64 gap of the peer); fp64: abs 1e-9 + rel 1e-8";
  CHECK(tolerance_from_prose(mppi, "outputs").atol == 7.2e-5);
  CHECK(tolerance_from_prose(mppi, "outputs").rtol == 1e-4);
  CHECK(tolerance_from_prose(mppi, "outputs64").atol == 1e-9);
  CHECK(tolerance_from_prose(mppi, "outputs64").rtol == 1e-8);
  const std::string dreamer = "abs 2e-5 + rel 5e-5; gradients rel 2e-4 of the tensor's max";
  CHECK(tolerance_from_prose(dreamer, "outputs").rtol == 5e-5);
  CHECK(tolerance_from_prose(dreamer, "grads").of_max == 2e-4);
  CHECK(tolerance_from_prose(dreamer, "grads").rtol == 0);
}

namespace {

// The fixture of the SIGReg loss: outputs/recipe_like_loss is a scalar, .._grad [4,8,24].
Golden sigreg() { return Golden(goldens_folder() / "losses/losses_sigreg.safetensors"); }

// One of a search, whose elites are integers.
Golden cem() {
  return Golden(goldens_folder() / "planners/planners_cem_double_integrator.safetensors");
}

}  // namespace

TEST_CASE("a float64 result is held to the float64 reference") {
  auto golden = sigreg();
  golden.compare("few_knots_loss", golden.at("outputs64/few_knots_loss"));
  CHECK(golden.uncompared("outputs64").size() + 1 == golden.section("outputs64").size());
}

TEST_CASE("a network's result is compared with the reference's run in its own precision") {
  auto golden = sigreg();
  const std::string key = "few_knots_loss";
  const auto left = [&](const std::string& section) { return golden.uncompared(section).size(); };
  const auto narrow = left("outputs"), wide = left("outputs64");
  golden.compare_run(key, (1.001 * golden.at("outputs64/" + key)).to(at::kBFloat16), 1);
  CHECK((left("outputs") == narrow && left("outputs64") == wide));
  golden.compare_run(key, golden.output(key), 1);
  CHECK((left("outputs") == narrow - 1 && left("outputs64") == wide));
  golden.compare_run(key, golden.at("outputs64/" + key), 1);
  CHECK(left("outputs64") == wide - 1);
  golden.compare_run("no_such_key", golden.output(key), 1);
}

// Each of these fails, as marked, because compare() found the difference.

TEST_CASE("a value outside the tolerance is a failure", "[!shouldfail]") {
  auto golden = sigreg();
  Tensor gradient = golden.output("recipe_like_grad");
  gradient[3][7][23] += 1e-3;
  golden.compare("recipe_like_grad", gradient);
}

TEST_CASE("a NaN is a failure", "[!shouldfail]") {
  auto golden = sigreg();
  golden.compare("recipe_like_loss", at::full({}, std::nan("")));
}

TEST_CASE("another shape of the same values is a failure", "[!shouldfail]") {
  auto golden = sigreg();
  golden.compare("recipe_like_loss", golden.output("recipe_like_loss").unsqueeze(0));
}

TEST_CASE("a tolerance of a test's own without a reason is a failure", "[!shouldfail]") {
  auto golden = sigreg();
  golden.compare_within("recipe_like_loss", golden.output("recipe_like_loss"), {1, 0, 0}, "");
}

TEST_CASE("an unknown key is a failure", "[!shouldfail]") {
  sigreg().compare("recipe_like_los", at::zeros({}));
}

TEST_CASE("an undefined tensor is a failure", "[!shouldfail]") {
  sigreg().compare("recipe_like_loss", Tensor());
}

TEST_CASE("a float32 error in a float64 result is a failure", "[!shouldfail]") {
  auto golden = sigreg();
  golden.compare("recipe_like_loss", golden.output("recipe_like_loss").to(at::kDouble) + 1e-6);
}

TEST_CASE("an error in bfloat16 beyond its roundings is a failure", "[!shouldfail]") {
  auto golden = sigreg();
  golden.compare_run("recipe_like_loss",
                     (1.02 * golden.output("recipe_like_loss")).to(at::kBFloat16), 1);
}

TEST_CASE("an integer that is off by one is a failure", "[!shouldfail]") {
  auto golden = cem();
  for (const auto& key : golden.file().names())
    if (key.starts_with("outputs/") && golden.file().dtype(key) == at::kLong)
      golden.compare(key, golden.at(key) + 1);
}

TEST_CASE("a family without files is a failure", "[!shouldfail]") {
  for_each_golden("losses/no_such_family", [](Golden&) {});
}

TEST_CASE("a difference outside the compared elements is not a failure") {
  auto golden = sigreg();
  Tensor gradient = golden.output("recipe_like_grad");
  gradient[0] += 1;
  Tensor where = at::ones_like(gradient, at::kBool);
  where[0] = false;
  golden.compare_where("recipe_like_grad", gradient, where);
}

// The families "source/name" that the tests name anywhere.
std::vector<std::string> golden_families_in_tests(const std::string& source) {
  const std::regex name("\"(" + source + "/[a-z0-9_]+)\"");
  std::vector<std::string> families;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(FORESIGHT_SOURCE_DIR "/tests")) {
    const auto file = entry.path().filename();
    if (file.extension() != ".cpp" || file == "golden_test.cpp" || file == "parity_keys_test.cpp")
      continue;
    const auto text = io::read_text(entry.path());
    for (std::sregex_iterator match(text.begin(), text.end(), name), end; match != end; ++match)
      families.push_back((*match)[1]);
  }
  return families;
}

TEST_CASE("every fixture of a source that is reproduced as a whole is of a family in a test") {
  for (const std::string source :
       {"lewm", "losses", "vjepa2", "hf", "dino_wm", "eb_jepa", "planners", "mppi"}) {
    std::set<std::filesystem::path> named;
    for (const auto& family : golden_families_in_tests(source))
      for (const auto& file : golden_files(family)) named.insert(file);
    for (const auto& entry : std::filesystem::directory_iterator(goldens_folder() / source)) {
      if (entry.path().extension() != ".safetensors") continue;
      INFO(entry.path() << ": no test compares it");
      CHECK(named.contains(entry.path()));
    }
  }
}

TEST_CASE("comparisons are appended to the file that FORESIGHT_PARITY_OUT names") {
  const TemporaryFolder folder;
  const auto path = folder / "figures.jsonl";
  {
    const ChangedVariable chosen("FORESIGHT_PARITY_OUT", path.string());
    auto golden = sigreg();
    const auto expected = golden.at("outputs64/few_knots_loss");
    golden.compare_within("outputs64/few_knots_loss", expected + 0.25, {0.5, 0, 0}, "a guess");
    golden.compare("outputs64/few_knots_loss", expected);
    golden.compare_sampled("outputs64/few_knots_loss", expected + 0.25, 0.5);
    auto planner = cem();
    for (const auto& key : planner.file().names())
      if (planner.file().dtype(key) == at::kLong && key.starts_with("outputs/")) {
        planner.compare(key, planner.at(key));
        break;
      }
    const auto gradient = golden.output("recipe_like_grad");
    golden.compare_where("recipe_like_grad", gradient, gradient.gt(0));
  }
  const auto text = io::read_text(path);
  std::vector<nlohmann::json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(nlohmann::json::parse(line));
  REQUIRE(lines.size() == 5);
  const auto &first = lines[0], &second = lines[1];
  CHECK(first.at("folder") == "losses");
  CHECK(first.at("fixture") == "losses_sigreg");
  CHECK(first.at("key") == "outputs64/few_knots_loss");
  CHECK(first.at("elements") == 1);
  CHECK(std::abs(first.at("max_abs").get<double>() - 0.25) < 1e-9);
  CHECK(std::abs(first.at("max_rel").get<double>() * first.at("largest").get<double>() - 0.25) <
        1e-9);
  CHECK(std::abs(first.at("of_tolerance").get<double>() - 0.5) < 1e-9);
  CHECK(first.at("stored") == "Double");
  CHECK(first.at("reason") == "a guess");
  CHECK(first.at("reason_of") == "test");
  CHECK(second.at("reason_of") == "fixture");
  CHECK(second.at("max_abs") == 0.0);
  CHECK(second.at("of_tolerance") == 0.0);
  CHECK(lines[2].at("dtype") == "sampled");
  CHECK(std::abs(lines[2].at("of_tolerance").get<double>() - 0.5) < 1e-9);
  CHECK(lines[3].at("dtype") == "integers");
  CHECK(lines[3].at("of_tolerance") == 0.0);
  const auto masked = sigreg().output("recipe_like_grad").gt(0);
  CHECK(lines[4].at("elements") == masked.sum().item<int64_t>());  // not all that the tensor has
}

namespace {

// Two pictures of which `pixels` of the second are a grey level off.
void compare_pictures_off_by(int64_t pixels) {
  const OwnGoldens own;
  own.write("env/pictures", {{"outputs/frames", at::full({2, 8, 8}, 7, at::kByte)}});
  Golden golden(goldens_folder() / "env/pictures.safetensors");
  auto drawn = golden.output("frames");
  drawn[1].flatten().narrow(0, 5, pixels).add_(1);
  golden.compare_pictures("frames", drawn);
}

}  // namespace

TEST_CASE("a single pixel of a picture may be a grey level off") { compare_pictures_off_by(1); }

TEST_CASE("two pixels of a picture that are a grey level off are a failure", "[!shouldfail]") {
  compare_pictures_off_by(2);
}

TEST_CASE("scripts/parity.sh does not write over a page of more fixtures unless told to") {
  const TemporaryFolder folder;
  const std::string page = "# Parity\n\nFixtures: 1000000, of which 1 are compared below.\n";
  std::ofstream(folder / "page.md") << page;
  const auto said = folder / "said.txt";
  const auto command = "bash '" FORESIGHT_SOURCE_DIR
                       "/scripts/parity.sh' --no-install --goldens '" +
                       goldens_folder().string() + "' --out '" + (folder / "page.md").string() +
                       "' >'" + said.string() + "' 2>&1 </dev/null";
  CHECK(std::system(command.c_str()) != 0);
  const auto text = io::read_text(said);
  INFO(text);
  CHECK(text.find("is of 1000000 fixtures") != std::string::npos);
  CHECK(text.find("--force") != std::string::npos);
  CHECK(io::read_text(folder / "page.md") == page);
}

}  // namespace foresight::golden_test
