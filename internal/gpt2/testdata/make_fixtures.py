"""Makes the model fixtures in this folder: tiny random GPT-2s, copies of small
trained ones, and for each the logits and continuations that transformers
computes in fp32. README.md explains the formats.

    HF_HUB_OFFLINE=1 python make_fixtures.py [--trained DIR] [NAME...]

DIR is the folder that holds capp-gpt, llmviz-gpt-nano-sort and gpt2-basic;
without it the copies already here are used. NAMEs restrict the work to those
models. Made with torch 2.15.0, transformers 5.23.0 and safetensors 0.8.0 on
one thread; on the same kind of CPU a second run gives the same bytes.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import zlib

import safetensors
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, LogitsProcessor, LogitsProcessorList

HERE = pathlib.Path(__file__).resolve().parent
DEMO = pathlib.Path(os.environ.get("DEMO", "demo"))  # gptctl convert demo --out demo --dtype f32

MARGIN = 1e-3  # least (top1 - top2) / max|logit| along a greedy path
BEAM_GAP = 1e-4  # least difference between the scores of returned beams
ALIVE = 1e-2  # least relative change of the logits when a field is turned off
FULL_BYTES = 200_000  # above this a sequence keeps only its last logits

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16


# --- the random models ------------------------------------------------------

# name: sizes (embd, head, layer, vocab, positions), the fields under test, and
# what turning them off means. `off` is a list of field settings; each must
# move the logits by more than its bound (ALIVE unless said otherwise).
MODELS = {
    "plain": dict(size=(24, 3, 2, 61, 320)),
    "gelu-inner-40": dict(
        size=(20, 4, 4, 67, 320),
        fields=dict(activation_function="gelu", n_inner=40),
        gain=2.5,
        off=[(dict(activation_function="gelu_new"), 3e-4), (dict(activation_function="relu"), ALIVE)],
    ),
    "relu-one-head": dict(
        size=(16, 1, 3, 61, 320),
        fields=dict(activation_function="relu"),
        off=[(dict(activation_function="gelu_new"), ALIVE), (dict(n_head=2), ALIVE)],
    ),
    "silu-head-dim-1": dict(
        size=(12, 12, 3, 61, 320),
        fields=dict(activation_function="silu"),
        off=[(dict(activation_function="gelu_new"), ALIVE), (dict(n_head=6), ALIVE)],
    ),
    "tanh-head-dim-3": dict(
        size=(21, 7, 2, 71, 320),
        fields=dict(activation_function="tanh"),
        off=[(dict(activation_function="gelu_new"), ALIVE), (dict(n_head=3), ALIVE)],
    ),
    "quick-gelu-one-layer-head-dim-5": dict(
        size=(45, 9, 1, 61, 320),
        fields=dict(activation_function="quick_gelu"),
        off=[(dict(activation_function="gelu_new"), 5e-3), (dict(n_head=3), ALIVE)],
    ),
    "gelu-pytorch-tanh-five-layers": dict(
        size=(16, 2, 5, 61, 320),
        fields=dict(activation_function="gelu_pytorch_tanh"),
        gain=2.5,
        off=[(dict(activation_function="gelu"), 2.5e-4), (dict(activation_function="silu"), ALIVE)],
    ),
    "gelu-fast-untied": dict(
        size=(24, 2, 3, 61, 320),
        fields=dict(activation_function="gelu_fast", tie_word_embeddings=False),
        gain=2.5,
        off=[(dict(activation_function="gelu"), 3e-4), (dict(tie_word_embeddings=True), ALIVE)],
    ),
    "inner-37": dict(
        size=(18, 2, 3, 97, 320),
        fields=dict(n_inner=37),
        off=[(dict(activation_function="relu"), ALIVE)],
    ),
    "epsilon-1e-3": dict(
        size=(24, 4, 2, 61, 320),
        fields=dict(layer_norm_epsilon=1e-3),
        embedding=0.05,
        off=[(dict(layer_norm_epsilon=1e-5), ALIVE)],
    ),
    "epsilon-1e-12": dict(
        size=(24, 4, 2, 61, 320),
        fields=dict(layer_norm_epsilon=1e-12),
        embedding=0.004,
        off=[(dict(layer_norm_epsilon=1e-5), ALIVE)],
    ),
    "unscaled-attention": dict(
        size=(24, 3, 2, 61, 320),
        fields=dict(scale_attn_weights=False),
        off=[(dict(scale_attn_weights=True), ALIVE)],
    ),
    "inverse-layer": dict(
        size=(20, 4, 4, 61, 320),
        fields=dict(scale_attn_by_inverse_layer_idx=True),
        off=[(dict(scale_attn_by_inverse_layer_idx=False), ALIVE)],
    ),
    "unscaled-inverse-layer": dict(
        size=(20, 2, 3, 61, 320),
        fields=dict(scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True),
        off=[
            (dict(scale_attn_weights=True), ALIVE),
            (dict(scale_attn_by_inverse_layer_idx=False), ALIVE),
        ],
    ),
    # In fp32 reorder_and_upcast_attn only changes the order of operations, so
    # turning it off must change nothing that can be measured.
    "reorder-inverse-layer": dict(
        size=(20, 4, 3, 61, 320),
        fields=dict(reorder_and_upcast_attn=True, scale_attn_by_inverse_layer_idx=True),
        off=[(dict(scale_attn_by_inverse_layer_idx=False), ALIVE)],
        same=[dict(reorder_and_upcast_attn=False)],
    ),
    "untied": dict(
        size=(24, 3, 2, 83, 320),
        fields=dict(tie_word_embeddings=False),
        off=[(dict(tie_word_embeddings=True), ALIVE)],
    ),
    # transformers 5 does not tie when the file holds a head that differs from
    # wte, even where the config says tie_word_embeddings.
    "tied-with-own-head": dict(
        size=(20, 4, 2, 61, 320), files="own-head", off=[(dict(tie_word_embeddings=True), ALIVE)]
    ),
    "f16": dict(size=(32, 4, 2, 61, 320), dtype=F16),
    "bf16": dict(size=(32, 2, 2, 257, 320), dtype=BF16),
    "mixed": dict(size=(28, 4, 2, 61, 320), dtype="mixed"),
    "sharded": dict(size=(20, 2, 3, 61, 320), files="sharded"),
    "no-prefix": dict(size=(20, 5, 2, 61, 320), files="no-prefix"),
    "mask-buffers": dict(size=(16, 4, 2, 61, 96), files="mask-buffers"),
    "padded-vocab": dict(size=(20, 4, 2, 128, 320), used=101),
}

TRAINED = {
    "capp-gpt": "capp-gpt",
    "llmviz-gpt-nano-sort": "llmviz-gpt-nano-sort",
    "default-2L48d-plain": "gpt2-basic/default-2L48d-plain",
    "chat-3L64d-plain": "gpt2-basic/chat-3L64d-plain",
}


def generator(*key):
    return torch.Generator().manual_seed(zlib.crc32(repr(key).encode()))


def config_of(spec):
    embd, head, layer, vocab, positions = spec["size"]
    config = {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1,
        "bos_token_id": vocab - 1,
        "embd_pdrop": 0.1,
        "eos_token_id": vocab - 1,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2",
        "n_ctx": positions,
        "n_embd": embd,
        "n_head": head,
        "n_inner": None,
        "n_layer": layer,
        "n_positions": positions,
        "reorder_and_upcast_attn": False,
        "resid_pdrop": 0.1,
        "scale_attn_by_inverse_layer_idx": False,
        "scale_attn_weights": True,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": vocab,
    }
    config.update(spec.get("fields", {}))
    dtype = spec.get("dtype", F32)
    config["dtype"] = {F32: "float32", F16: "float16", BF16: "bfloat16", "mixed": "float32"}[dtype]
    return config


def random_weights(name, spec, config):
    """Weights large enough that every layer, bias and norm moves the logits."""
    g = generator("weights", name)
    gain, embedding = spec.get("gain", 1.5), spec.get("embedding", 0.4)

    def normal(shape, std, mean=0.0):
        return mean + std * torch.randn(shape, generator=g, dtype=F32)

    weights = {}
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in GPT2LMHeadModel(GPT2Config(**config)).state_dict().items()}
    for key in sorted(shapes):
        shape = shapes[key]
        if key == "lm_head.weight" and config["tie_word_embeddings"] and spec.get("files") != "own-head":
            continue
        if ".wte." in key or ".wpe." in key:
            weights[key] = normal(shape, embedding)
        elif key == "lm_head.weight":
            weights[key] = normal(shape, 0.4)
        elif ".ln_" in key:
            weights[key] = normal(shape, 0.3, 1.0 if key.endswith("weight") else 0.0)
        elif key.endswith("bias"):
            weights[key] = normal(shape, 0.2)
        else:
            weights[key] = normal(shape, gain / shape[0] ** 0.5)
    if "used" in spec:  # rows that no token of the tokenizer has
        weights["transformer.wte.weight"][spec["used"] :] = 0
    return weights


def mixed_dtype(key):
    if ".ln_" in key or key.endswith("bias"):
        return F32
    return BF16 if ".wte." in key or ".h.1." in key else F16


def write_model(name, spec):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = config_of(spec)
    weights = random_weights(name, spec, config)
    dtype = spec.get("dtype", F32)
    weights = {k: v.to(mixed_dtype(k) if dtype == "mixed" else dtype).contiguous() for k, v in weights.items()}

    files = spec.get("files", "single")
    if files == "sharded":
        model = GPT2LMHeadModel(GPT2Config(**config))
        model.load_state_dict(weights, strict=False)
        model.tie_weights()
        model.save_pretrained(folder, max_shard_size="30KB")
        (folder / "generation_config.json").unlink(missing_ok=True)
        assert len(list(folder.glob("*.safetensors"))) > 2
    else:
        if files == "no-prefix":
            weights = {k.removeprefix("transformer."): v for k, v in weights.items()}
        if files == "mask-buffers":
            n = config["n_positions"]
            for layer in range(config["n_layer"]):
                at = f"transformer.h.{layer}.attn."
                weights[at + "bias"] = torch.tril(torch.ones(n, n)).view(1, 1, n, n)
                weights[at + "masked_bias"] = torch.tensor(-1e4)
            weights["lm_head.weight"] = weights["transformer.wte.weight"].clone()
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def copy_trained(name, source):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    wanted = ["config.json", "model.safetensors", "goldens.safetensors", "LICENSE", "README.md"]
    for file in wanted:
        for at in (source / file, source.parent / file):
            if at.exists() and (at.parent == source or (source.parent.name == "gpt2-basic")):
                shutil.copyfile(at, folder / file)
                break


# --- running transformers ---------------------------------------------------


def load(folder, dtype=F32, attention="eager", **fields):
    """The model in dtype, with its config's fields replaced by fields."""
    config = GPT2Config.from_pretrained(folder)
    for key, value in fields.items():
        setattr(config, key, value)
    model = GPT2LMHeadModel.from_pretrained(folder, config=config, dtype=dtype, attn_implementation=attention).eval()
    model.generation_config = GenerationConfig(eos_token_id=None, bos_token_id=None, pad_token_id=0)
    return model


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids])).logits[0]


