// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/hf_vjepa2.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "checkpoint_sizes.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/hf_config.hpp"
#include "foresight/models/hf_preprocessing.hpp"
#include "foresight/models/vjepa2_checkpoint.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::models {
namespace {

using Json = nlohmann::json;
using Ordered = nlohmann::ordered_json;

// The network that a configuration describes, and the numbers of its probe.
struct Description {
  VJepa2Options options;
  AttentiveProbeOptions probe;
};

int64_t scaled(int64_t width, double ratio) {
  return static_cast<int64_t>(static_cast<double>(width) * ratio);
}

Description read_config(const io::HfFolder& folder) {
  require(folder.model_type() == "vjepa2", ErrorCategory::unsupported,
          folder.config_name() + ": model_type '" + folder.model_type() + "', expected 'vjepa2'");
  HfConfig config(folder.config, folder.config_name());
  Description d;
  auto& e = d.options.encoder;
  e.width = config.positive("hidden_size", 1024);
  e.depth = config.positive("num_hidden_layers", 24);
  e.heads = config.positive("num_attention_heads", 16);
  e.mlp_width = scaled(e.width, config.number("mlp_ratio", 4));
  e.patch = config.edge("patch_size", 16);
  e.tubelet = config.positive("tubelet_size", 2);
  e.frames = config.positive("frames_per_clip", 64);
  e.image_height = e.image_width = config.edge("crop_size", 256);
  e.channels = config.positive("in_chans", 3);
  e.qkv_bias = config.flag("qkv_bias", true);
  e.norm_epsilon = config.number("layer_norm_eps", 1e-6);
  config.expect("hidden_act", "gelu");
  auto& p = d.options.predictor;
  p.width = config.positive("pred_hidden_size", 384);
  p.depth = config.positive("pred_num_hidden_layers", 12);
  p.heads = config.positive("pred_num_attention_heads", 12);
  p.mlp_width = scaled(p.width, config.number("pred_mlp_ratio", 4));
  p.mask_tokens = config.positive("pred_num_mask_tokens", 10);
  p.qkv_bias = e.qkv_bias;
  p.norm_epsilon = e.norm_epsilon;
  require_few_tokens(e.image_height, e.patch, std::max<int64_t>(1, e.frames / e.tubelet),
                     folder.config_name() + ": crop_size");
  d.options.image = vjepa2_evaluation_pictures(e.image_height, folder);
  d.probe.pooler.self_attention = config.count("num_pooler_layers", 3);
  d.probe.pooler.heads = e.heads;
  d.probe.pooler.norm_epsilon = e.norm_epsilon;
  // Published files have keys of the class's first version, which nothing reads.
  config.expect("use_SiLU", false);
  config.ignore({"attention_dropout", "attention_probs_dropout_prob", "drop_path_rate",
                 "initializer_range", "pred_zero_init_mask_tokens", "image_size",
                 "attention_probs_dropout", "hidden_dropout_prob", "wide_SiLU"});
  config.finish();
  throw_if_any(d.options.validate());
  return d;
}

constexpr std::string_view kInClassifier = "vjepa2.";  // a classifier's, around the network

// The tensors as the file names them, apart.
struct Tensors {
  io::NamedTensors network, probe;
  bool wrapped = false;

