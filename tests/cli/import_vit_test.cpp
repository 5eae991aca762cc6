// SPDX-License-Identifier: Apache-2.0
// foresight import vit: DINOv2's own files, and folders that hold more or less than an encoder.
#include <filesystem>

#include "foresight/core/noise.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/vit_bundle.hpp"
#include "foresight/nn/dinov2.hpp"
#include "foresight/nn/hf_vit_keys.hpp"
#include "foresight/nn/init.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit_layouts.hpp"
#include "io/raw_file.hpp"
#include "run_command.hpp"
#include "same_tensors.hpp"
#include "temporary_folder.hpp"
#include "torch_groups.hpp"

namespace foresight::import_vit_test {

namespace fs = std::filesystem;

namespace {

const std::string kStatistics = " --image.mean 0.5,0.4,0.3 --image.std 0.1,0.2,0.3";

// A tiny DINOv2 with nothing left at zero; its positions belong to pictures of 42 pixels.
std::shared_ptr<nn::Vit> tiny_dinov2(int64_t registers, bool gated) {
  auto options = nn::dinov2(nn::DinoV2Size::small, registers);
  options.width = 128;
  options.heads = 2;
  options.depth = 2;
  options.mlp_width = 24;
  options.gated = gated;
  auto vit = std::make_shared<nn::Vit>(options, 42);
  PhiloxNoise noise(2);
  for (auto& parameter : vit->parameters()) nn::init_normal(parameter, 0.4, noise);
  vit->eval();
  return vit;
}

// A file or folder to import, and the bundle that comes of it.
class Import {
 public:
  fs::path path(const std::string& name) const { return folder_ / name; }
  CommandResult run(const std::string& from, const std::string& flags = "") const {
    return foresight_command("import vit " + path(from).string() + " --out " +
                             path("bundle").string() + flags);
  }
  io::Bundle done(const std::string& from, const std::string& flags = "") const {
    const auto result = run(from, flags);
    INFO(result.output);
    REQUIRE(result.code == 0);
    return io::read_bundle(path("bundle"));
  }
  void refused(const std::string& from, const std::string& words) const {
    const auto result = run(from);
    CHECK(result.code == 1);
    CHECK_THAT(result.output, Catch::Contains(words));
    CHECK_FALSE(fs::exists(path("bundle")));
  }
  io::NamedTensors exported() const {
    const auto back = path("back.safetensors");
    REQUIRE(
        foresight_command("export " + path("bundle").string() + " --out " + back.string()).code ==
        0);
    return io::SafeTensors::open(back).tensors();
  }