def distance(a, b):
    a, b = a.double(), b.double()
    return (torch.linalg.norm(a - b) / torch.linalg.norm(b)).item()


def random_ids(g, config, spec, n):
    return torch.randint(0, spec.get("used", config.vocab_size), (n,), generator=g).tolist()


def check_fields(name, folder, spec, ids):
    """Every field under test, and every tensor, must move the logits."""
    base = load(folder)
    want = logits_of(base, ids)
    facts = {}
    for fields, bound in spec.get("off", []):
        other = load(folder, **fields)
        if fields.get("tie_word_embeddings"):  # transformers keeps a head that the file holds, whatever the field says
            other.lm_head.weight = other.transformer.wte.weight
        got = distance(logits_of(other, ids), want)
        assert got > bound, f"{name}: {fields} changes the logits by only {got:.1e}"
        facts[json.dumps(fields)] = float(f"{got:.2e}")
    for fields in spec.get("same", []):
        got = distance(logits_of(load(folder, **fields), ids), want)
        assert got < 1e-5, f"{name}: {fields} changes the logits by {got:.1e}"
        facts[json.dumps(fields)] = float(f"{got:.2e}")
    for key, tensor in base.named_parameters():
        saved = tensor.data.clone()
        tensor.data.zero_()
        got = distance(logits_of(base, ids), want)
        tensor.data.copy_(saved)
        assert not got < 2e-3, f"{name}: {key} changes the logits by only {got:.1e}"
    return facts


