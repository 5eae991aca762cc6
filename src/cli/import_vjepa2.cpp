// SPDX-License-Identifier: Apache-2.0
// foresight import vjepa2, vjepa2_ac and ijepa.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>

#include "described_probe.hpp"
#include "flags.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/hf_folder.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/hf_preprocessing.hpp"
#include "foresight/models/hf_vjepa2.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/models/vjepa2_checkpoint.hpp"
#include "foresight/nn/state_dict.hpp"
#include "importers.hpp"

namespace foresight::cli {
namespace {

struct VJepa2Flags {
  ImportFlags shared;
  std::string encoder;
  int64_t image_size = 0;
  models::VJepa2FileOptions file;
  std::string positions;
  std::vector<double> image_mean, image_std;
  std::string image_resize;
  int64_t image_resize_edge = 0;
  std::string probe, labels;
  std::optional<int64_t> probe_index, probe_heads;
};

struct VJepa2AcFlags : VJepa2Flags {
  std::optional<int64_t> window, history;
  std::optional<bool> normalise_latents;
};

enum class Family { vjepa2, ijepa };

constexpr const char* kHfWrapper = "vjepa2.";  // before a classifier's network

// As the folder says, else as published; flags overrule both.
template <class Options>
void set_pictures(io::BundleConfig& config, const VJepa2Flags& flags, Options options) {
  auto& image = options.image;
  if (!flags.image_mean.empty()) image.mean = flags.image_mean;
  if (!flags.image_std.empty()) image.std = flags.image_std;
  if (!flags.image_resize.empty()) {
    const bool crop = flags.image_resize == "crop";
    image.resize = crop ? models::ResizeRule::crop : models::ResizeRule::stretch;
    image.resize_edge =
        crop ? models::vjepa2_evaluation_pictures(image.size).resize_edge : int64_t{0};
    image.max_aspect = 0;
  }
  if (flags.image_resize_edge > 0) image.resize_edge = flags.image_resize_edge;
  require_valid(options);
  config.options["image"] = write_options(image);
}

bool has_part(const io::Weights& weights, const std::string& part) {
  return std::any_of(weights.tensors.begin(), weights.tensors.end(), [&](const auto& item) {
    return models::vjepa2_key(item.first).starts_with(part + ".");
  });
}

// What is read of an original checkpoint, one encoder and the predictor, under the names that go
// back. What is neither these nor the other encoder is counted in the output.
io::NamedTensors parts_read(const io::NamedTensors& checkpoint, const std::string& encoder) {
  io::NamedTensors read;
  std::map<std::string, int> left_out;
  for (const auto& [name, tensor] : checkpoint) {
    const auto key = models::vjepa2_key(name);
    const auto part = key.substr(0, key.find('.'));
    if (part == encoder)
      read.emplace_back("encoder" + key.substr(part.size()), tensor);
    else if (part == "predictor")
      read.emplace_back(key, tensor);
    else if (part != "encoder" && part != "target_encoder")
      ++left_out[part == key ? part : part + "."];
  }
  for (const auto& [part, count] : left_out)
    fmt::print("left out: {} tensors of '{}'\n", count, part);
  return read;
}

// Without the tables of positions that rotary ones leave out: an export does not give them back.
template <class Options>
io::NamedTensors without_unread_tables(io::NamedTensors read, const Options& options) {
  const auto drop = [&](nn::PositionKind positions, std::string_view table) {
    if (positions == nn::PositionKind::rope)
      std::erase_if(read, [&](const auto& item) { return item.first == table; });
  };
  drop(options.encoder.positions, "encoder.pos_embed");
  drop(options.predictor.positions, "predictor.predictor_pos_embed");
  return read;
}

// Of a file's two encoders the one to read.
struct ChosenEncoder {
  models::EncoderWeights which = models::EncoderWeights::online;
  bool equal = false;  // the other has the same numbers

