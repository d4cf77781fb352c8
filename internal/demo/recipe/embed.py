"""Puts the model that training wrote into the binary: internal/demo/model, and
the goldens that hang on its weights.

    python internal/demo/recipe/embed.py OUT --corpus GUTENBERG --cpu "2 cores of ..."

OUT is the folder of `gptctl finetune` (beside its checkpoints). GUTENBERG are the
14 texts as they came; the loss on their ends goes into the model card, for the
weights as they were trained and as they are here. --hours is the training time
where that is not the one in the newest checkpoint; --no-goldens leaves the goldens.

Needs Go, and gguf, safetensors, tokenizers, torch 2.15.0, transformers 5.23.0.
"""

import argparse
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import tomllib

import gguf
import numpy
import torch
from corpora import unwrapped

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
MODEL = HERE.parent / "model"


def gptctl(*args):
    subprocess.run(["go", "run", "./cmd/gptctl", *map(str, args)], cwd=ROOT, check=True)


def embed(source, work):
    """The weights in Q8_0. The vocabulary is in tokenizer.json, and positions in
    F16 are near enough, so that all of it stays below 8 MB."""
    gptctl("convert", source, "--out", work / "whole.gguf", "--dtype", "q8_0")
    MODEL.mkdir(exist_ok=True)
    out = gguf.GGUFWriter(MODEL / "model.gguf", "gpt2")
    for t in gguf.GGUFReader(work / "whole.gguf").tensors:
        if t.name == "position_embd.weight":
            out.add_tensor(t.name, t.data.astype(numpy.float16))
        else:
            out.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()

    config = json.loads((source / "config.json").read_text())
    (MODEL / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    ends = {k: config[k] for k in ("bos_token_id", "eos_token_id")}
    (MODEL / "generation_config.json").write_text(json.dumps(ends, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, MODEL / name)
    for f in MODEL.iterdir():
        f.chmod(0o644)
    (MODEL / "model.safetensors").unlink(missing_ok=True)


@torch.no_grad()
def held_out_loss(folder, corpus):
    """On the last 5 % of each text, in fp32, over windows of 256 tokens that
    overlap by one; as it was measured for every demo so far."""
    from tokenizers import Tokenizer
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    eos, nats, tokens, size = model.config.eos_token_id, 0.0, 0, 0
    for path in sorted(corpus.glob("*.txt")):
        text = unwrapped(path.read_bytes().decode("utf-8", "replace"))
        text = text[int(len(text) * 0.95) :]
        ids = [eos] + tokenizer.encode(text).ids
        size += len(text.encode())
        for at in range(0, len(ids) - 1, 255):
            window = torch.tensor([ids[at : at + 256]])
            logits = model(window).logits[0, :-1].double()
            nats += torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum").item()
            tokens += window.shape[1] - 1
    loss = f"{nats / tokens:.4f} nats a token, {nats / math.log(2) / size:.4f} bits a byte"
    print(f"{folder}: {loss} ({tokens} tokens, {size} bytes)", flush=True)
    return loss, tokens, size


def card(args, trained, here, parameters):
    recipe = tomllib.loads((HERE / "demo.toml").read_text())
    config = json.loads((MODEL / "config.json").read_text())
    checkpoints = sorted(args.out.glob("checkpoints/*/state.json")) or [args.out / "state.json"]
    state = json.loads(checkpoints[-1].read_text())
    hours = args.hours or state["seconds"] / 3600
    (loss, tokens, size), (q8, _, _) = trained, here
    return f"""# The model `demo`

A small real GPT-2, trained by `gptctl finetune` itself: {parameters:,} parameters ({config["n_layer"]} layers, {config["n_head"]} heads, {config["n_embd"]} wide, context
{config["n_positions"]}, tied head). It writes period English. It is a test piece, not an assistant.

`model.gguf` holds the matrices as Q8_0, positions as F16, norms and biases as F32; it has no metadata but the architecture, for the
vocabulary is in `tokenizer.json`. `internal/demo/recipe` makes all of it: `corpora.py` the texts, `demo.toml` and `config.json`
the model, `embed.py` this folder. `gptctl convert demo` writes it as a GGUF file or a folder by itself.

- Tokenizer: the 256 bytes, the first 3,839 merges of GPT-2, and `<|endoftext|>` = 4095.
- Data: 14 Project Gutenberg texts (of each, after unwrapping, the first 95 % of its characters), the State of the Union
  addresses of 1945 to 2006, and the works of Shakespeare in one file of 1.1 MB ("tiny Shakespeare").
- Unwrapping: paragraphs are split at blank lines; in one whose lines but the last are mostly (80 % or more) longer than 50
  characters the lines are joined by a space, else kept; paragraphs are joined by a blank line. Each document starts with `<|endoftext|>`.
- Training: AdamW (0.9, 0.95), weight decay {recipe["weight_decay"]:g} on matrices, peak learning rate {recipe["lr"]:g}, warm-up {recipe["warmup"]}, cosine to {recipe["min_lr"]:g} at step {recipe["steps"]:,},
  dropout {recipe["dropout"]:g}, batch {recipe["batch"]} x {recipe["context"]}, {state["step"]:,} steps = {state["tokens"] / 1e6:.1f} million tokens, {recipe["precision"]} mixed precision,
  {hours:.1f} hours on {args.cpu}.
- Held-out loss (the last 5 % of the 14 texts, {size:,} bytes, {tokens:,} tokens, fp32 arithmetic, windows of 256 tokens that overlap by one):
  {loss} as trained; {q8} as it is here.

## Licences

- Weights: the gptctl project's own, under the project's licence (Apache-2.0).
- Merges in `tokenizer.json`: GPT-2's. Copyright (c) 2019 OpenAI, "Modified MIT" licence of the GPT-2 repository: free to use, copy,
  modify and distribute with this notice kept; no conditions on what the model produces.
- Training texts: in the public domain; none of them is included.
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--cpu", required=True)
    parser.add_argument("--hours", type=float)
    parser.add_argument("--no-goldens", action="store_true")
    args = parser.parse_args()
    args.out = args.out.resolve()
    torch.set_num_threads(1)  # more of them wait for each other on a busy machine
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        embed(args.out, work)
        demo = work / "demo"
        gptctl("convert", "demo", "--out", demo, "--dtype", "f32")
        parameters = sum(math.prod(t.shape.tolist()) for t in gguf.GGUFReader(MODEL / "model.gguf").tensors)
        losses = [held_out_loss(folder, args.corpus) for folder in (args.out, demo)]
        (MODEL / "README.md").write_text(card(args, *losses, parameters))
        if not args.no_goldens:
            env = os.environ | {"DEMO": str(demo), "HF_HUB_OFFLINE": "1"}
            for script in (["internal/gpt2/testdata/make_fixtures.py", "demo"], ["run/testdata/make_goldens.py"]):
                subprocess.run([sys.executable, *script], cwd=ROOT, env=env, check=True)
    print("internal/demo/model:", sum(f.stat().st_size for f in MODEL.iterdir()), "bytes in the binary, at most 8000000")


if __name__ == "__main__":
    main()