  std::string_view prefix() const { return wrapped ? kInClassifier : std::string_view(); }
};

Tensors file_tensors(const io::HfFolder& folder) {
  Tensors tensors;
  for (auto& item : folder.tensors()) {
    tensors.wrapped = tensors.wrapped || item.first.starts_with(kInClassifier);
    const bool probe = item.first.starts_with("pooler.") || item.first.starts_with("classifier.");
    (probe ? tensors.probe : tensors.network).push_back(std::move(item));
  }
  return tensors;
}

// A network's tensors under the names that the file has.
io::NamedTensors under_file_names(const torch::nn::Module& model, const Tensors& file) {
  return vjepa2_to_hf(nn::state_dict(model), file.prefix());
}

// Fills a network, strictly, from the part `given` of a folder's tensors; problems are told by the
// names there.
void fill(torch::nn::Module& model, const io::NamedTensors& given, const Tensors& file,
          const std::string& source, io::Placement placement) {
  io::check_fit(under_file_names(model, file), given, source, io::DtypeRule::same_kind);
  nn::load_state_dict(model, vjepa2_from_hf(given, nn::state_dict(model)), source, placement);
  model.eval();
}

// The tensors of a part of a folder, by their names there, which `prefix` opens, against the sizes
// that its configuration tells: compared before a network of these sizes is allocated.
class Sizes {
 public:
  Sizes(const io::NamedTensors& tensors, std::string_view prefix, const io::HfFolder& folder)
      : tensors_(tensors), prefix_(prefix), folder_(folder), source_(folder.tensors_name()) {}

  void expect(const std::string& name, const std::vector<int64_t>& shape) {
    expect_tensor(tensors_, prefix_ + name, shape, source_, kFromConfig, &faults_);
  }
  // A tensor that tells `setting`: of another shape it is that which is wrong.
  void tells(const std::string& name, const std::vector<int64_t>& shape,
             const std::string& setting) {
    for (const auto& [key, tensor] : tensors_)
      require(key != prefix_ + name || tensor.sizes() == at::IntArrayRef(shape),
              ErrorCategory::bad_file,
              folder_.config_name() + ": " + setting + " disagrees with tensor '" + key +
                  "' of shape " + shape_string(tensor.sizes()) + ", which would have to be " +
                  shape_string(shape));
    expect(name, shape);
  }
  // Layers 0..depth-1 below `list`, as `key` says.
  void count(const std::string& list, int64_t depth, const char* key) const {
    const auto found = count_below(tensors_, prefix_ + list);
    require(found == depth, ErrorCategory::bad_file,
            folder_.config_name() + ": " + key + " = " + std::to_string(depth) +
                ", but the tensors are those of " + std::to_string(found) + " layers");
  }
  // A layer's linear maps of the tokens' width below `layer`, and its feed-forward part.
  void layer(const std::string& layer, std::initializer_list<const char*> maps, int64_t width,
             int64_t mlp_width) {
    for (const std::string map : maps) expect(layer + map + ".weight", {width, width});
    expect(layer + "mlp.fc1.weight", {mlp_width, width});
    expect(layer + "mlp.fc2.weight", {width, mlp_width});
  }
  void throw_if_any_fault(const std::function<io::NamedTensors()>& network) const {
    faults_.throw_if_any(tensors_, source_, network);
  }