  std::string part() const {
    return which == models::EncoderWeights::target ? "target_encoder" : "encoder";
  }
  void print() const {
    fmt::print("encoder: {}{}\n", enum_name(which), equal ? " (equal to target)" : "");
  }
};

// Where the two differ, which one is never a guess.
ChosenEncoder chosen_encoder(const VJepa2Flags& flags, const io::Weights& weights) {
  const bool online = has_part(weights, "encoder"), target = has_part(weights, "target_encoder");
  const bool open = flags.encoder.empty() && online && target;
  const bool equal = open && models::same_encoders(weights.tensors);
  require(!open || equal, ErrorCategory::invalid_option,
          weights.path.string() +
              ": holds 'encoder' and its moving average 'target_encoder', which differ: give "
              "--encoder online (as torch.hub loads it) or --encoder target (as the published "
              "evaluations do)");
  const bool use_target = flags.encoder.empty() ? !online && target : flags.encoder == "target";
  return {use_target ? models::EncoderWeights::target : models::EncoderWeights::online, equal};
}

// The names of the classes that the user has in a file.
void name_classes(models::AttentiveProbeOptions& options, const std::string& file) {
  if (file.empty()) return;
  require(options.reading == models::ProbeReading::classes, ErrorCategory::invalid_option,
          "--labels names classes, and this probe reads values");
  options.names = models::class_names(io::read_json(file), options.outputs, file);
}

// The probe beside or behind the encoder; null if there is none. Its tensors are added to `read`.
std::shared_ptr<models::AttentiveProbe> imported_probe(const VJepa2Flags& flags,
                                                       const models::VJepa2& model,
                                                       const std::optional<io::HfFolder>& folder,
                                                       nlohmann::json& provenance,
                                                       io::NamedTensors& read) {
  auto probe = folder ? models::load_hf_vjepa2_probe(*folder, io::Placement::share) : nullptr;
  require(!probe || flags.probe.empty(), ErrorCategory::invalid_option,
          flags.shared.from + ": has a classifier already; leave out --probe");
  require(!flags.probe.empty() || (!flags.probe_index && !flags.probe_heads),
          ErrorCategory::invalid_option,
          "--probe_index and --probe_heads belong to --probe: leave them out");
  if (!flags.probe.empty()) {
    const auto file = flags.shared.open(flags.probe);
    models::ProbeFileOptions options;
    if (flags.probe_index) options.which = *flags.probe_index;
    if (flags.probe_heads) options.heads = *flags.probe_heads;
    const auto source = file.path.string();
    probe = models::load_vjepa2_probe(file.tensors, source, options);
    const auto width = model.options().encoder.width;
    require(probe->width() == width, ErrorCategory::bad_file,
            fmt::format("{}: a probe of tokens of width {}, the encoder's have {}", source,
                        probe->width(), width));
    provenance["probe"] = {{"file", file.path.filename().string()}};
    if (flags.probe_index) provenance["probe"]["index"] = *flags.probe_index;
    auto own = models::vjepa2_probe_tensors(file.tensors, options.which, source);
    if (folder) {  // both go back as one classifier of transformers
      own = models::vjepa2_to_hf(own);
      for (auto& [name, tensor] : read)
        if (!name.starts_with(kHfWrapper)) name = kHfWrapper + name;
    }
    read.insert(read.end(), own.begin(), own.end());
  }
  require(probe || flags.labels.empty(), ErrorCategory::invalid_option,
          "--labels names the classes of a probe, and there is none: give --probe");
  if (!probe || flags.labels.empty()) return probe;
  auto options = probe->options();
  name_classes(options, flags.labels);
  auto named = std::make_shared<models::AttentiveProbe>(probe->width(), options, std::nullopt);
  nn::copy_state(*probe, *named);
  return named;
}

void require_family(Family family, const std::optional<io::HfFolder>& folder,
                    const io::Weights& weights) {
  if (family != Family::ijepa) return;
  require(!folder, ErrorCategory::unsupported,
          (folder ? folder->path.string() : std::string()) +
              ": a Hugging Face folder: 'foresight import vit' takes I-JEPA's, 'foresight import "
              "vjepa2' V-JEPA 2's");
  require(
      models::takes_pictures(weights.tensors), ErrorCategory::unsupported,
      weights.path.string() +
          ": has no encoder of single pictures, as I-JEPA's is; 'foresight import vjepa2' takes "
          "checkpoints of clips");
}

models::VJepa2FileOptions told(const VJepa2Flags& flags) {
  auto file = flags.file;
  if (!flags.positions.empty())
    foresight::detail::read_value(file.positions.emplace(), flags.positions, "--positions");
  return file;
}

// Frames of the clips whose places the tables in released files have: V-JEPA 2's and V-JEPA 2-AC's.
constexpr std::array<int64_t, 2> kTableFrames{64, 512};

// A table of positions that nothing reads is nearly always just that, but never left out silently:
// it also tells the size of the pictures, as far as the length of the clips is known.
void print_positions(const nn::VideoVitOptions& encoder, const io::NamedTensors& read,
                     const std::string& source) {
  const auto table = std::find_if(read.begin(), read.end(), [](const auto& item) {
    return models::vjepa2_key(item.first).ends_with("encoder.pos_embed");
  });
  const bool left_out = table != read.end() && encoder.positions == nn::PositionKind::rope;
  fmt::print("positions: {}{}\n", enum_name(encoder.positions),
             left_out ? "; the file's 'pos_embed' is left out (--positions sincos reads it)" : "");
  if (!left_out || table->second.dim() != 3) return;
  const auto per_frame = encoder.grid().per_frame(), found = table->second.size(1);
  const auto of_clips = [&](int64_t frames) { return frames / encoder.tubelet * per_frame; };
  if (std::any_of(kTableFrames.begin(), kTableFrames.end(),
                  [&](int64_t frames) { return found == of_clips(frames); }))
    return;
  log(LogLevel::warning,
      fmt::format("{}: the 'pos_embed' that is left out has {} places, of {} frames of {} pixels "
                  "it would have {}: is --image_size that of the training?",
                  source, found, kTableFrames[0], encoder.image_height, of_clips(kTableFrames[0])));
}

void import_vjepa2_command(const VJepa2Flags& flags, Family family) {
  const auto weights = flags.shared.open(flags.shared.from);
  std::shared_ptr<models::VJepa2> model;
  const auto folder = hf_folder_of(flags.shared.from, weights);
  require_family(family, folder, weights);
  nlohmann::json provenance;
  auto read = weights.tensors;
  if (folder) {
    require(flags.encoder.empty() && flags.image_size == 0 && flags.file.heads.encoder == 0 &&
                flags.file.heads.predictor == 0 && flags.positions.empty(),
            ErrorCategory::invalid_option,
            flags.shared.from +
                ": a Hugging Face folder has one encoder and tells its sizes; leave out --encoder, "
                "--image_size, --encoder_heads, --predictor_heads and --positions");
    model = models::load_hf_vjepa2(*folder, io::Placement::share);
    provenance[kSourceLayout] = "transformers";
  } else {
    const auto source = weights.path.string();
    const auto encoder = chosen_encoder(flags, weights);
    model = std::make_shared<models::VJepa2>(
        models::describe_vjepa2(weights.tensors, flags.image_size, source, told(flags)),
        std::nullopt);
    models::load_vjepa2(*model, weights.tensors, encoder.which, source, io::Placement::share);
    read = parts_read(weights.tensors, encoder.part());
    provenance[kSourceLayout] = kOwnLayout;
    provenance["encoder"] = std::string(enum_name(encoder.which));
    encoder.print();
    print_positions(model->options().encoder, read, source);
    read = without_unread_tables(std::move(read), model->options());
  }
  const auto probe = imported_probe(flags, *model, folder, provenance, read);
  auto config = models::vjepa2_bundle_config(*model);
  config.provenance.update(provenance);
  set_pictures(config, flags, model->options());
  auto tensors = nn::state_dict(*model);
  if (probe) {
    fmt::print("{}\n", described(probe->options()));
    models::add_attentive_probe(config, tensors, *probe);
  }
  write_imported({std::move(config), std::move(tensors)}, flags.shared, weights, read);
}

void import_vjepa2_ac_command(const VJepa2AcFlags& flags) {
  const auto weights = flags.shared.open(flags.shared.from);
  const auto source = weights.path.string();
  const auto encoder = chosen_encoder(flags, weights);
  auto options = models::describe_vjepa2_ac(weights.tensors, flags.image_size, source, told(flags));
  options.window = flags.window.value_or(options.window);
  options.history = flags.history.value_or(options.history);
  options.normalise_latents = flags.normalise_latents.value_or(options.normalise_latents);
  models::VJepa2Ac model(options, std::nullopt);
  models::load_vjepa2_ac(model, weights.tensors, encoder.which, source, io::Placement::share);
  const auto read = parts_read(weights.tensors, encoder.part());
  encoder.print();
  print_positions(options.encoder, read, source);
  fmt::print("imagines: window {}, history {}, {} latents, {} extrinsics\n", options.window,
             options.history, options.normalise_latents ? "normalised" : "plain",
             options.predictor.extrinsics ? "with" : "without");
  auto config = models::vjepa2_ac_bundle_config(model);
  config.planner = write_options(AgentOptions::vjepa2_ac());
  config.provenance["encoder"] = std::string(enum_name(encoder.which));
  set_pictures(config, flags, options);
  write_imported({std::move(config), nn::state_dict(model)}, flags.shared, weights,
                 without_unread_tables(read, options));
}

template <class Flags>
std::shared_ptr<Flags> add_shared(CLI::App& command) {
  auto flags = std::make_shared<Flags>();
  flags->shared.add_files(command);
  command
      .add_option(
          "--image_size", flags->image_size,
          "side of the pictures in pixels, a multiple of the patch; original checkpoints of "
          "clips do not tell it")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--encoder", flags->encoder,
                  "of an original checkpoint: online (\"encoder\") or target "
                  "(\"target_encoder\", its moving average); needed where they differ")
      ->check(CLI::IsMember({"online", "target"}));
  for (const auto& [name, heads] : {std::pair{"--encoder_heads", &flags->file.heads.encoder},
                                    std::pair{"--predictor_heads", &flags->file.heads.predictor}})
    command
        .add_option(name, *heads,
                    "attention heads of an original checkpoint of another width than the published "
                    "ones")
        ->check(CLI::PositiveNumber);
  command
      .add_option("--positions", flags->positions,
                  "of an original checkpoint of clips: rope, sincos or sincos_uniform; default: "
                  "rope, as released")
      ->check(CLI::IsMember({"rope", "sincos", "sincos_uniform"}));
  command
      .add_option("--image_mean", flags->image_mean,
                  "mean of the pictures per channel, in 0..1; default: ImageNet's, as published")
      ->delimiter(',');
  command
      .add_option("--image_std", flags->image_std,
                  "standard deviation per channel; default: ImageNet's, as published")
      ->delimiter(',');
  command
      .add_option("--image_resize", flags->image_resize,
                  "crop (the shorter edge to --image_resize_edge, then the centre square) or "
                  "stretch; default: as published")
      ->check(CLI::IsMember({"crop", "stretch"}));
  command
      .add_option("--image_resize_edge", flags->image_resize_edge,
                  "pixels of the shorter edge before a crop; default: 256/224 of the size")
      ->check(CLI::PositiveNumber);
  return flags;
}

void add_encoder_import(CLI::App& command, Family family) {
  auto flags = add_shared<VJepa2Flags>(command);
  command.add_option("--probe", flags->probe,
                     "file of attentive probes of V-JEPA 2's own evaluation code; a classifier's "
                     "folder has its own");
  command.add_option("--probe_index", flags->probe_index, "which of several probes, from 0")
      ->check(CLI::NonNegativeNumber);
  command
      .add_option("--probe_heads", flags->probe_heads,
                  "attention heads of the probe; default: 16, as published")
      ->check(CLI::PositiveNumber);
  command.add_option("--labels", flags->labels,
                     "JSON file with the names of the classes: a list, or {\"0\": \"name\", ...}");
  command.callback([flags, family] { import_vjepa2_command(*flags, family); });
}

}  // namespace

void add_vjepa2_import(CLI::App& command) { add_encoder_import(command, Family::vjepa2); }

void add_ijepa_import(CLI::App& command) { add_encoder_import(command, Family::ijepa); }

void add_vjepa2_ac_import(CLI::App& command) {
  auto flags = add_shared<VJepa2AcFlags>(command);
  command.add_option("--extrinsics", flags->file.extrinsics,
                     "true: a frame has a token for the camera's place; default: false, as "
                     "released, unless its layer was trained");
  command
      .add_option("--window", flags->window,
                  "frames that the predictor sees at most, imagined ones included; default: 8")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--history", flags->history,
                  "observed frames that a prediction starts from; default: 1")
      ->check(CLI::PositiveNumber);
  command.add_option("--normalise_latents", flags->normalise_latents,
                     "false: latents are the encoder's as they are; default: true, as released");
  command.callback([flags] { import_vjepa2_ac_command(*flags); });
}

}  // namespace foresight::cli