 private:
  TemporaryFolder folder_;
};

// A folder of transformers, as it may be changed.
struct Folder {
  explicit Folder(const std::string& name) {
    const auto source = fs::path(FORESIGHT_TEST_DATA "/goldens/hf/checkpoints") / name;
    config = io::read_json(source / "config.json");
    tensors = io::SafeTensors::open(source / "model.safetensors").tensors();
  }
  void write(const fs::path& folder) const {
    fs::create_directory(folder);
    io::write_json(folder / "config.json", config);
    io::write_safetensors(folder / "model.safetensors", tensors);
  }
  nlohmann::json config;
  io::NamedTensors tensors;
};

}  // namespace

TEST_CASE("DINOv2's own file becomes an image encoder, and goes back bit by bit") {
  for (const auto& [registers, gated] :
       {std::pair{0, false}, std::pair{3, false}, std::pair{3, true}}) {
    INFO(registers << " registers, gated " << gated);
    const Import import;
    const auto vit = tiny_dinov2(registers, gated);
    const auto file = nn::dinov2_tensors(*vit);
    write_bytes(import.path("dinov2.pth"), torch_state_dict(file));
    const auto read = models::read_vit(import.done("dinov2.pth"));
    const auto& o = read.encoder->options();
    CHECK(o.heads == 2);
    CHECK(o.registers == registers);
    CHECK(o.gated == gated);
    CHECK(o.positions == (registers > 0 ? nn::PositionResize::bicubic_antialiased
                                        : nn::PositionResize::bicubic_offset));
    CHECK(read.encoder->image_size() == 42);
    CHECK(read.image.size == 224);
    CHECK(read.image.resize_edge == 256);
    CHECK(read.image.interpolation == models::Interpolation::bicubic);
    const auto pictures = PhiloxNoise(1).normal({1, 3, 70, 56});
    CHECK(at::equal(read.encoder->tokens(pictures), vit->tokens(pictures)));
    check_same(import.exported(), file);
    CHECK(models::read_vit(import.done("dinov2.pth", " --image.size 196")).image.size == 196);
  }
}

TEST_CASE("of several DINOv2s in one file one is chosen, without what is no part of it") {
  const Import import;
  const auto student = nn::dinov2_tensors(*tiny_dinov2(0, false));
  io::NamedTensors teacher;
  for (const auto& [name, tensor] : student) teacher.emplace_back(name, tensor + 1);
  auto with_head = teacher;
  with_head.emplace_back("head.weight", at::zeros({3}));
  write_bytes(import.path("both.pth"),
              torch_groups({{"student", student}, {"teacher", with_head}}));
  const auto asked = import.run("both.pth");
  CHECK(asked.code == 2);
  CHECK_THAT(asked.output, Catch::Contains("choose one: student, teacher"));
  import.done("both.pth", " --group teacher --ignore head.");
  check_same(import.exported(), teacher);
  Folder("vit").write(import.path("hf"));
  const auto folder = import.run("hf", kStatistics + " --group teacher");
  CHECK(folder.code == 2);
  CHECK_THAT(folder.output, Catch::Contains("leave out --group"));
}

TEST_CASE("of student and teacher in one flat file one is chosen by what its names begin with") {
  const auto student = nn::dinov2_tensors(*tiny_dinov2(0, false));
  io::NamedTensors teacher, flat{{"dino_loss.center", at::zeros({3})}};
  for (const auto& [name, tensor] : student) {
    teacher.emplace_back(name, tensor + 1);
    flat.emplace_back("student.backbone." + name, tensor);
    flat.emplace_back("teacher.backbone." + name, tensor + 1);
  }
  flat.emplace_back("teacher.dino_head.mlp.0.weight", at::zeros({3}));
  const io::NamedTensors optimizer{{"exp_avg", at::zeros({3})}};
  for (const auto& [bytes, above] :
       {std::pair{torch_state_dict(flat), ""},
        std::pair{torch_groups({{"model", flat}, {"optimizer", optimizer}}), "model."},
        std::pair{torch_groups({{"state_dict", flat}, {"optimizer", optimizer}}), "state_dict."}}) {
    const std::string group = above;
    INFO("below '" << group << "'");
    const Import import;
    write_bytes(import.path("training.pth"), bytes);
    const std::string in_group = group == "model." ? " --group model" : "";
    const auto asked = import.run("training.pth", in_group);
    CHECK(asked.code == 2);
    CHECK_THAT(asked.output,
               Catch::Contains("choose one: " + group + "student, " + group + "teacher (--group)"));
    const auto bundle = import.done("training.pth", " --group " + group + "teacher");
    CHECK(bundle.config.provenance["imported"]["group"] == group + "teacher");
    check_same(import.exported(), teacher);
    import.done("training.pth", " --group " + group + "student");
    check_same(import.exported(), student);
    import.done("training.pth", in_group + " --ignore student.,dino_loss.");  // one is left
    check_same(import.exported(), teacher);
    CHECK_THAT(import.run("training.pth", " --group ema").output,
               Catch::Contains("no group 'ema'"));
  }
}

TEST_CASE("of DINOv2's training files the backbone is read, below whatever it stands") {
  const auto file = nn::dinov2_tensors(*tiny_dinov2(0, false));
  for (const std::string prefix :
       {"backbone.", "module.backbone.", "teacher.backbone.", "_orig_mod.teacher.backbone."})
    for (const bool heads : {false, true}) {
      INFO(prefix << (heads ? " with heads" : ""));
      const Import import;
      io::NamedTensors training;
      // With heads also as trained in chunks: blocks.3.0.norm1, whose second number counts.
      for (const auto& [name, tensor] : file)
        training.emplace_back(
            prefix + (heads && name.starts_with("blocks.") ? "blocks.3." + name.substr(7) : name),
            tensor);
      const auto above = prefix.substr(0, prefix.find("backbone."));
      if (heads) training.emplace_back(above + "dino_head.mlp.0.weight", at::zeros({3}));
      write_bytes(import.path("training.pth"), torch_state_dict(training));
      const auto imported = import.run("training.pth");
      INFO(imported.output);
      REQUIRE(imported.code == 0);
      const auto left_out = Catch::Contains("left out: 1 tensors beside 'backbone.'");
      CHECK(left_out.match(imported.output) == heads);
      check_same(import.exported(), file);
    }
}

TEST_CASE("a folder of transformers is read from its pickle where it has no safetensors") {
  const Import import;
  const Folder folder("vit");
  fs::create_directory(import.path("hf"));
  io::write_json(import.path("hf") / "config.json", folder.config);
  write_bytes(import.path("hf") / "pytorch_model.bin", torch_state_dict(folder.tensors));
  write_bytes(import.path("hf") / "training_args.bin", "a Trainer leaves it");
  for (const auto* from : {"hf/pytorch_model.bin", "hf"})
    CHECK(import.done(from, kStatistics).config.provenance["imported"]["file"] ==
          "pytorch_model.bin");
  check_same(import.exported(), folder.tensors);
  const auto inspected = foresight_command("inspect " + import.path("hf").string());
  CHECK(inspected.code == 0);
  CHECK_THAT(inspected.output,
             Catch::Contains("pytorch_model.bin: ") && Catch::Contains("embeddings.cls_token"));
}

TEST_CASE("a folder with one file of weights is that file, whatever its config.json is of") {
  const Import import;
  const auto file = nn::dinov2_tensors(*tiny_dinov2(0, false));
  fs::create_directory(import.path("mine"));
  write_bytes(import.path("mine") / "dinov2.pth", torch_state_dict(file));
  for (const auto* config : {R"({"model_type": "dinov2"})", "// my settings"}) {
    INFO(config);
    write_bytes(import.path("mine") / "config.json", config);
    import.done("mine");
    check_same(import.exported(), file);
    CHECK(foresight_command("inspect " + import.path("mine").string()).code == 0);
    CHECK(foresight_command("inspect " + import.path("mine/dinov2.pth").string()).code == 0);
  }
}

TEST_CASE("numbers that float32 rounds do not go back as float64 under other names") {
  const Import import;
  Folder folder("vit");
  for (auto& [name, tensor] : folder.tensors) {
    name = nn::newer_hf_vit_key(name);  // as of a state_dict() of transformers' memory
    tensor = in_type(tensor, at::kDouble);
  }
  folder.write(import.path("hf"));
  const auto bundle = import.done("hf", kStatistics);
  const auto back = import.path("back.safetensors");
  const auto exported =
      foresight_command("export " + import.path("bundle").string() + " --out " + back.string());
  CHECK_THAT(exported.output, Catch::Contains("types: float32"));
  check_same(io::SafeTensors::open(back).tensors(),
             nn::hf_vit_tensors(*models::read_vit(bundle).encoder));
}

TEST_CASE("an import does not replace what it reads, nor an export its bundle") {
  const Import import;
  Folder("vit").write(import.path("hf"));
  const auto weights = import.path("hf") / "model.safetensors";
  const auto before = read_bytes(weights);
  const auto refused = [&](const std::string& command, const std::string& words) {
    const auto result = foresight_command(command);
    CHECK(result.code == 2);
    CHECK_THAT(result.output, Catch::Contains(words));
  };
  for (const auto& from : {import.path("hf"), weights})
    refused("import vit " + from.string() + " --out " + import.path("hf").string() + kStatistics,
            "holds 'model.safetensors', which is read");
  CHECK(read_bytes(weights) == before);

  import.done("hf", kStatistics);
  const auto bundle = import.path("bundle");
  const auto own = read_bytes(bundle / "model.safetensors");
  fs::create_directory_symlink(bundle, import.path("link"));
  for (const auto& out : {bundle / "model.safetensors", bundle / "back.safetensors",
                          import.path("link") / "model.safetensors"})
    refused("export " + bundle.string() + " --out " + out.string(), "is inside the bundle");
  const auto folder = fs::current_path();
  fs::current_path(bundle);
  refused("export . --out back.safetensors", "is inside the bundle");
  fs::current_path(folder);
  CHECK(read_bytes(bundle / "model.safetensors") == own);
  CHECK_FALSE(fs::exists(bundle / "back.safetensors"));
}

TEST_CASE("a DINOv2's tensors under the names of its own code") {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto& [name, tensor] : nn::dinov2_tensors(*tiny_dinov2(3, false)))
    shapes[name] = tensor.sizes().vec();
  CHECK(shapes.size() == 8 + 2 * 14);
  using Shape = std::vector<int64_t>;
  CHECK(shapes.at("cls_token") == Shape{1, 1, 128});
  CHECK(shapes.at("mask_token") == Shape{1, 128});
  CHECK(shapes.at("register_tokens") == Shape{1, 3, 128});
  CHECK(shapes.at("pos_embed") == Shape{1, 10, 128});
  CHECK(shapes.at("patch_embed.proj.weight") == Shape{128, 3, 14, 14});
  CHECK(shapes.at("norm.bias") == Shape{128});
  CHECK(shapes.at("blocks.1.attn.qkv.weight") == Shape{384, 128});
  CHECK(shapes.at("blocks.1.attn.qkv.bias") == Shape{384});
  for (const auto* name :
       {"norm1.weight", "attn.proj.bias", "ls1.gamma", "norm2.bias", "mlp.fc2.bias", "ls2.gamma"})
    CHECK(shapes.at(std::string("blocks.0.") + name) == Shape{128});
  CHECK(shapes.at("blocks.0.mlp.fc1.weight") == Shape{24, 128});
  shapes.clear();
  for (const auto& [name, tensor] : nn::dinov2_tensors(*tiny_dinov2(0, true)))
    shapes[name] = tensor.sizes().vec();
  CHECK(shapes.at("blocks.0.mlp.w12.weight") == Shape{48, 128});
  CHECK(shapes.at("blocks.0.mlp.w3.weight") == Shape{128, 24});
}

