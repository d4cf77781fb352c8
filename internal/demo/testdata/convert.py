"""Makes internal/demo/model from the F32 training result: every tensor in
BF16 (round to nearest, ties to even), config.json with that dtype, the small
files as they are. The same input gives the same bytes.

    python internal/demo/testdata/convert.py SOURCE [--corpus DIR]

SOURCE is the folder that training wrote (config.json, model.safetensors,
tokenizer.json ...). With --corpus, the folder of the 14 Gutenberg texts, the
held-out loss of both forms is printed (ten to thirty seconds on two cores).

Made with torch 2.15.0, safetensors 0.8.0, transformers 5.23.0.
"""

import argparse
import json
import math
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file

MODEL = pathlib.Path(__file__).resolve().parent.parent / "model"


def convert(source):
    MODEL.mkdir(exist_ok=True)
    weights = load_file(source / "model.safetensors")
    half = {name: t.to(torch.bfloat16).contiguous() for name, t in weights.items()}
    for name, t in half.items():
        assert torch.isfinite(t).all(), name
    save_file(half, MODEL / "model.safetensors", metadata={"format": "pt"})
    (MODEL / "model.safetensors").chmod(0o644)

    config = json.loads((source / "config.json").read_text())
    config["dtype"] = "bfloat16"
    (MODEL / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, MODEL / name)
        (MODEL / name).chmod(0o644)


def unwrapped(text):
    """The text as training saw it: long-lined paragraphs on one line each."""
    out, lines = [], []
    for line in text.replace("\r\n", "\n").split("\n") + [""]:
        line = line.strip()
        if line:
            lines.append(line)
            continue
        if not lines:
            continue
        body = lines[:-1]
        long = sum(len(l) > 50 for l in body)
        prose = body and long >= 0.8 * len(body)
        out.append((" " if prose else "\n").join(lines))
        lines = []
    return "\n\n".join(out)


@torch.no_grad()
def held_out_loss(folder, corpus):
    """Nats a token and bits a byte on the last 5 % of each text, in fp32,
    over windows of 256 tokens that overlap by one."""
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
    return f"{nats / tokens:.4f} nats a token, {nats / math.log(2) / size:.4f} bits a byte ({tokens} tokens, {size} bytes)"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("--corpus", type=pathlib.Path)
    args = parser.parse_args()
    convert(args.source)
    if args.corpus:
        print("f32 :", held_out_loss(args.source, args.corpus))
        print("bf16:", held_out_loss(MODEL, args.corpus))


if __name__ == "__main__":
    main()
