"""Makes the fixtures in this folder: state dicts that torch.save wrote, good
and hostile, and what they hold. README.md explains them.

    python make_fixtures.py                    # all of them
    python make_fixtures.py --random N DIR     # N pairs of random ones, for the opt-in test

Made with torch 2.15.0 and safetensors 0.8.0. The values are the same every
time; storage keys in the legacy format are addresses, and differ.
"""

import argparse
import io
import json
import os
import pathlib
import pickle
import random
import shutil
import subprocess
import tarfile
import warnings

import torch
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).resolve().parent


def write(path, value, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    # The archive's folder takes its name from the file.
    torch.save(value, path, **options)


def expect(path, state):
    save_file({k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in state.items()}, path)


LEGACY = {"_use_new_zipfile_serialization": False}


def state_dict():
    g = torch.Generator().manual_seed(4)
    rand = lambda *shape: torch.randn(*shape, generator=g)
    wte, base = rand(7, 4), rand(4, 6)
    state = torch.nn.Linear(3, 2).state_dict()  # an OrderedDict with _metadata
    state["weight"], state["bias"] = rand(2, 3), rand(2)
    state.update({
        "transformer.wte.weight": wte,
        "lm_head.weight": wte,
        "half": rand(3, 5).half(),
        "bfloat16": rand(5, 3).bfloat16(),
        "double": rand(2, 2).double(),
        "int64": torch.tensor([-(2**62), -1, 0, 2**62]),
        "int32": torch.tensor([-(2**31), 2**31 - 1], dtype=torch.int32),
        "int16": torch.tensor([-3, 300], dtype=torch.int16),
        "int8": torch.tensor([-128, 127], dtype=torch.int8),
        "uint8": torch.arange(9, dtype=torch.uint8).view(3, 3),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "base": base,
        "transposed": base.t(),
        "transposed too": base.t(),
        "row": base[2],
        "rows": base[1:3],
        "column": base[:, 1],
        "every second": base[::2, 1::2],
        "expanded": base[:, :1].expand(4, 3),
        "one by n": base[3:4].t().t(),
        "diagonal": base.diagonal(),
        "permuted": rand(2, 3, 4).permute(2, 0, 1),
        "parameter": torch.nn.Parameter(rand(2, 2)),
        "naïve ключ": rand(1),
    })
    return state


def good(small):
    state = state_dict()
    expect(HERE / "state.safetensors", state)
    write(HERE / "state.bin", state)
    write(HERE / "state-legacy.bin", state, **LEGACY)
    for protocol in (3, 4, 5):
        write(HERE / f"state-protocol{protocol}.bin", state, pickle_protocol=protocol)
    write(HERE / "state-legacy-protocol4.bin", state, pickle_protocol=4, **LEGACY)

    expect(HERE / "small.safetensors", small)
    write(HERE / "small.bin", small)
    write(HERE / "small-legacy.bin", small, **LEGACY)
    write(HERE / "wrapped-model.bin", {"model": small, "optimizer": {"state": {0: {"step": 3, "exp_avg": small["a"] * 2}}}, "iter_num": 7,
                                       "model_args": {"n_layer": 2}, "best_val_loss": 1.5, "config": None})
    write(HERE / "wrapped-state_dict.bin", {"epoch": 2, "state_dict": small, "hparams": [1, (2, 3)], "lr": 1e-3})
    write(HERE / "wrapped-module.bin", {"module": small, "buffer_names": [], "dtype": torch.float32, "shape": torch.Size([2, 3]),
                                        "device": torch.device("cpu"), "big": 2**70, "negative": -(2**40)}, **LEGACY)
    write(HERE / "extras.bin", {**small, "step": 3, "note": "text", "shapes": {"a": torch.Size([2, 3])}})
    parameters = {k: torch.nn.Parameter(v) for k, v in small.items()}
    parameters["a"].tag = "attribute"
    tagged = small["b"].clone()
    tagged.tag = 1
    write(HERE / "parameters.bin", {**parameters, "b": tagged})

    # cuda:0 as the location, as if saved on a GPU.
    data = io.BytesIO()
    torch.save(small, data, **LEGACY)
    (HERE / "location-cuda.bin").write_bytes(data.getvalue().replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))

    folder = HERE / "sharded"
    names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    write(folder / names[0], {"a": small["a"]})
    write(folder / names[1], {"b": small["b"]}, **LEGACY)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(
        {"metadata": {"total_size": 48}, "weight_map": {"a": names[0], "b": names[1]}}, indent=2) + "\n")


class Call:
    """Pickles as a call of f."""

    def __init__(self, f, *args):
        self.call = f, args

    def __reduce__(self):
        return self.call


