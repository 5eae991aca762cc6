# SPDX-License-Identifier: Apache-2.0
"""The Python side of benchmark_mppi_pendulum: pytorch_mppi on the same pendulum.

Started by the benchmark, which takes turns with it. Needs torch, and pytorch-mppi 0.9.1 from PyPI.
Reads one JSON object a line and answers each with one:

  {"do": "time", "samples": K, "horizon": T, "dtype": "float32"}   milliseconds of one command
  {"do": "plan", ..., "draws": "<file of K*T float32>", "lambda": 100.0}   the plan U that those draws give
"""
import json
import math
import sys
import time
from importlib.metadata import version

import torch
from pytorch_mppi import MPPI

STATE = (math.pi, 1.0)


def dynamics(x, u):
    angle, speed = x[:, 0:1], x[:, 1:2]
    u = torch.clamp(u, -2, 2)
    speed = speed + (-15.0 * torch.sin(angle + math.pi) + 3.0 * u) * 0.05
    return torch.cat([angle + speed * 0.05, torch.clamp(speed, -8, 8)], 1)


def cost(x, u):
    angle = ((x[:, 0] + math.pi) % (2 * math.pi)) - math.pi
    return angle**2 + 0.1 * x[:, 1] ** 2


controllers = {}


def controller(samples, horizon, dtype):
    key = (samples, horizon, dtype)
    if key not in controllers:
        t = getattr(torch, dtype)
        controllers[key] = MPPI(
            dynamics, cost, 2, torch.tensor([[10.0]], dtype=t), num_samples=samples,
            horizon=horizon, lambda_=1.0, u_min=torch.tensor([-2.0], dtype=t),
            u_max=torch.tensor([2.0], dtype=t))
    return controllers[key], torch.tensor(STATE, dtype=getattr(torch, dtype))


def answer(request):
    mppi, state = controller(request["samples"], request["horizon"], request["dtype"])
    if request["do"] == "time":
        mppi.reset()
        start = time.perf_counter()
        mppi.command(state)
        return {"ms": 1e3 * (time.perf_counter() - start)}
    z = torch.frombuffer(bytearray(open(request["draws"], "rb").read()), dtype=torch.float32)
    z = z.to(mppi.dtype).reshape(request["samples"], request["horizon"], 1)
    own, mppi._sample_noise = mppi._sample_noise, lambda shape: z * mppi._noise_sigma_sqrt_diag
    mppi.lambda_ = request["lambda"]
    mppi.U = torch.zeros(request["horizon"], 1, dtype=mppi.dtype)
    mppi.command(state)
    mppi._sample_noise, mppi.lambda_ = own, 1.0
    return {"plan": mppi.U.flatten().tolist()}


def main():
    torch.set_num_threads(1)
    print(json.dumps({"pytorch_mppi": version("pytorch-mppi"), "torch": torch.__version__,
                      "python": sys.version.split()[0]}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