def logits_golden(name, folder, spec):
    """golden.safetensors, and how far fp32 is from sdpa and from float64."""
    model = load(folder)
    config = model.config
    exact = load(folder, dtype=torch.float64, reorder_and_upcast_attn=False)
    sdpa = load(folder, attention="sdpa")
    g = generator("ids", name)
    lengths = [6, 9, 11] if config.n_positions < 16 else [1 if config.vocab_size < 1000 else 12, 17, config.n_positions]
    tensors, noise = {}, 0.0
    for i, n in enumerate(lengths):
        ids = random_ids(g, config, spec, n)
        logits = logits_of(model, ids)
        assert torch.isfinite(logits).all()
        truth = logits_of(exact, ids)
        noise = max(noise, distance(logits, truth), distance(logits_of(sdpa, ids), truth))
        tensors[f"ids.{i}"] = torch.tensor(ids, dtype=torch.int64)
        if logits.numel() * 4 <= FULL_BYTES:
            tensors[f"logits.{i}"] = logits.contiguous()
        else:
            tensors[f"last_logits.{i}"] = logits[-1].clone()
            picked = torch.log_softmax(logits[:-1], -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
            tensors[f"logprobs.{i}"] = picked.contiguous()
    assert noise < 5e-6, f"{name}: fp32 noise {noise:.1e}"
    save_file(tensors, folder / "golden.safetensors", metadata={"format": "pt"})
    return noise


# --- greedy -----------------------------------------------------------------


def generate(model, prompts, processors=(), **settings):
    settings = dict(do_sample=False, pad_token_id=0) | settings
    return model.generate(
        torch.tensor(prompts),
        attention_mask=torch.ones(len(prompts), len(prompts[0]), dtype=torch.long),
        generation_config=GenerationConfig(return_dict_in_generate=True, output_scores=True, **settings),
        logits_processor=LogitsProcessorList(processors),
    )


def greedy(model, prompts, new):
    """For each prompt the continuation and its smallest margin."""
    out = generate(model, prompts, max_new_tokens=new, output_logits=True)
    margins = torch.full((len(prompts),), float("inf"))
    for logits in out.logits:
        top = logits.topk(2).values
        margins = torch.minimum(margins, (top[:, 0] - top[:, 1]) / logits.abs().amax(1))
    return out.sequences[:, len(prompts[0]) :].tolist(), margins.tolist()


def greedy_goldens(name, model, spec, candidates=48):
    """Two prompts whose path is far from ties, the liveliest of those tried."""
    config, found = model.config, []
    lengths = (4, 6) if config.n_positions < 16 else (5, 9)
    for n in lengths:
        new = min(256, config.n_positions - n)
        best = None
        for attempt in range(40):
            g = generator("greedy", name, n, attempt)
            prompts = [random_ids(g, config, spec, n) for _ in range(candidates)]
            for prompt, tokens, margin in zip(prompts, *greedy(model, prompts, new)):
                if margin >= 1.5 * MARGIN and (best is None or len(set(tokens)) > best[0]):
                    best = (len(set(tokens)), prompt)
            if best:
                break
        assert best, f"{name}: no greedy path of {new} tokens has a margin above {MARGIN}"
        [tokens], [margin] = greedy(model, [best[1]], new)
        assert margin >= MARGIN and len(tokens) == new
        found.append(dict(prompt=best[1], max_new_tokens=new, tokens=tokens, min_margin=float(f"{margin:.3e}")))
    return found


# --- beams ------------------------------------------------------------------


class Noise(LogitsProcessor):
    """Moves the scores by about the error that a test would still accept."""

    def __init__(self, seed):
        self.g = generator("noise", seed)

    def __call__(self, input_ids, scores):
        return scores + 2e-5 * scores.abs().amax() * torch.randn(scores.shape, generator=self.g)


def trim(row, prompt, eos):
    row = row[len(prompt) :]
    return row[: row.index(eos) + 1] if eos in row else row


def beam(model, exact, prompt, settings):
    """One beam search, or None if a nearby tie makes it a coin toss."""
    wide = settings | dict(num_return_sequences=settings["num_beams"])
    runs = [generate(model, [prompt], **wide)]
    runs += [generate(model, [prompt], [Noise(seed)], **wide) for seed in range(3)]
    runs.append(generate(exact, [prompt], **wide))
    rows = [[trim(r, prompt, settings["eos_token_id"]) for r in run.sequences.tolist()] for run in runs]
    scores = runs[0].sequences_scores.tolist()
    if any(r != rows[0] for r in rows[1:]):
        return None
    gap = min(a - b for a, b in zip(scores, scores[1:]))
    if gap <= BEAM_GAP:
        return None
    n = settings["num_return_sequences"]
    return dict(
        prompt=prompt,
        settings=settings,
        sequences=rows[0][:n],
        scores=[round(s, 6) for s in scores[:n]],
        min_gap=float(f"{gap:.3e}"),
    )


def beam_goldens(name, model, exact, spec, many):
    config = model.config
    short = config.n_positions < 16
    n, new = (5, 6) if short else (6, 24)
    base = dict(
        num_beams=2, length_penalty=1.0, early_stopping=False, num_return_sequences=1, eos_token_id=None, max_new_tokens=new
    )
    wanted = [base | dict(num_beams=k, num_return_sequences=k) for k in ((2,) if short else (2, 4))]
    if many:
        for k in (2, 4):
            for penalty in (0.0, 0.5, 1.0, 2.0):
                for early in (False, True, "never"):
                    wanted.append(
                        base
                        | dict(num_beams=k, length_penalty=penalty, early_stopping=early, num_return_sequences=2, eos_token_id=-1)
                    )
    found = []
    for i, settings in enumerate(wanted):
        for attempt in range(200):
            g = generator("beam", name, i, attempt)
            prompt = random_ids(g, config, spec, n)
            chosen = dict(settings)
            if settings["eos_token_id"] == -1:  # a token that the beams meet on their way
                free = generate(model, [prompt], **(settings | dict(eos_token_id=None)))
                row = free.sequences[0].tolist()[n:]
                chosen["eos_token_id"] = row[4 + attempt % 8]
            case = beam(model, exact, prompt, chosen)
            eos = chosen["eos_token_id"]
            if case and (eos is None or any(eos in s for s in case["sequences"])):
                found.append(case)
                break
        else:
            raise AssertionError(f"{name}: no beam search without ties for {settings}")
    return found


# --- the whole --------------------------------------------------------------


def goldens(name, folder, target, spec, many_beams):
    model = load(folder)
    exact = load(folder, dtype=torch.float64, reorder_and_upcast_attn=False)
    facts = {}
    if name in MODELS:
        facts = check_fields(name, folder, spec, random_ids(generator("alive", name), model.config, spec, 24))
    if target != folder:  # the demo: goldens only
        target.mkdir(exist_ok=True)
    noise = logits_golden(name, folder, spec)
    if target != folder:
        shutil.move(folder / "golden.safetensors", target / "golden.safetensors")
    big = model.config.vocab_size > 1000
    greedy_cases = greedy_goldens(name, model, spec, 24 if big else 48)
    result = dict(
        made_with=dict(torch="2.15.0", transformers=transformers.__version__, safetensors=safetensors.__version__),
        fp32_noise=float(f"{noise:.2e}"),
        field_changes=facts,
        greedy=greedy_cases,
        beam=beam_goldens(name, model, exact, spec, many_beams),
    )
    if name == "demo":
        result["text"] = demo_text(model)
    (target / "golden.json").write_text(dumps(result))
    for file in target.iterdir():
        file.chmod(0o644)
    margins = ", ".join(f"{c['min_margin']:.1e}" for c in greedy_cases)
    size = sum(f.stat().st_size for f in target.iterdir())
    gap = min(c["min_gap"] for c in result["beam"])
    print(f"{name:34} {size:8} bytes  noise {noise:.1e}  margins {margins}  beam gap {gap:.1e}", flush=True)


def demo_text(model):
    """Prompts as text: ids, the greedy continuation, and its text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    prompts = [
        "It was a dark", "The captain of the ship", "My dear Emma,", "To be, or not", "Mr. President, members of the Congress:",
        "She walked slowly into", "In the beginning", "The king said unto", "There was no doubt that", "When the whale",
    ]  # fmt: skip
    found = []
    for prompt in prompts:
        ids = tokenizer.encode(prompt).ids
        new = 200
        [tokens], [margin] = greedy(model, [ids], new)
        if prompt == prompts[0] or margin >= MARGIN:
            found.append(
                dict(prompt=prompt, ids=ids, max_new_tokens=new, tokens=tokens, text=tokenizer.decode(tokens), min_margin=float(f"{margin:.3e}"))
            )
        if len(found) == 4:
            break
    return found


def dumps(value):
    """JSON with one line per case."""
    lines = []
    for key, v in value.items():
        if isinstance(v, list):
            body = ",\n    ".join(json.dumps(x) for x in v)
            lines.append(f"  {json.dumps(key)}: [\n    {body}\n  ]")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(v)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trained", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    assert torch.__version__.startswith("2.15.0") and transformers.__version__ == "5.23.0", "the versions differ"
    for name, spec in MODELS.items():
        if not args.names or name in args.names:
            write_model(name, spec)
            goldens(name, HERE / name, HERE / name, spec, many_beams=name == "plain")
    for name, path in TRAINED.items():
        if not args.names or name in args.names:
            if args.trained:
                copy_trained(name, args.trained / path)
            goldens(name, HERE / name, HERE / name, {}, many_beams=name == "chat-3L64d-plain")
    if not args.names or "demo" in args.names:
        goldens("demo", DEMO, HERE / "demo", {}, many_beams=False)


if __name__ == "__main__":
    sys.exit(main())
