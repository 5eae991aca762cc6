# SPDX-License-Identifier: Apache-2.0
"""Where the Python peers compute, and their clock, which waits for a GPU."""
import time

import torch


def device_of(request):
    """The device that a request to load names. Float32 on a GPU means float32 in all operations, as on the other side."""
    device = torch.device(request["device"])
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return device


def finish_work(device):
    """Waits until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work, device):
    """What `work` answers, and the milliseconds and the processor time that it takes, computing on `device`."""
    finish_work(device)
    start, processor = time.perf_counter(), time.process_time()
    result = work()
    finish_work(device)
    return result, {"ms": 1e3 * (time.perf_counter() - start), "processor_ms": 1e3 * (time.process_time() - processor)}
