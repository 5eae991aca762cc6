# SPDX-License-Identifier: Apache-2.0
"""The Python side of benchmark_lewm_cem: stable-worldmodel's CEM on the same LeWM, with the same draws.

Started by the benchmark, which takes turns with it. Needs, from PyPI, stable-worldmodel==0.1.1 (with --no-deps: only its
model and its solver are used, none of the simulators), torch, transformers, einops, gymnasium, loguru, safetensors.
Reads one JSON object a line and answers each with one:

  {"do": "load", "weights": "<safetensors>", "inputs": "<safetensors: noise, pixels, goal>", "elites": 30,
   "device": "cpu", "threads": 1}
  {"do": "solve", "dtype": "float32"}   milliseconds, processor time, plan, mean cost of the last elites, all costs
  {"do": "encode", "dtype": "float32"}, {"do": "rollout", "dtype": "float32"}   milliseconds of one picture, and of the
   first iteration's candidates from an embedding that is kept
"""
import contextlib
import importlib.util
import io
import json
import os
import sys
import types
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("LOGURU_LEVEL", "WARNING")

import torch
import transformers
from peer_device import device_of, timed
from safetensors.torch import load_file
from transformers import ViTConfig, ViTModel

# The package's own __init__ files register simulators that planning does not need.
root = Path(importlib.util.find_spec("stable_worldmodel").origin).parent
for name in ("", ".wm"):
    package = types.ModuleType("stable_worldmodel" + name)
    package.__path__ = [str(root.joinpath(*name.split(".")))]
    sys.modules[package.__name__] = package

from stable_worldmodel.solver.cem import CEMSolver  # noqa: E402
from stable_worldmodel.wm.lewm.lewm import LeWM  # noqa: E402
from stable_worldmodel.wm.lewm.module import MLP, Embedder, Predictor  # noqa: E402

WIDTH = 192


def newer_key(key):
    """The name that transformers 5 gives a tensor of its ViT."""
    for old, new in (("encoder.encoder.layer.", "encoder.layers."), ("attention.attention.query", "attention.q_proj"),
                     ("attention.attention.key", "attention.k_proj"), ("attention.attention.value", "attention.v_proj"),
                     ("attention.output.dense", "attention.o_proj"), ("intermediate.dense", "mlp.fc1")):
        key = key.replace(old, new)
    return key.replace("output.dense", "mlp.fc2") if key.startswith("encoder.layers.") else key


def build(weights):
    """LeWM as published, from its state dict."""
    vit = ViTModel(ViTConfig(hidden_size=WIDTH, num_hidden_layers=12, num_attention_heads=3, intermediate_size=4 * WIDTH,
                             image_size=224, patch_size=14), add_pooling_layer=False, use_mask_token=False)
    head = lambda: MLP(WIDTH, 2048, WIDTH, norm_fn=torch.nn.BatchNorm1d)
    model = LeWM(
        encoder=vit,
        predictor=Predictor(num_frames=3, input_dim=WIDTH, hidden_dim=WIDTH, output_dim=WIDTH, depth=6, heads=16,
                            dim_head=64, mlp_dim=2048, dropout=0.1, emb_dropout=0.0),
        action_encoder=Embedder(input_dim=weights["action_encoder.patch_embed.weight"].shape[1], smoothed_dim=10,
                                emb_dim=WIDTH, mlp_scale=4),
        projector=head(), pred_proj=head())
    if "encoder.layers.0.attention.q_proj.weight" in model.state_dict():
        weights = {newer_key(key): tensor for key, tensor in weights.items()}
    model.load_state_dict(weights, strict=True)
    return model.eval().requires_grad_(False)


class Planning:
    def __init__(self, request):
        torch.set_num_threads(request["threads"])
        self.device = device_of(request)
        self.weights = load_file(request["weights"])
        self.inputs = load_file(request["inputs"], device=str(self.device))  # noise [I,1,S,H,A], pixels and goal [1,1,3,224,224]
        self.elites = request["elites"]
        self.models = {}

    def model(self, dtype):
        if dtype not in self.models:
            self.models[dtype] = build(self.weights).to(self.device, getattr(torch, dtype))
        return self.models[dtype]

    @contextlib.contextmanager
    def injected(self, dtype):
        """torch.randn hands out the given draws in order."""
        draws = [draw.to(dtype) for draw in self.inputs["noise"]]
        own = torch.randn
        torch.randn = lambda *size, **kw: draws.pop(0).clone() if size == tuple(draws[0].shape) else own(*size, **kw)
        try:
            yield
        finally:
            torch.randn = own

    def solve(self, dtype):
        """bfloat16 is autocast, as its users have it: weights, candidates and costs stay float32."""
        model = self.model("float32")
        narrow = torch.autocast(self.device.type, torch.bfloat16, enabled=dtype == "bfloat16")
        iterations, _, samples, horizon, width = self.inputs["noise"].shape
        costs, cost = [], model.get_cost

        def kept(info, candidates):
            costs.append(cost(info, candidates))
            return costs[-1]

        target = types.SimpleNamespace(get_cost=kept, parameters=model.parameters)
        solver = CEMSolver(target, batch_size=1, num_samples=samples, n_steps=iterations, topk=self.elites,
                           device=self.device)
        solver.configure(action_space=types.SimpleNamespace(shape=(1, width)), n_envs=1,
                         config=types.SimpleNamespace(horizon=horizon, action_block=1))
        info = {"pixels": self.inputs["pixels"].clone(), "goal": self.inputs["goal"].clone(),
                "action": torch.zeros(1, 1, width, device=self.device)}
        with self.injected(torch.float32), narrow, contextlib.redirect_stdout(io.StringIO()):
            result, times = timed(lambda: solver.solve(info), self.device)
        return {**times, "plan": result["actions"].float().flatten().tolist(), "elite_cost": result["costs"][0],
                "costs": [c[0].float().tolist() for c in costs]}

    @torch.no_grad()
    def encode(self, dtype):
        model, info = self.model(dtype), {"pixels": self.inputs["pixels"].to(getattr(torch, dtype))}
        return timed(lambda: model.encode(info), self.device)[1]

    @torch.no_grad()
    def rollout(self, dtype):
        model, type_ = self.model(dtype), getattr(torch, dtype)
        candidates = self.inputs["noise"][0].to(type_)  # [1,S,H,A]
        pixels = self.inputs["pixels"].to(type_)
        samples = candidates.shape[1]
        embedding = model.encode({"pixels": pixels})["emb"]
        info = {"pixels": pixels.unsqueeze(1).expand(-1, samples, -1, -1, -1, -1),
                "emb": embedding.unsqueeze(1).expand(-1, samples, -1, -1)}
        return timed(lambda: model.rollout(info, candidates), self.device)[1]


def main():
    print(json.dumps({"stable_worldmodel": version("stable-worldmodel"), "torch": torch.__version__,
                      "transformers": transformers.__version__, "python": sys.version.split()[0]}), flush=True)
    planning = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "load":
            planning = Planning(request)
            print(json.dumps({"loaded": len(planning.weights)}), flush=True)
        else:
            print(json.dumps(getattr(planning, request["do"])(request["dtype"])), flush=True)


if __name__ == "__main__":
    main()
