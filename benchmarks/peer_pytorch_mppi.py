# SPDX-License-Identifier: Apache-2.0
"""The Python side of benchmark_mppi_command: pytorch_mppi on the same systems.

Started by the benchmark, which takes turns with it. Needs torch, and pytorch-mppi 0.9.1 from PyPI.
Reads one JSON object a line and answers each with one:

  {"do": "time", "system": "pendulum", "method": "mppi", "samples": K, "horizon": T,
   "dtype": "float32"}
      milliseconds of one command
  {"do": "plan", ..., "draws": "<file of K*T*nu float32; kmppi: K*knots*nu>", "lambda": 100.0}
      the plan that those draws give
"""
import json
import math
import sys
import time
from importlib.metadata import version

import torch
from pytorch_mppi import KMPPI, MPPI, SMPPI
from pytorch_mppi.mppi import RBFKernel



def pendulum(dtype):
    def dynamics(x, u):
        angle, speed = x[:, 0:1], x[:, 1:2]
        u = torch.clamp(u, -2, 2)
        speed = speed + (-15.0 * torch.sin(angle + math.pi) + 3.0 * u) * 0.05
        return torch.cat([angle + speed * 0.05, torch.clamp(speed, -8, 8)], 1)

    def cost(x, u):
        angle = ((x[:, 0] + math.pi) % (2 * math.pi)) - math.pi
        return angle**2 + 0.1 * x[:, 1] ** 2

    limits = {"u_min": torch.tensor([-2.0], dtype=dtype), "u_max": torch.tensor([2.0], dtype=dtype)}
    return dynamics, cost, torch.tensor([[10.0]], dtype=dtype), (math.pi, 1.0), limits


def linear(dtype):
    """The system of pytorch_mppi's own benchmark."""
    gain = torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=dtype)
    goal = torch.tensor([2.0, 2.0], dtype=dtype)

    def dynamics(x, u):
        return x + u @ gain.T

    def cost(x, u):
        return ((goal - x) ** 2).sum(-1)

    return dynamics, cost, torch.eye(2, dtype=dtype), (-3.0, -2.0), {}


SYSTEMS = {"pendulum": pendulum, "linear": linear}
METHODS = {"mppi": (MPPI, {}), "smppi": (SMPPI, {"w_action_seq_cost": 5.0}),
           "kmppi": (KMPPI, {"num_support_pts": 5, "kernel": RBFKernel(sigma=2.0)})}
controllers = {}


def controller(system, method, samples, horizon, dtype):
    key = (system, method, samples, horizon, dtype)
    if key not in controllers:
        t = getattr(torch, dtype)
        dynamics, cost, covariance, start, limits = SYSTEMS[system](t)
        kind, settings = METHODS[method]
        mppi = kind(dynamics, cost, len(start), covariance, num_samples=samples, horizon=horizon,
                    lambda_=1.0, **limits, **settings)
        controllers[key] = mppi, torch.tensor(start, dtype=t)
    return controllers[key]


def answer(request):
    mppi, state = controller(request["system"], request["method"], request["samples"],
                             request["horizon"], request["dtype"])
    if request["do"] == "time":
        mppi.reset()
        start = time.perf_counter()
        mppi.command(state)
        return {"ms": 1e3 * (time.perf_counter() - start)}
    z = torch.frombuffer(bytearray(open(request["draws"], "rb").read()), dtype=torch.float32)
    z = z.to(mppi.dtype).reshape(request["samples"], -1, mppi.nu)
    mppi.reset()
    own, mppi._sample_noise = mppi._sample_noise, lambda shape: z * mppi._noise_sigma_sqrt_diag
    mppi.lambda_ = request["lambda"]
    mppi.U = torch.zeros(request["horizon"], mppi.nu, dtype=mppi.dtype)
    mppi.command(state)
    mppi._sample_noise, mppi.lambda_ = own, 1.0
    return {"plan": mppi.get_action_sequence().flatten().tolist()}


def main():
    torch.set_num_threads(1)
    print(json.dumps({"pytorch_mppi": version("pytorch-mppi"), "torch": torch.__version__,
                      "python": sys.version.split()[0]}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