def hostile(small):
    """name: (value, what the refusal must contain)"""
    a = small["a"]
    call = "echo hostile code was run >&2"
    return {
        "os-system": (Call(os.system, call), "posix.system"),
        "eval": ({**small, "x": Call(eval, "1+1")}, "eval"),
        "exec-in-key": ({Call(exec, "pass"): a}, "exec"),
        "popen": ({"model": small, "optimizer": Call(subprocess.Popen, ["true"])}, "subprocess.Popen"),
        "getattr": ({**small, "x": Call(getattr, "s", "join")}, "getattr"),
        "nested-reduce": ({**small, "x": Call(torch._utils._rebuild_parameter, Call(os.system, call), False, {})}, "posix.system"),
        "reduce-in-tuple": ({**small, "x": (1, [Call(os.getcwd)])}, "posix.getcwd"),
        "load-from-bytes": ({**small, "x": Call(torch.storage._load_from_bytes, b"\x80\x02N.")}, "torch.storage._load_from_bytes"),
        "torch-load": ({**small, "x": Call(torch.load, "/dev/null")}, "torch.serialization.load"),
        "whole-model": (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        "untyped-storage": ({**small, "x": torch.zeros(4).untyped_storage()}, "UntypedStorage"),
        "sparse": ({**small, "x": torch.eye(2).to_sparse()}, "_rebuild_sparse_tensor"),
        "csr": ({**small, "x": torch.eye(2).to_sparse_csr()}, "_rebuild_sparse_tensor"),
        "quantised": ({**small, "x": torch.quantize_per_tensor(a, 0.1, 0, torch.qint8)}, "_rebuild_qtensor"),
        "complex": ({**small, "x": torch.zeros(2, dtype=torch.complex64)}, "torch.ComplexFloatStorage"),
        "uint16": ({**small, "x": torch.zeros(2, dtype=torch.uint16)}, "_rebuild_tensor_v3"),
        "meta": ({**small, "x": torch.zeros(2, device="meta")}, "_rebuild_meta_tensor_no_storage"),
        "negated": ({**small, "x": torch.view_as_real(torch.zeros(2, dtype=torch.complex64).conj().resolve_conj()).clone()._neg_view()}, "negated"),
        "numpy": ({**small, "x": __import__("numpy").float32(1)}, "numpy"),
        "namespace": ({"model": small, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        "list": ([a], "holds a list"),
        "tensor": (a, "holds a tensor"),
        "no-tensors": ({"weights": {"model": small}, 3: 4}, 'its keys: "weights", 3'),
        "two-nestings": ({"model": {"state_dict": small}}, "without tensors"),
        "two-models": ({"model": small, "state_dict": small}, "several state dicts"),
        "nothing": ({}, "without tensors"),
    }


def refused(small):
    folder = HERE / "refused"
    shutil.rmtree(folder, ignore_errors=True)
    want = {}
    for name, (value, words) in hostile(small).items():
        for suffix, options in (("", {}), ("-legacy", LEGACY), ("-protocol4", {"pickle_protocol": 4})):
            if not suffix or name in ("os-system", "eval", "nested-reduce", "whole-model"):
                write(folder / f"{name}{suffix}.bin", value, **options)
                want[f"{name}{suffix}.bin"] = words
    (folder / "plain-pickle.bin").write_bytes(pickle.dumps({"a": [1.0]}, 2))
    want["plain-pickle.bin"] = "magic number"
    (folder / "plain-hostile.bin").write_bytes(pickle.dumps(Call(os.system, "true"), 2))
    want["plain-hostile.bin"] = "posix.system"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1)), folder / "torchscript.bin")
    want["torchscript.bin"] = "TorchScript"
    with tarfile.open(folder / "tar.bin", "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("pickle", "storages", "tensors"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    want["tar.bin"] = "tar archive"
    (folder / "lfs-pointer.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    want["lfs-pointer.bin"] = "neither"
    (HERE / "refused.json").write_text(json.dumps(want, indent=2, sort_keys=True) + "\n")


def verdicts():
    """What torch.load(weights_only=True) says of each file, for README.md."""
    for path in sorted([*HERE.glob("*.bin"), *HERE.glob("refused/*.bin")]):
        try:
            torch.load(path, weights_only=True)
            print(f"{path.relative_to(HERE)}: accepted")
        except Exception as e:
            print(f"{path.relative_to(HERE)}: {type(e).__name__}")


def random_state(rng):
    dtypes = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
    state, bases = {}, []
    for i in range(rng.randrange(1, 12)):
        if bases and rng.random() < 0.6:
            t = rng.choice(bases)
        else:
            shape = [rng.choice([0, 1, 1, 2, 3, 5, 8, 17]) for _ in range(rng.randrange(0, 5))]
            t = (torch.randn(shape) * 50).to(rng.choice(dtypes))
            bases.append(t)
        for _ in range(rng.randrange(0, 3)):
            if t.dim() == 0:
                break
            d = rng.randrange(t.dim())
            match rng.randrange(6):
                case 0:
                    t = t.transpose(d, rng.randrange(t.dim()))
                case 1:
                    t = t.narrow(d, a := rng.randrange(t.shape[d] + 1), rng.randrange(t.shape[d] - a + 1))
                case 2:
                    t = t[(slice(None),) * d + (slice(None, None, rng.randrange(1, 4)),)]
                case 3:
                    t = t.unsqueeze(d)
                case 4 if t.shape[d] > 0:
                    t = t.select(d, rng.randrange(t.shape[d]))
                case 5:
                    t = t.unsqueeze(0).expand(rng.randrange(0, 4), *t.shape)
        state[f"{i}.{rng.choice(['weight', 'bias'])}"] = torch.nn.Parameter(t) if rng.random() < 0.2 and t.is_floating_point() else t
    return state


def randomised(n, folder):
    rng = random.Random(n)
    torch.manual_seed(n)
    for i in range(n):
        state = random_state(rng)
        expect(folder / f"{i}.safetensors", state)
        options = dict(LEGACY) if rng.random() < 0.5 else {}
        write(folder / f"{i}.bin", state, pickle_protocol=rng.choice([2, 2, 3, 4, 5]), **options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--random", type=int)
    parser.add_argument("folder", type=pathlib.Path, nargs="?")
    args = parser.parse_args()
    if args.random:
        randomised(args.random, args.folder)
    else:
        g = torch.Generator().manual_seed(5)
        small = {"a": torch.randn(2, 3, generator=g), "b": torch.randn(3, generator=g).half()}
        good(small)
        refused(small)
        verdicts()