 private:
  const io::NamedTensors& tensors_;
  std::string prefix_;
  const io::HfFolder& folder_;
  std::string source_;
  SizeFaults faults_;
};

void check_sizes(const VJepa2Options& o, const Tensors& file, const io::HfFolder& folder) {
  Sizes sizes(file.network, file.prefix(), folder);
  const auto layers = [&](const std::string& list, int64_t depth, int64_t width,
                          int64_t mlp_width) {
    for (int64_t i = 0; i < depth; ++i)
      sizes.layer(list + std::to_string(i) + ".",
                  {"attention.query", "attention.key", "attention.value", "attention.proj"}, width,
                  mlp_width);
  };
  const auto& e = o.encoder;
  const auto& p = o.predictor;
  sizes.tells("encoder.embeddings.patch_embeddings.proj.weight",
              {e.width, e.channels, e.tubelet, e.patch, e.patch},
              "hidden_size, in_chans, tubelet_size or patch_size");
  sizes.count("encoder.layer.", e.depth, "num_hidden_layers");
  sizes.tells("encoder.layer.0.mlp.fc1.weight", {e.mlp_width, e.width}, "mlp_ratio");
  sizes.tells("predictor.embeddings.predictor_embeddings.weight", {p.width, e.width},
              "pred_hidden_size");
  sizes.count("predictor.layer.", p.depth, "pred_num_hidden_layers");
  sizes.tells("predictor.layer.0.mlp.fc1.weight", {p.mlp_width, p.width}, "pred_mlp_ratio");
  sizes.tells("predictor.embeddings.mask_tokens", {p.mask_tokens, 1, 1, p.width},
              "pred_num_mask_tokens");
  layers("encoder.layer.", e.depth, e.width, e.mlp_width);
  layers("predictor.layer.", p.depth, p.width, p.mlp_width);
  sizes.expect("predictor.proj.weight", {e.width, p.width});
  sizes.throw_if_any_fault([&] { return under_file_names(VJepa2(o, std::nullopt), file); });
}

void check_probe_sizes(const Description& d, const Tensors& file, const io::HfFolder& folder) {
  Sizes sizes(file.probe, {}, folder);
  const auto width = d.options.encoder.width, hidden = d.probe.pooler.hidden(width);
  const std::string self = "pooler.self_attention_layers.";
  sizes.count(self, d.probe.pooler.self_attention, "num_pooler_layers");
  for (int64_t i = 0; i < d.probe.pooler.self_attention; ++i)
    sizes.layer(self + std::to_string(i) + ".",
                {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"},
                width, hidden);
  sizes.layer("pooler.cross_attention_layer.",
              {"cross_attn.q_proj", "cross_attn.k_proj", "cross_attn.v_proj"}, width, hidden);
  sizes.expect("classifier.weight", {d.probe.outputs, width});
  sizes.throw_if_any_fault(
      [&] { return under_file_names(AttentiveProbe(width, d.probe, std::nullopt), file); });
}

// The ratio from which transformers computes our width.
double ratio(int64_t wide, int64_t width) {
  const double exact = static_cast<double>(wide) / static_cast<double>(width);
  for (const double r : {exact, std::nextafter(exact, 1e9)})
    if (scaled(width, r) == wide) return r;
  throw Error(ErrorCategory::unsupported,
              "transformers' VJEPA2Model has no feed-forward width of " + std::to_string(wide));
}

// What VJEPA2ForVideoClassification has beyond VJEPA2Model.
void describe_classifier(Ordered& config, const AttentiveProbe& probe) {
  const auto& o = probe.options();
  config["architectures"] = {"VJEPA2ForVideoClassification"};
  config["num_pooler_layers"] = o.pooler.self_attention;
  if (o.reading == ProbeReading::values) config["problem_type"] = "regression";
  auto names = Ordered::object(), numbers = Ordered::object();
  for (int64_t i = 0; i < o.outputs; ++i) {
    const auto name = o.names.empty() ? "LABEL_" + std::to_string(i) : o.name_of(i);
    names[std::to_string(i)] = name;
    numbers[name] = i;
  }
  config["id2label"] = std::move(names);
  config["label2id"] = std::move(numbers);
}

}  // namespace

VJepa2Options describe_hf_vjepa2(const io::HfFolder& folder) {
  const auto options = read_config(folder).options;
  check_sizes(options, file_tensors(folder), folder);
  return options;
}

std::shared_ptr<VJepa2> load_hf_vjepa2(const io::HfFolder& folder, io::Placement placement) {
  const auto options = read_config(folder).options;
  const auto tensors = file_tensors(folder);
  check_sizes(options, tensors, folder);
  auto model = std::make_shared<VJepa2>(options, std::nullopt);
  fill(*model, tensors.network, tensors, folder.tensors_name(), placement);
  return model;
}

std::vector<std::string> class_names(const Json& table, int64_t classes,
                                     const std::string& source) {
  require((table.is_array() || table.is_object()) && static_cast<int64_t>(table.size()) == classes,
          ErrorCategory::bad_file,
          source + ": names " +
              (table.is_structured() ? std::to_string(table.size()) : std::string("no")) +
              " classes, the weights are those of " + std::to_string(classes));
  std::vector<std::string> names;
  for (int64_t i = 0; i < classes; ++i) {
    const auto number = std::to_string(i);
    require(table.is_array() || table.contains(number), ErrorCategory::bad_file,
            source + ": no name of class " + number);
    const auto& name = table.is_array() ? table[static_cast<std::size_t>(i)] : table[number];
    require(name.is_string(), ErrorCategory::bad_file,
            source + ": class " + number + " is called " + name.dump() + ", expected a text");
    names.push_back(name.get<std::string>());
  }
  return names;
}

std::shared_ptr<AttentiveProbe> load_hf_vjepa2_probe(const io::HfFolder& folder,
                                                     io::Placement placement) {
  auto d = read_config(folder);
  const auto tensors = file_tensors(folder);
  if (tensors.probe.empty()) return nullptr;
  check_sizes(d.options, tensors, folder);
  d.probe.outputs = 0;
  for (const auto& [name, tensor] : tensors.probe)
    if (name == "classifier.weight" && tensor.dim() == 2) d.probe.outputs = tensor.size(0);
  require(d.probe.outputs >= 1, ErrorCategory::bad_file,
          folder.tensors_name() + ": lacks tensor 'classifier.weight' of shape [classes, width]");
  HfConfig config(folder.config, folder.config_name());
  const auto problem = config.text("problem_type", "single_label_classification");
  require(problem == "single_label_classification" || problem == "regression",
          ErrorCategory::unsupported,
          folder.config_name() + ": problem_type = '" + problem +
              "' is not supported, only single_label_classification and regression");
  if (problem == "regression") d.probe.reading = ProbeReading::values;
  if (const auto told = folder.config.find("id2label");
      told != folder.config.end() && !told->is_null())
    d.probe.names = class_names(*told, d.probe.outputs, folder.config_name() + ": id2label");
  check_probe_sizes(d, tensors, folder);
  auto probe = std::make_shared<AttentiveProbe>(d.options.encoder.width, d.probe, std::nullopt);
  fill(*probe, tensors.probe, tensors, folder.tensors_name(), placement);
  return probe;
}

void write_hf_vjepa2(const std::filesystem::path& folder, const VJepa2& model,
                     const AttentiveProbe* probe) {
  const auto& e = model.options().encoder;
  const auto& p = model.options().predictor;
  require(!e.is_picture(), ErrorCategory::unsupported,
          "write_hf_vjepa2: transformers' VJEPA2Model has no encoder of single pictures");
  require_layout(model.options(), VJepa2Layout::transformers);
  require(probe == nullptr || probe->width() == e.width, ErrorCategory::invalid_argument,
          "write_hf_vjepa2: a probe of tokens of width " +
              std::to_string(probe == nullptr ? 0 : probe->width()) +
              " behind an encoder of width " + std::to_string(e.width));
  Ordered config = {{"architectures", {"VJEPA2Model"}},
                    {"model_type", "vjepa2"},
                    {"crop_size", e.image_height},
                    {"frames_per_clip", e.frames},
                    {"hidden_act", "gelu"},
                    {"hidden_size", e.width},
                    {"in_chans", e.channels},
                    {"layer_norm_eps", e.norm_epsilon},
                    {"mlp_ratio", ratio(e.mlp_width, e.width)},
                    {"num_attention_heads", e.heads},
                    {"num_hidden_layers", e.depth},
                    {"patch_size", e.patch},
                    {"pred_hidden_size", p.width},
                    {"pred_mlp_ratio", ratio(p.mlp_width, p.width)},
                    {"pred_num_attention_heads", p.heads},
                    {"pred_num_hidden_layers", p.depth},
                    {"pred_num_mask_tokens", p.mask_tokens},
                    {"qkv_bias", e.qkv_bias},
                    {"tubelet_size", e.tubelet}};
  if (probe != nullptr) describe_classifier(config, *probe);
  const auto own = nn::state_dict(model);
  constexpr auto kLayout = VJepa2Layout::transformers;
  io::write_hf_folder(folder, config,
                      probe == nullptr ? published_vjepa2(model.options(), own, kLayout)
                                       : published_vjepa2(model.options(), own, probe->options(),
                                                          nn::state_dict(*probe), kLayout));
}

}  // namespace foresight::models