TEST_CASE("files that are no DINOv2's are refused by what is missing or does not fit") {
  const Import import;
  const auto file = nn::dinov2_tensors(*tiny_dinov2(0, false));
  const auto refused = [&](const std::string& name, const Tensor& other, const std::string& words) {
    io::NamedTensors changed;
    for (const auto& item : file)
      if (item.first != name) changed.push_back(item);
    if (other.defined()) changed.emplace_back(name, other);
    io::write_safetensors(import.path("own.safetensors"), changed);
    import.refused("own.safetensors", words);
  };
  refused("blocks.0.ls1.gamma", {}, "'blocks.0.ls1.gamma', which DINOv2's own files have");
  refused("pos_embed", at::zeros({1, 9, 128}), "'pos_embed' has 9 places");
  refused("patch_embed.proj.weight", at::zeros({128, 1, 14, 14}), "1 channels, expected 3");
  refused("patch_embed.proj.weight", at::zeros({96, 3, 14, 14}), "width 96");
  refused("blocks.1.attn.qkv.weight", at::zeros({384, 64}), "blocks.1.attn.qkv.weight");
  refused("norm.bias", {}, "layernorm.bias");
}

TEST_CASE("all that does not fit DINOv2's own file is told at once, under the file's names") {
  const Import import;
  auto file = nn::dinov2_tensors(*tiny_dinov2(0, false));
  std::erase_if(file, [](const auto& item) { return item.first == "norm.weight"; });
  for (auto& [name, tensor] : file) {
    if (name == "blocks.1.attn.qkv.weight") tensor = at::zeros({384, 64});
    if (name == "blocks.0.norm1.bias") name = "blocks.0.norm1.bais";
  }
  file.emplace_back("extra.weight", at::zeros({3}));
  io::write_safetensors(import.path("own.safetensors"), file);
  import.refused("own.safetensors", "'blocks.1.attn.qkv.weight' has shape [384, 64], expected");
  import.refused("own.safetensors", "'norm.weight' is missing");
  import.refused("own.safetensors", "is it 'blocks.0.norm1.bais'?");
  import.refused("own.safetensors", "'extra.weight' is unexpected");
}

