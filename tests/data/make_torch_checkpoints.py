# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/torch: checkpoints by torch.save, and expected.safetensors with what they hold.

Run from anywhere with torch and safetensors installed; the committed files came from torch 2.13. It also writes the
seeds of tests/fuzz/corpus/torch_checkpoint.
"""
import collections
import io
import os
import pathlib
import warnings
import zipfile

import torch
from safetensors import safe_open
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "torch"
CORPUS = HERE.parent / "fuzz" / "corpus" / "torch_checkpoint"
expected = {}


def numbers(*shape, dtype=torch.float32):
    """0, 0.25, 0.5, ...: every value is exact in every type that holds fractions."""
    values = torch.arange(int(torch.tensor(shape).prod()) if shape else 1) % 8
    values = values if dtype in INTEGERS else values / 4
    return (values % 2 == 1 if dtype == torch.bool else values).to(dtype).reshape(shape)


INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64,
            torch.bool)
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)


def save(name, content, protocol=2):
    torch.save(content, OUT / name, pickle_protocol=protocol)


def expect(file, **tensors):
    for name, tensor in tensors.items():
        expected[f"{file}/{name}"] = tensor.detach().clone().contiguous()


def repack(source, target, compression):
    """The same entries written by Python's zipfile: no alignment, and compressed where asked for."""
    with zipfile.ZipFile(OUT / source) as old, zipfile.ZipFile(OUT / target, "w", compression) as new:
        for entry in old.infolist():
            with new.open(zipfile.ZipInfo(entry.filename) if compression == zipfile.ZIP_STORED else entry.filename, "w",
                          force_zip64=True) as stream:
                stream.write(old.read(entry))


class Command:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def main():
    OUT.mkdir(exist_ok=True)
    CORPUS.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    network(torch.randn(5, 3))
    for protocol in (2, 3, 4, 5):
        save(f"state_dict_protocol_{protocol}.pt", network.state_dict(), protocol)
        expect(f"state_dict_protocol_{protocol}.pt", **network.state_dict())

    # A checkpoint of a training run: dictionaries in dictionaries, integer keys, lists, and numbers beside tensors.
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    save("training.ckpt", {
        "state_dict": network.state_dict(), "optimizer_states": [optimizer.state_dict()], "epoch": 3,
        "global_step": 2**40, "negative": -2**62, "lr": 1e-3, "name": "grüße", "ok": True, "nothing": None,
        "shape": torch.Size([2, 3]), "dtype": torch.bfloat16, "device": torch.device("cpu"), "betas": (0.9, 0.999)
    }, protocol=4)
    expect("training.ckpt", **{f"state_dict.{k}": v for k, v in network.state_dict().items()})
    for index, state in optimizer.state_dict()["state"].items():
        expect("training.ckpt", **{f"optimizer_states.0.state.{index}.{k}": v for k, v in state.items()})

    # Encoder and its average, as V-JEPA 2 saves them: wrapped modules, parameters instead of tensors.
    groups = {
        "encoder": collections.OrderedDict({"module.norm.weight": torch.nn.Parameter(numbers(4))}),
        "target_encoder": collections.OrderedDict({"module.norm.weight": torch.nn.Parameter(numbers(4) + 1)}),
        "opt": None, "epoch": 9
    }
    save("groups.pt", groups)
    expect("groups.pt", **{f"{g}.{k}": v for g in ("encoder", "target_encoder") for k, v in groups[g].items()})

    types = {str(t).removeprefix("torch."): numbers(2, 3, dtype=t) for t in INTEGERS + FLOATS}
    types["complex64"] = torch.complex(numbers(2, 3), numbers(2, 3) + 1)
    save("types.pt", types)
    expect("types.pt", **types)

    base = numbers(4, 6)
    tied = numbers(3, 2)
    views = {
        "transposed": base.t(), "sliced": base[1:3, 2:5], "stepped": base.flatten()[1::5], "tied_a": tied,
        "tied_b": tied, "expanded": numbers(3, 1).expand(3, 4), "scalar": torch.tensor(2.5), "empty": torch.empty(3, 0, 2),
        "last": base.flatten()[23:], "empty_at_the_end": base.flatten()[24:]
    }
    save("views.pt", views)
    expect("views.pt", **views)
    repack("views.pt", "repacked.pt", zipfile.ZIP_STORED)
    expect("repacked.pt", **views)

    save("tensor.pt", numbers(2, 2))
    expect("tensor.pt", **{"": numbers(2, 2)})

    # A whole LeWM as a training run leaves it: a wrapper's prefix, buffers of the loss beside the model.
    with safe_open(HERE / "goldens/lewm/lewm_cem_plan_newkeys.safetensors", "pt") as golden:
        lewm = {f"model.{k.removeprefix('params/')}": golden.get_tensor(k) for k in golden.keys() if k.startswith("params/")}
    save("lewm_newkeys.ckpt", {"state_dict": {**lewm, "sigreg.t": numbers(3)}, "epoch": 7})

    # Refused.
    repack("state_dict_protocol_2.pt", "compressed.pt", zipfile.ZIP_DEFLATED)
    torch.save(network.state_dict(), OUT / "legacy.pt", _use_new_zipfile_serialization=False)
    save("command.pt", {"weight": numbers(2), "extra": Command()})
    save("whole_module.pt", network)
    save("conjugated.pt", {"weight": torch.ones(2, dtype=torch.complex64).conj()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(1, 1)).save(str(OUT / "script.pt"))

    save_file(expected, OUT / "expected.safetensors")
    seeds = {"state_dict": network[0].state_dict(), "views": {k: views[k] for k in ("transposed", "sliced", "tied_a")},
             "scalars": {"a": [1, 2.5, "x", None, True, (torch.Size([2]),)], "p": torch.nn.Parameter(numbers(2))}}
    for name, content in seeds.items():
        stream = io.BytesIO()
        torch.save(content, stream, pickle_protocol=4 if name == "scalars" else 2)
        (CORPUS / f"{name}.pt").write_bytes(stream.getvalue())
        with zipfile.ZipFile(stream) as archive:
            (CORPUS / f"{name}.pkl").write_bytes(archive.read("archive/data.pkl"))


if __name__ == "__main__":
    main()
