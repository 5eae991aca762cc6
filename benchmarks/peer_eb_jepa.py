# SPDX-License-Identifier: Apache-2.0
"""The Python side of benchmark_eb_jepa_plan: one plan with EB-JEPA the way facebookresearch/eb_jepa makes it.

NOT upstream's code, which is not on PyPI: a restatement, in PyTorch, of the procedure that its planner follows
(commit 966e61e), operation by operation where that costs time:
  - every call of the cost function repeats the observed picture once per candidate and encodes all of the copies;
  - the unroll is a loop over the steps: the last latent and one action through nn.GRU and the encoder's own final layer
    norm, and torch.cat of all latents so far [S,D,t,1,1] with the new one;
  - the cost is the element-wise squared difference to the goal [S,D,1+H,1,1], its mean over D, the sum over 1+H states;
  - MPPI: 200 candidates, 20 elites, 20 iterations, weights exp(0.005 (least cost - cost)) over the elites, weighted mean
    and std, one elite of the last iteration drawn by weight.
No gradients, float32, no compilation. Drawing random numbers is left out: they are given.

Started by the benchmark, which takes turns with it. Needs torch and safetensors. Reads one JSON object a line and answers
each with one:

  {"do": "load", "weights": "<safetensors>", "inputs": "<safetensors: noise, choice, image, goal>", "elites": 20,
   "temperature": 0.005, "std": 2.0, "device": "cpu", "threads": 1}
  {"do": "solve", "iterations": 20}   milliseconds, processor time, plan, mean cost of the last elites, all costs
"""
import json
import sys

import torch
from peer_device import device_of, timed
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return F.relu(self.conv2(F.relu(self.conv1(x))) + x)


class Stack(nn.Module):
    def __init__(self, into, out, blocks):
        super().__init__()
        self.initial_conv = nn.Conv2d(into, out, 3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Residual(out) for _ in range(blocks))

    def forward(self, x):
        x = self.pool(self.initial_conv(x))
        for block in self.blocks:
            x = block(x)
        return x


class Encoder(nn.Module):
    """Clips [B,C,T,S,S] to latents [B,D,T,1,1], frame by frame."""

    def __init__(self, features, width, channels=(16, 32, 32), blocks=2, planes=2):
        super().__init__()
        into = (planes, *channels[:-1])
        self.stack_blocks = nn.ModuleList(Stack(i, o, blocks) for i, o in zip(into, channels))
        self.mlp = nn.Linear(features, width)
        self.final_ln = nn.LayerNorm(width)

    def forward(self, clips):
        latents = []
        for x in clips.unbind(2):
            for stack in self.stack_blocks:
                x = stack(x)
            latents.append(self.final_ln(self.mlp(F.relu(x).flatten(1))))
        return torch.stack(latents, 2)[..., None, None]


class Predictor(nn.Module):
    """One step: latent [B,D,1,1,1] and action [B,A,1] to the next latent [B,D,1,1,1]."""

    def __init__(self, width, actions, norm):
        super().__init__()
        self.rnn = nn.GRU(actions, width)
        self.final_ln = norm

    def forward(self, latent, action):
        hidden = latent.flatten(1).unsqueeze(0).contiguous()
        hidden = self.rnn(action.squeeze(-1).unsqueeze(0).contiguous(), hidden)[1]
        return self.final_ln(hidden[0])[..., None, None, None]


class Planning:
    def __init__(self, request):
        torch.set_num_threads(request["threads"])
        self.device = device_of(request)
        weights = load_file(request["weights"])
        width, features = weights["encoder.mlp.weight"].shape
        self.encoder = Encoder(features, width).eval()
        self.predictor = Predictor(width, weights["predictor.rnn.weight_ih_l0"].shape[1], self.encoder.final_ln).eval()
        part = lambda name: {key[len(name) + 1:]: tensor for key, tensor in weights.items() if key.startswith(name + ".")}
        self.encoder.load_state_dict(part("encoder"), strict=True)
        self.predictor.load_state_dict(part("predictor"), strict=True)
        self.encoder.to(self.device)
        self.predictor.to(self.device)
        inputs = load_file(request["inputs"], device=str(self.device))
        self.noise, self.choice = inputs["noise"], inputs["choice"].item()  # [I,S,H,A]
        self.image = inputs["image"].unsqueeze(2)  # [1,C,1,S,S]
        self.options = request
        with torch.no_grad():
            self.goal = self.encoder(inputs["goal"].unsqueeze(2))  # once for an episode, before the first plan

    def unroll(self, actions):
        """Actions [S,A,H] to latents [S,D,1+H,1,1], the observed one first."""
        latents = self.encoder(self.image.repeat(actions.shape[0], 1, 1, 1, 1))
        for t in range(actions.shape[2]):
            following = self.predictor(latents[:, :, -1:], actions[:, :, t:t + 1])
            latents = torch.cat([latents, following], dim=2)
        return latents

    def cost(self, actions):
        latents = self.unroll(actions)
        goal = self.goal.expand(latents.shape[0], -1, latents.shape[2], -1, -1)
        return F.mse_loss(goal, latents, reduction="none").mean(dim=(1, 3, 4)).sum(dim=1)

    @torch.no_grad()
    def plan(self, iterations):
        noise = self.noise.permute(0, 2, 1, 3).contiguous()  # [I,H,S,A]: time comes first upstream
        mean = noise.new_zeros(noise.shape[1], noise.shape[3])
        std = self.options["std"] * torch.ones_like(mean)
        costs = []
        for draw in noise[:iterations]:
            candidates = mean.unsqueeze(1) + std.unsqueeze(1) * draw  # [H,S,A]
            cost = self.cost(candidates.permute(1, 2, 0))
            costs.append(cost)
            index = torch.topk(-cost, self.options["elites"]).indices
            elites, elite_cost = candidates[:, index], cost[index]
            score = torch.exp(self.options["temperature"] * (cost.min() - elite_cost))
            score /= score.sum()
            weight = score[None, :, None]
            mean = (weight * elites).sum(1) / (score.sum() + 1e-9)
            std = torch.sqrt((weight * (elites - mean.unsqueeze(1)) ** 2).sum(1) / (score.sum() + 1e-9))
        drawn = min(int((score.cumsum(0) <= self.choice).sum()), len(score) - 1)
        return elites[:, drawn], elite_cost.mean().item(), costs

    def solve(self, iterations):
        (plan, elite_cost, costs), times = timed(lambda: self.plan(iterations), self.device)
        return {**times, "plan": plan.flatten().tolist(), "elite_cost": elite_cost,
                "costs": [cost.tolist() for cost in costs]}


def main():
    print(json.dumps({"procedure": "facebookresearch/eb_jepa 966e61e, restated", "torch": torch.__version__,
                      "python": sys.version.split()[0]}), flush=True)
    planning = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "load":
            planning = Planning(request)
            print(json.dumps({"loaded": True}), flush=True)
        else:
            print(json.dumps(planning.solve(request["iterations"])), flush=True)


if __name__ == "__main__":
    main()
