// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/weights.hpp"

#include <sys/stat.h>

#include <filesystem>

#include "catch.hpp"
#include "error_message.hpp"
#include "raw_file.hpp"
#include "temporary_folder.hpp"

namespace foresight::weights_test {

using io::NamedTensors;

namespace {

namespace fs = std::filesystem;

const fs::path kTorch = FORESIGHT_TEST_DATA "/torch";

std::vector<std::string> names(const NamedTensors& tensors) {
  std::vector<std::string> list;
  for (const auto& [name, tensor] : tensors) list.push_back(name);
  return list;
}

NamedTensors named(const std::vector<std::string>& list) {
  NamedTensors tensors;
  for (const auto& name : list) tensors.emplace_back(name, at::zeros(1));
  return tensors;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("weights are opened by their content, whatever the file is called") {
  const TemporaryFolder folder;
  fs::copy_file(kTorch / "state_dict_protocol_2.pt", folder / "a.safetensors");
  fs::copy_file(kTorch / "expected.safetensors", folder / "b.weights");
  CHECK(io::open_weights(folder / "a.safetensors").tensors.size() == 7);
  CHECK(io::open_weights(folder / "b.weights").tensors.size() > 50);
  CHECK(fails_with(
      ErrorCategory::unsupported, [] { io::open_weights(kTorch / "legacy.pt"); }, "before 1.6"));
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { io::open_weights(folder / "none.pt"); }, "none.pt"));
  CHECK(fails_with(
      ErrorCategory::not_found, [] { io::open_weights("facebook/dinov2-small"); },
      "facebook/dinov2-small: no such file or folder", "`hf download NAME"));
}

TEST_CASE("a pointer of git-lfs in place of weights is named") {
  const TemporaryFolder folder;
  write_bytes(folder / "config.json", "{}");
  for (const auto* name : {"a.pt", "b.safetensors", "model.safetensors"}) {
    INFO(name);
    write_bytes(folder / name,
                "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n");
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { io::open_weights(folder / name); }, name, "git-lfs"));
  }
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { io::open_weights(folder.path()); }, "git-lfs"));
}

TEST_CASE("a folder with one file of weights stands for it, config.json included") {
  const TemporaryFolder folder;
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { io::open_weights(folder.path()); }, "no file of weights"));
  fs::copy_file(kTorch / "groups.pt", folder / "weights.pt");
  CHECK(io::open_weights(folder.path()).config().is_null());
  write_bytes(folder / "config.json", R"({"encoder": {"size": "tiny"}})");
  const auto weights = io::open_weights(folder.path());
  CHECK(weights.path == folder / "weights.pt");
  CHECK(weights.config()["encoder"]["size"] == "tiny");
  CHECK(weights.groups == Names{"encoder", "target_encoder"});
  fs::copy_file(kTorch / "groups.pt", folder / "other.ckpt");
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { io::open_weights(folder.path()); },
      "other.ckpt, weights.pt"));
  fs::copy_file(kTorch / "expected.safetensors", folder / "model.safetensors");
  CHECK(io::open_weights(folder.path()).tensors.size() > 50);  // what transformers writes
}

TEST_CASE("another program's config.json beside weights is read by those alone who ask for it") {
  const TemporaryFolder folder;
  fs::copy_file(kTorch / "groups.pt", folder / "weights.pt");
  write_bytes(folder / "config.json", "// my settings");
  const auto weights = io::open_weights(folder / "weights.pt");
  CHECK(weights.groups.size() == 2);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { weights.config(); }, "config.json: not valid JSON"));
}

TEST_CASE("weights are not waited for at a pipe") {
  const TemporaryFolder folder;
  REQUIRE(::mkfifo((folder / "weights.pt").c_str(), 0600) == 0);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { io::open_weights(folder / "weights.pt"); }, "special file"));
}

TEST_CASE("a folder of weights holds them, texts and nothing else") {
  const TemporaryFolder folder;
  CHECK_FALSE(io::is_weights_folder(folder.path()));
  for (const auto* text : {"config.json", "README.md", "LICENSE", ".gitattributes"})
    write_bytes(folder / text, "x");
  CHECK_FALSE(io::is_weights_folder(folder.path()));
  write_bytes(folder / "a.ckpt", "x");
  CHECK(io::is_weights_folder(folder.path()));
  CHECK_FALSE(io::is_weights_folder(folder / "a.ckpt"));
  write_bytes(folder / "episode_0.mp4", "x");
  CHECK_FALSE(io::is_weights_folder(folder.path()));
  fs::remove(folder / "episode_0.mp4");
  fs::create_directory(folder / "data");
  CHECK_FALSE(io::is_weights_folder(folder.path()));
}

TEST_CASE("one of several state dicts must be chosen, except where one is called state_dict") {
  const auto groups = io::open_weights(kTorch / "groups.pt");
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { groups.model(""); }, "encoder, target_encoder"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { groups.model("", "--group"); },
      "choose one: encoder, target_encoder (--group)"));
  CHECK(names(groups.model("encoder")) == Names{"module.norm.weight"});
  CHECK_FALSE(
      at::equal(groups.model("encoder")[0].second, groups.model("target_encoder")[0].second));
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { groups.model("teacher"); }, "'teacher'", "target_encoder"));
  CHECK(io::open_weights(kTorch / "training.ckpt").model("").size() == 7);
  CHECK(io::open_weights(kTorch / "state_dict_protocol_4.pt").model("").size() == 7);
}

TEST_CASE("a part of a group or of a flat file is chosen by what its names begin with") {
  const TemporaryFolder folder;
  io::write_safetensors(folder / "flat.safetensors",
                        named({"student.a", "teacher.a", "teacher.b.c", "teachers.d", "e"}));
  const auto flat = io::open_weights(folder / "flat.safetensors");
  CHECK(names(flat.model("teacher")) == Names{"a", "b.c"});
  CHECK(names(flat.model("teacher.b")) == Names{"c"});
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { flat.model("ema"); }, "no group 'ema'",
      "it has: student, teacher, teachers"));
  CHECK(names(io::open_weights(kTorch / "groups.pt").model("encoder.module")) ==
        Names{"norm.weight"});
}

TEST_CASE("wrappers' prefixes are removed where all names have them, and only there") {
  CHECK(names(io::without_wrappers(named({"module.a", "module.b"}))) == Names{"a", "b"});
  CHECK(names(io::without_wrappers(named({"module._orig_mod.module.a"}))) == Names{"a"});
  CHECK(names(io::without_wrappers(named({"module.a", "b"}))) == Names{"module.a", "b"});
  CHECK(names(io::without_wrappers(named({"module.backbone.a"}))) == Names{"backbone.a"});
  CHECK(names(io::without_wrappers(named({"module.backbone.a"}), {"backbone."})) == Names{"a"});
  CHECK(io::without_wrappers({}).empty());
}

TEST_CASE("wrappers' marks are removed wherever they stand before a name") {
  CHECK(io::without_marks("model._orig_mod.a.module.b") == "model.a.b");
  CHECK(io::without_marks("_orig_mod.module.module.a") == "a");
  CHECK(io::without_marks("my_module.a.modules.b") == "my_module.a.modules.b");
}

TEST_CASE("tensors are left out by prefix, and a prefix of none is an error") {
  const auto tensors = named({"model.a", "sigreg.t", "sigreg.w"});
  CHECK(names(io::without(tensors, {"sigreg."})) == Names{"model.a"});
  CHECK(io::without(tensors, {}).size() == 3);
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        io::without(tensors, {"sigreg.", "probe."});
      },
      "'probe.'"));
}

}  // namespace foresight::weights_test
