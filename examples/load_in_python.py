# SPDX-License-Identifier: Apache-2.0
"""Weights that `foresight export` wrote, in Python.

    foresight export my_bundle --out weights.safetensors
    python examples/load_in_python.py weights.safetensors [the checkpoint that was imported]

Builds the class that the names belong to (transformers, stable-worldmodel) in the sizes that the shapes tell and loads
every tensor strictly. Numbers of attention heads, which no shape tells, are those of heads 64 wide: give the model's own
before you compute with it. Given the original checkpoint as well, compares every tensor bit by bit.
"""
import sys

import torch
from safetensors.torch import load_file


def part(tensors, name):
    return {key.removeprefix(name + "."): tensor for key, tensor in tensors.items() if key.startswith(name + ".")}


def depth(tensors, layers):
    return len({key.removeprefix(layers).split(".")[0] for key in tensors if key.startswith(layers)})


def ending(tensors, *endings):
    """The first tensor whose name ends so: the same layer in older and newer layouts."""
    return next(tensor for end in endings for key, tensor in tensors.items() if key.endswith(end))


def heads(width):
    return width // 64 if width % 64 == 0 else 1


def gated_ratio(width, hidden):
    """DINOv2's mlp_ratio for a gated MLP: two thirds of the width that it names, the next multiple of eight."""
    return next(ratio for ratio in range(1, 100) if (int(width * ratio * 2 / 3) + 7) // 8 * 8 == hidden)


def image_config(tensors, config_class):
    width, channels, patch, _ = tensors["embeddings.patch_embeddings.projection.weight"].shape
    own = {"qkv_bias": any(key.endswith(("0.attention.attention.query.bias", "0.attention.q_proj.bias",
                                         "0.attention.attention.q_proj.bias")) for key in tensors)}
    if "Dinov2" not in config_class.__name__:
        own["intermediate_size"] = ending(tensors, "intermediate.dense.weight", "mlp.fc1.weight").shape[0]
    elif any(key.endswith(("mlp.weights_out.weight", "mlp.down_proj.weight")) for key in tensors):
        hidden = ending(tensors, "mlp.weights_out.weight", "mlp.down_proj.weight").shape[1]
        own |= {"use_swiglu_ffn": True, "mlp_ratio": gated_ratio(width, hidden)}
    else:
        own["mlp_ratio"] = ending(tensors, "0.mlp.fc1.weight").shape[0] // width
    places = tensors["embeddings.position_embeddings"].shape[1] - ("embeddings.cls_token" in tensors)
    if "embeddings.register_tokens" in tensors:
        own["num_register_tokens"] = tensors["embeddings.register_tokens"].shape[1]
    return config_class(hidden_size=width, num_channels=channels, patch_size=patch, num_attention_heads=heads(width),
                        image_size=patch * round(places**0.5),
                        num_hidden_layers=max(depth(tensors, "encoder.layer."), depth(tensors, "layers.")), **own)


def image_encoder(tensors):
    """The class, its configuration and its constructor's other arguments."""
    import transformers as t
    if any("layer_scale1" in key for key in tensors):
        registers = "embeddings.register_tokens" in tensors
        kind, config = (t.Dinov2WithRegistersModel, t.Dinov2WithRegistersConfig) if registers else \
            (t.Dinov2Model, t.Dinov2Config)
        return kind, image_config(tensors, config), {}
    kind, config = (t.ViTModel, t.ViTConfig) if "embeddings.cls_token" in tensors else (t.IJepaModel, t.IJepaConfig)
    return kind, image_config(tensors, config), {"add_pooling_layer": "pooler.dense.weight" in tensors,
                                                 "use_mask_token": "embeddings.mask_token" in tensors}


def vjepa2(tensors):
    from transformers import VJEPA2Config, VJEPA2ForVideoClassification, VJEPA2Model
    classifier = {"num_labels": tensors["classifier.weight"].shape[0],
                  "num_pooler_layers": depth(tensors, "pooler.self_attention_layers.")} \
        if "classifier.weight" in tensors else {}
    kind = VJEPA2ForVideoClassification if classifier else VJEPA2Model
    tensors = part(tensors, "vjepa2") or tensors
    width, channels, tubelet, patch, _ = tensors["encoder.embeddings.patch_embeddings.proj.weight"].shape
    inside = tensors["predictor.embeddings.predictor_embeddings.weight"].shape[0]
    return kind, VJEPA2Config(
        hidden_size=width, in_chans=channels, tubelet_size=tubelet, patch_size=patch, num_attention_heads=heads(width),
        num_hidden_layers=depth(tensors, "encoder.layer."),
        mlp_ratio=tensors["encoder.layer.0.mlp.fc1.weight"].shape[0] / width + 1e-9,
        pred_hidden_size=inside, pred_num_attention_heads=heads(inside),
        pred_num_hidden_layers=depth(tensors, "predictor.layer."),
        pred_mlp_ratio=tensors["predictor.layer.0.mlp.fc1.weight"].shape[0] / inside + 1e-9,
        pred_num_mask_tokens=tensors["predictor.embeddings.mask_tokens"].shape[0], **classifier), {}


def lewm(tensors):
    from stable_worldmodel.wm.lewm import LeWM, module
    encoder, predictor = part(tensors, "encoder"), part(tensors, "predictor")
    block = "transformer.layers.0."
    actions = tensors["action_encoder.patch_embed.weight"]
    emb = tensors["action_encoder.embed.2.weight"].shape[0]

    def projection(name):
        hidden, width = tensors[name + ".net.0.weight"].shape
        return module.MLP(width, hidden, tensors[name + ".net.3.weight"].shape[0], norm_fn=torch.nn.BatchNorm1d)

    _, frames, width = predictor["pos_embedding"].shape
    hidden = predictor["transformer.norm.weight"].shape[0]
    inner = predictor[block + "attn.to_qkv.weight"].shape[0] // 3
    output = predictor.get("transformer.output_proj.weight", predictor["transformer.norm.weight"]).shape[0]
    kind, config, arguments = image_encoder(encoder)
    return LeWM(kind(config, **arguments),
                module.Predictor(num_frames=frames, depth=depth(predictor, "transformer.layers."), heads=1,
                                 dim_head=inner, mlp_dim=predictor[block + "mlp.net.1.weight"].shape[0],
                                 input_dim=width, hidden_dim=hidden, output_dim=output),
                module.Embedder(actions.shape[1], actions.shape[0], emb,
                                tensors["action_encoder.embed.0.weight"].shape[0] // emb),
                projection("projector"), projection("pred_proj"))


def prejepa(tensors):
    """All but the frozen backbone, which is another file's."""
    from stable_worldmodel.wm.prejepa import module
    predictor, block = part(tensors, "predictor"), "transformer.layers.0."
    mask = predictor[block + "0.bias"][0, 0]
    patches = int((mask[0] == 1).sum())
    inner, width = predictor[block + "0.to_qkv.weight"].shape
    return torch.nn.ModuleDict({
        "predictor": module.CausalPredictor(
            num_patches=patches, num_frames=len(mask) // patches, dim=width, heads=1, dim_head=inner // 3,
            depth=depth(predictor, "transformer.layers."), mlp_dim=predictor[block + "1.net.1.weight"].shape[0]),
        "extra_encoders": torch.nn.ModuleDict({
            key.split(".")[1]: module.Embedder(in_chans=tensor.shape[1], emb_dim=tensor.shape[0])
            for key, tensor in tensors.items() if key.startswith("extra_encoders.") and key.endswith(".weight")})})


def load_strictly(tensors):
    """The model that the names belong to, with these weights; nothing missing, nothing left over."""
    if "embeddings.patch_embeddings.projection.weight" in tensors:
        kind, config, arguments = image_encoder(tensors)
    elif any(key.endswith("encoder.embeddings.patch_embeddings.proj.weight") for key in tensors):
        kind, config, arguments = vjepa2(tensors)
    else:
        build = lewm if "pred_proj.net.0.weight" in tensors else \
            prejepa if "extra_encoders.action.patch_embed.weight" in tensors else None
        if build is None:
            return None  # DINO-WM, EB-JEPA, V-JEPA 2's own code: not packages; their load_state_dict() does the same
        model = build(tensors)
        model.load_state_dict(tensors, strict=True)
        return model
    # transformers 5 names layers otherwise in memory than in files; from_pretrained() knows both.
    model, report = kind.from_pretrained(None, config=config, state_dict=tensors, output_loading_info=True,
                                         **arguments)
    if any(report.values()):
        sys.exit(f"not loaded strictly: {report}")
    return model


def checkpoint(path):
    """The model's tensors of either kind of file, without the prefixes of training wrappers and classifiers."""
    tensors = load_file(path) if path.endswith(".safetensors") else torch.load(path, "cpu", weights_only=True)
    tensors = tensors.get("state_dict", tensors)
    for prefix in ("module.", "model.", "vit.", "ijepa.", "dinov2.", "dinov2_with_registers."):
        tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return tensors


def same_bits(a, b):
    a, b = a.contiguous().flatten(), b.contiguous().flatten()
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def main():
    exported = load_file(sys.argv[1])
    print(f"{sys.argv[1]}: {len(exported)} tensors, {sum(t.numel() for t in exported.values())} numbers")
    try:
        model = load_strictly(exported)
        print(f"loaded strictly by {type(model).__name__}" if model is not None else
              "no class of a Python package has these names")
    except ImportError as error:
        print(f"not loaded: {error}")
    except RuntimeError as error:
        sys.exit(f"{error}\nnot loaded strictly; names of another version of transformers? (export --layout)")

    if len(sys.argv) > 2:
        original = checkpoint(sys.argv[2])
        wrong = [key for key in exported if key not in original or not same_bits(exported[key], original[key])]
        if wrong:
            sys.exit(f"missing from {sys.argv[2]} or different there: {wrong}")
        print(f"every tensor equals that of {sys.argv[2]} bit by bit")


if __name__ == "__main__":
    main()