TEST_CASE("a config.json that the weights of a ViT contradict is told by its key and a tensor") {
  const Import import;
  Folder folder("vit");
  folder.config["hidden_size"] = 2 * folder.config.at("hidden_size").get<int64_t>();
  folder.write(import.path("hf"));
  import.refused("hf", "hidden_size = ");
  import.refused("hf", "disagrees with tensor 'embeddings.patch_embeddings.projection.weight'");
}

TEST_CASE("an encoder of other pictures than RGB is refused by its channels") {
  const Import import;
  for (const auto* name : {"vit", "dinov2_with_registers"}) {
    INFO(name);
    Folder folder(name);
    folder.config["num_channels"] = 1;
    for (auto& [key, tensor] : folder.tensors)
      if (key.ends_with("projection.weight")) tensor = tensor.narrow(1, 0, 1).contiguous();
    folder.write(import.path(name));
    import.refused(name, "num_channels = 1");
  }
}

TEST_CASE("what an import of an image encoder leaves out or rounds is said") {
  const Import import;
  Folder folder("dinov2_with_registers");
  for (auto& [name, tensor] : folder.tensors) tensor = in_type(tensor, at::kDouble);
  const auto bare = folder.tensors;
  for (auto& [name, tensor] : folder.tensors) name = "dinov2_with_registers." + name;
  folder.tensors.emplace_back("classifier.weight", at::zeros({5, 64}));
  folder.tensors.emplace_back("classifier.bias", at::zeros({5}));
  folder.write(import.path("hf"));
  const auto imported = import.run("hf", kStatistics);
  CHECK(imported.code == 0);
  CHECK_THAT(imported.output,
             Catch::Contains("left out: 2 tensors of 'classifier.'") &&
                 Catch::Contains("tensors of float64; the bundle keeps these too"));
  CHECK_THAT(imported.output, !Catch::Contains("actions:"));  // an encoder has none
  check_same(import.exported(), bare);
  const auto count = std::to_string(bare.size());
  CHECK_THAT(foresight_command("inspect " + import.path("bundle").string()).output,
             Catch::Contains(count + " tensors and " + count + " in float64 for an export"));
}

}  // namespace foresight::import_vit_test
