# SPDX-License-Identifier: Apache-2.0
"""Weights that `foresight export` wrote, in Python.

    foresight export my_bundle --out weights.safetensors
    python examples/load_in_python.py weights.safetensors [the checkpoint that was imported]

With stable-worldmodel installed, all there is to do is LeWM(...).load_state_dict(load_file(path), strict=True). This
script needs only torch and safetensors, so it builds one part of the network itself, the projection head behind the
encoder, loads it strictly and runs it. Given the original checkpoint as well, it compares every tensor bit by bit.
"""
import sys

import torch
from safetensors.torch import load_file


class Projector(torch.nn.Module):
    """Linear, BatchNorm, GELU, Linear, as in LeWM (arXiv 2603.19312)."""

    def __init__(self, width, hidden, latent):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(width, hidden), torch.nn.BatchNorm1d(hidden), torch.nn.GELU(),
                                       torch.nn.Linear(hidden, latent))

    def forward(self, features):
        return self.net(features)


def part(tensors, name):
    return {key.removeprefix(name + "."): tensor for key, tensor in tensors.items() if key.startswith(name + ".")}


def checkpoint(path):
    """The model's tensors of either kind of file, without the prefixes of training wrappers."""
    tensors = load_file(path) if path.endswith(".safetensors") else torch.load(path, "cpu", weights_only=True)
    tensors = tensors.get("state_dict", tensors)
    return {key.removeprefix("module.").removeprefix("model."): tensor for key, tensor in tensors.items()}


def same_bits(a, b):
    a, b = a.contiguous().flatten(), b.contiguous().flatten()
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def main():
    exported = load_file(sys.argv[1])
    print(f"{sys.argv[1]}: {len(exported)} tensors, {sum(t.numel() for t in exported.values())} numbers")

    weights = part(exported, "projector")
    hidden, width = weights["net.0.weight"].shape
    projector = Projector(width, hidden, weights["net.3.weight"].shape[0]).eval()
    projector.load_state_dict(weights, strict=True)
    with torch.no_grad():
        print("projector loaded strictly; latents of two features:", projector(torch.eye(2, width))[:, :4].tolist())

    if len(sys.argv) > 2:
        original = checkpoint(sys.argv[2])
        wrong = [key for key in exported if key not in original or not same_bits(exported[key], original[key])]
        if wrong:
            sys.exit(f"missing from {sys.argv[2]} or different there: {wrong}")
        print(f"every tensor equals that of {sys.argv[2]} bit by bit")


if __name__ == "__main__":
    main()
