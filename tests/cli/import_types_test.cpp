// SPDX-License-Identifier: Apache-2.0
// Types of the numbers in original checkpoints of V-JEPA 2, of which the model computes in float32.
#include <algorithm>

#include "foresight/nn/state_dict.hpp"
#include "same_tensors.hpp"
#include "vjepa2_import.hpp"

namespace foresight::import_types_test {

TEST_CASE("an original V-JEPA 2 of several types goes back bit by bit, in its own layout") {
  const auto own = nn::state_dict(*small_clips(nn::PositionKind::rope));
  for (const auto type : {at::kBFloat16, at::kFloat8_e5m2, at::kDouble}) {
    INFO(c10::toString(type));
    const VJepa2Import import("vjepa2");
    const auto given = mixed_types(own, type);
    auto checkpoint = given;
    for (auto& [name, tensor] : checkpoint)
      if (name.starts_with("encoder.")) name = "target_" + name;
    import.write(wrapped(checkpoint));
    import.done(" --image_size 32");
    const auto exported = [&](const std::string& layout) {
      const auto result = foresight_command("export " + import.path("bundle") + layout + " --out " +
                                            import.path("back.safetensors"));
      INFO(result.output);
      REQUIRE(result.code == 0);
      return result.output;
    };
    for (const std::string layout : {"", " --layout original"}) {
      exported(layout);
      check_same(io::SafeTensors::open(import.path("back.safetensors")).tensors(), given);
    }
    CHECK_THAT(exported(" --layout transformers"), Catch::Contains("types: float32"));
  }
}

TEST_CASE("tables of positions that are left out do not make a V-JEPA 2 one of several types") {
  const auto check = [](const VJepa2Import& import, io::NamedTensors given,
                        const std::string& layout) {
    for (auto& [name, tensor] : given) tensor = tensor.to(at::kBFloat16);
    auto checkpoint = given;
    checkpoint.emplace_back("encoder.pos_embed", at::zeros({1, 4 * 4, 48}));
    checkpoint.emplace_back("predictor.predictor_pos_embed", at::zeros({1, 4 * 4, 48}));
    import.write(checkpoint);
    const auto imported = import.done(" --image_size 32").config.provenance["imported"];
    CHECK(imported.value("stored_type", "") == "bfloat16");
    CHECK_FALSE(imported.contains("stored_types"));
    const auto exported = foresight_command("export " + import.path("bundle") + layout + " --out " +
                                            import.path("back.safetensors"));
    CHECK_THAT(exported.output, !Catch::Contains("types:"));
    for (const auto& [name, tensor] :
         io::SafeTensors::open(import.path("back.safetensors")).tensors()) {
      INFO(name);
      CHECK(tensor.scalar_type() == at::kBFloat16);
    }
  };
  const auto clips = nn::state_dict(*small_clips(nn::PositionKind::rope));
  check(VJepa2Import("vjepa2"), clips, " --layout transformers");
  check(VJepa2Import("vjepa2_ac"), nn::state_dict(*small_arm()), "");
}

TEST_CASE("numbers that an imported file's type does not hold are exported as they are") {
  for (const auto type : {at::kBFloat16, at::kDouble}) {
    INFO(c10::toString(type));
    const VJepa2Import import("vjepa2");
    auto given = nn::state_dict(*small_clips(nn::PositionKind::rope));
    for (auto& [name, tensor] : given) tensor = in_type(tensor, type);
    import.write(given);
    auto bundle = import.done(" --image_size 32");
    auto changed = bundle.tensors.tensors();
    const auto own = std::find_if(changed.begin(), changed.end(), [](const auto& item) {
      return item.first == "encoder.norm.weight";
    });
    own->second = own->second + 0.001;
    io::write_bundle(import.path("other"), bundle.config, changed);
    const auto exported = foresight_command("export " + import.path("other") + " --out " +
                                            import.path("back.safetensors"));
    CHECK_THAT(exported.output, Catch::Contains("1 tensors stay float32"));
    for (auto& [key, tensor] : given)
      if (key == own->first) tensor = own->second;
    check_same(io::SafeTensors::open(import.path("back.safetensors")).tensors(), given);
  }
}

TEST_CASE("a V-JEPA 2-AC of float64 computes in float32 and goes back bit by bit") {
  const VJepa2Import import("vjepa2_ac");
  auto given = nn::state_dict(*small_arm());
  for (auto& [name, tensor] : given) tensor = in_type(tensor, at::kDouble);
  import.write(given);
  const auto bundle = import.done(" --image_size 32");
  check_same(nn::state_dict(*models::read_vjepa2_ac(bundle)), nn::state_dict(*small_arm()));
  const auto exported = foresight_command("export " + import.path("bundle") + " --out " +
                                          import.path("back.safetensors"));
  CHECK_THAT(exported.output, !Catch::Contains("types:"));
  check_same(io::SafeTensors::open(import.path("back.safetensors")).tensors(), given);

  // Without a digit too many nothing is kept twice.
  for (auto& [name, tensor] : given) tensor = tensor.to(at::kFloat).to(at::kDouble);
  import.write(given);
  CHECK(import.done(" --image_size 32").tensors.tensors(io::kImportedPrefix).empty());
  REQUIRE(foresight_command("export " + import.path("bundle") + " --out " +
                            import.path("back.safetensors"))
              .code == 0);
  check_same(io::SafeTensors::open(import.path("back.safetensors")).tensors(), given);
}

}  // namespace foresight::import_types_test
