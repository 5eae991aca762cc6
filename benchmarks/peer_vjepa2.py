# SPDX-License-Identifier: Apache-2.0
"""The Python side of benchmark_vjepa2_encoder and benchmark_vjepa2_rollout.

The encoder is transformers' own VJEPA2Model (SDPA), read from a folder that the benchmark writes.

The action-conditioned predictor is NOT upstream's code, which is not on PyPI: a restatement, in PyTorch, of how
facebookresearch/vjepa2 (commit c2963a4) imagines, operation by operation where that costs time: every step runs the whole
sequence of every candidate through the predictor, under a boolean mask built beforehand for the longest sequence;
queries and keys of action and state tokens are projected and rotated apart from those of the patches; the last frame's
tokens are normalised and appended. Poses are given, so that its pose integration in NumPy costs it nothing here.

Started by the benchmarks, which take turns with it. Needs torch, safetensors and (for the encoder) transformers. Reads one
JSON object a line and answers each with one:

  {"do": "load_encoder", "folder": "<Hugging Face folder>", "inputs": "<safetensors: clip>", "device": "cpu",
   "threads": 1}
  {"do": "load_predictor", "weights": "<safetensors>", "inputs": "<safetensors: latent, actions, poses>", "heads": 16,
   "device": "cpu", "threads": 1}
  {"do": "encode", "result": "<safetensors>"}, {"do": "imagine", "result": ...}   milliseconds and processor time; the
   tokens go into the file
"""
import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peer_device import device_of, timed
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F


def rotated(x, positions):
    """x [B,heads,n,d] by positions [n], in the tiled form of the released weights."""
    half = x.shape[-1] // 2
    omega = torch.arange(half, dtype=x.dtype, device=x.device) / half
    angle = positions.unsqueeze(-1) * (1.0 / 10000**omega)
    sine, cosine = angle.sin().repeat(1, 1, 1, 2), angle.cos().repeat(1, 1, 1, 2)
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * cosine + torch.stack((-odd, even), -1).flatten(-2) * sine


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.axis = 2 * (width // heads // 3 // 2)

    def split(self, x):
        return self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def by_axes(self, x, positions):
        """The first axes of the head, one for each of the positions; the rest stays."""
        parts = [rotated(x[..., i * self.axis:(i + 1) * self.axis], p) for i, p in enumerate(positions)]
        return torch.cat([*parts, x[..., len(positions) * self.axis:]], -1)

    def forward(self, x, mask, frames, side, conditions):
        batch, _, width = x.shape
        ids = torch.arange(frames * side * side, device=x.device)
        frame, row, column = ids // side**2, ids % side**2 // side, ids % side
        x = x.view(batch, frames, conditions + side * side, width)
        extra = []
        for i in range(conditions):
            q, k, v = self.split(x[:, :, i:i + 1].flatten(1, 2))
            time_only = (1.0 * torch.arange(frames, device=x.device),)
            extra.append([t.unflatten(2, (frames, 1)) for t in (self.by_axes(q, time_only), self.by_axes(k, time_only), v)])
        q, k, v = self.split(x[:, :, conditions:].flatten(1, 2))
        positions = (1.0 * frame, 1.0 * row, 1.0 * column)
        own = [self.by_axes(q, positions), self.by_axes(k, positions), v]
        q, k, v = (torch.cat([*[e[j] for e in extra], own[j].unflatten(2, (frames, -1))], 3).flatten(2, 3)
                   for j in range(3))
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(x.transpose(1, 2).reshape(batch, -1, width))


class Block(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x, *how):
        x = x + self.attn(self.norm1(x), *how)
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Predictor(nn.Module):
    CONDITIONS = 2  # action and state

    def __init__(self, weights, heads):
        super().__init__()
        width, tokens = weights["predictor_embed.weight"].shape
        hidden = weights["predictor_blocks.0.mlp.fc1.weight"].shape[0]
        depth = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("predictor_blocks."))
        self.predictor_embed, self.predictor_proj = nn.Linear(tokens, width), nn.Linear(width, tokens)
        self.action_encoder, self.state_encoder = nn.Linear(7, width), nn.Linear(7, width)
        self.extrinsics_encoder = nn.Linear(6, width)  # stored, unused
        self.predictor_blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        self.predictor_norm = nn.LayerNorm(width, eps=1e-6)
        self.load_state_dict(weights, strict=True)

    def forward(self, tokens, actions, poses, mask):
        """tokens [B,T*P,D], actions and poses [B,T,7] -> the next frame of each step [B,T*P,D]."""
        batch, frames, _ = actions.shape
        patches = tokens.shape[1] // frames
        x = self.predictor_embed(tokens).unflatten(1, (frames, patches))
        x = torch.cat([self.action_encoder(actions).unsqueeze(2), self.state_encoder(poses).unsqueeze(2), x], 2).flatten(1, 2)
        mask = mask[:x.shape[1], :x.shape[1]]
        for block in self.predictor_blocks:
            x = block(x, mask, frames, round(patches**0.5), self.CONDITIONS)
        x = x.unflatten(1, (frames, -1))[:, :, self.CONDITIONS:].flatten(1, 2)
        return self.predictor_proj(self.predictor_norm(x))


class Imagination:
    def __init__(self, request):
        self.device = device_of(request)
        inputs = load_file(request["inputs"], device=str(self.device))
        self.latent, self.actions, self.poses = inputs["latent"], inputs["actions"], inputs["poses"]  # [1,P,D], [S,H,7]
        self.predictor = Predictor(load_file(request["weights"]), request["heads"]).eval().to(self.device)
        frame = torch.arange(self.actions.shape[1], device=self.device).repeat_interleave(self.latent.shape[1] + Predictor.CONDITIONS)
        self.mask = frame.unsqueeze(1) >= frame.unsqueeze(0)

    def __call__(self):
        count = self.latent.shape[1]
        tokens = self.latent.repeat(self.actions.shape[0], 1, 1)
        for h in range(self.actions.shape[1]):
            following = self.predictor(tokens, self.actions[:, :h + 1], self.poses[:, :h + 1], self.mask)[:, -count:]
            tokens = torch.cat([tokens, F.layer_norm(following, following.shape[-1:])], 1)
        return tokens[:, count:].unflatten(1, (-1, count)).contiguous()


class Encoding:
    def __init__(self, request):
        from transformers import VJEPA2Model

        self.device = device_of(request)
        self.model = VJEPA2Model.from_pretrained(request["folder"], dtype=torch.float32, attn_implementation="sdpa").eval()
        self.model.to(self.device)
        self.clip = load_file(request["inputs"], device=str(self.device))["clip"]  # [B,T,3,h,w]

    def __call__(self):
        return self.model(pixel_values_videos=self.clip, skip_predictor=True).last_hidden_state


def answer_of(work, result):
    with torch.no_grad():
        tokens, times = timed(work, work.device)
    save_file({"tokens": tokens.contiguous().cpu()}, result)
    return times


def main():
    print(json.dumps({"torch": torch.__version__, "python": sys.version.split()[0]}), flush=True)
    works = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"].startswith("load"):
            torch.set_num_threads(request["threads"])
            works["encode" if request["do"] == "load_encoder" else "imagine"] = (
                Encoding(request) if request["do"] == "load_encoder" else Imagination(request))
            answer = {"loaded": True}
            if request["do"] == "load_encoder":
                import transformers
                answer["transformers"] = transformers.__version__
        else:
            answer = answer_of(works[request["do"]], request["result"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
