"""Makes the fixtures of internal/train: tiny random GPT-2s, the gradients that
torch's autograd computes for them, and curves of the loss over 100 steps of
torch.optim.AdamW. README.md explains the files.

    HF_HUB_OFFLINE=1 python make_fixtures.py [NAME...]

Made with torch 2.15.0, transformers 5.24.0, peft and safetensors on one thread.
"""

import contextlib
import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.activations import NewGELUActivation

HERE = pathlib.Path(__file__).resolve().parent
IGNORE = -100
HYPER = dict(lr=2e-3, weight_decay=0.1, clip=1.0, beta1=0.9, beta2=0.95, epsilon=1e-8)

# name: sizes (embd, head, layer, vocab, positions), fields, and batches as
# (rows, context, share of labels that is masked).
MODELS = {
    "plain": dict(size=(24, 3, 2, 61, 24), batches=[(3, 17, 0)]),
    "untied-gelu-inner": dict(
        size=(20, 4, 2, 67, 16), fields=dict(activation_function="gelu", n_inner=40, tie_word_embeddings=False), batches=[(2, 16, 0)]
    ),
    "relu-one-head-masked": dict(size=(16, 1, 2, 61, 24), fields=dict(activation_function="relu"), batches=[(4, 24, 0.6)]),
    "silu-inverse-layer": dict(
        size=(12, 12, 3, 61, 16), fields=dict(activation_function="silu", scale_attn_by_inverse_layer_idx=True), batches=[(2, 9, 0)]
    ),
    "tanh-unscaled": dict(size=(21, 7, 2, 71, 16), fields=dict(activation_function="tanh", scale_attn_weights=False), batches=[(2, 13, 0)]),
    "quick-gelu-epsilon": dict(size=(30, 6, 1, 61, 16), fields=dict(activation_function="quick_gelu", layer_norm_epsilon=1e-3), batches=[(1, 16, 0)]),
    "accumulated": dict(size=(16, 2, 2, 61, 24), fields=dict(activation_function="gelu_pytorch_tanh"), batches=[(3, 17, 0.3), (1, 24, 0), (5, 3, 0.9)]),
    # Gradients leave float16's range until the loss scale has come down.
    "overflow": dict(size=(24, 3, 2, 61, 24), batches=[(1, 8, 0.4)], deviation=0.75),
    "wide": dict(size=(40, 1, 1, 300, 80), fields=dict(n_inner=24), batches=[(2, 77, 0.1)]),
    "lora": dict(size=(24, 3, 2, 61, 24), batches=[(3, 17, 0)], lora=dict(rank=4, alpha=12, targets=["c_attn", "mlp.c_proj"])),
    "lora-untied-all": dict(
        size=(16, 2, 2, 61, 24), fields=dict(tie_word_embeddings=False), batches=[(2, 17, 0.2)],
        lora=dict(rank=3, alpha=3, targets=["c_attn", "c_proj", "c_fc"]),
    ),
}
CURVES = {"plain": ("fp32", "bf16", "fp16"), "untied-gelu-inner": ("fp32",), "relu-one-head-masked": ("fp32",), "lora": ("fp32",), "overflow": ("fp16",)}

# Of these there are curves only, many of each in reduced precision. Without a
# deviation the weights are those that transformers begins with.
MODELS |= {
    "curves/tiles": dict(size=(32, 2, 1, 61, 17), batches=[(4, 17, 0)], deviation=0.15),
    "curves/initial": dict(size=(32, 2, 2, 128, 48), batches=[(8, 48, 0)], deviation=None),
    "curves/wide": dict(size=(64, 4, 1, 128, 64), batches=[(3, 64, 0)], deviation=0.05),
    "curves/odd": dict(size=(40, 5, 2, 150, 33), batches=[(3, 33, 0.2)], deviation=0.06),
    "curves/gelu": dict(size=(48, 6, 2, 97, 40), batches=[(4, 40, 0)], deviation=0.05, fields=dict(activation_function="gelu")),
    "curves/quick-gelu": dict(size=(36, 4, 3, 90, 60), batches=[(2, 60, 0)], deviation=0.1, fields=dict(activation_function="quick_gelu")),
    "curves/tanh-two-batches": dict(size=(56, 7, 1, 100, 70), batches=[(2, 70, 0), (2, 50, 0.5)], deviation=0.08, fields=dict(activation_function="tanh")),
    "curves/silu-untied": dict(size=(32, 8, 2, 200, 21), batches=[(4, 21, 0)], deviation=0.08, fields=dict(activation_function="silu", tie_word_embeddings=False)),
    "curves/lora": dict(size=(32, 2, 2, 61, 30), batches=[(4, 30, 0)], deviation=0.12, lora=dict(rank=4, alpha=12, targets=["c_attn", "c_proj"])),
}


def build(name, attention="eager", ulp=0):
    spec = MODELS[name]
    embd, head, layer, vocab, positions = spec["size"]
    config = GPT2Config(
        n_embd=embd, n_head=head, n_layer=layer, vocab_size=vocab, n_positions=positions,
        bos_token_id=vocab - 1, eos_token_id=vocab - 1, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0, **spec.get("fields", {}),
    )
    torch.manual_seed(sum(name.encode()))
    model = GPT2LMHeadModel._from_config(config, attn_implementation=attention)
    deviation = spec.get("deviation", 0.25)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if deviation is None:
                continue
            if "ln_" in key and key.endswith("weight"):
                p.copy_(1 + 0.2 * torch.randn_like(p))
            else:
                p.copy_((0.3 if p.dim() == 1 else deviation) * torch.randn_like(p))
        g = torch.Generator().manual_seed(ulp)
        for p in model.parameters():
            if ulp:  # each number is the next one, the one before, or as it was
                p.view(torch.int32).add_(((torch.randint(3, p.shape, generator=g) - 1) * (p != 0)).int())
    return config, model


def adapted(model, spec):
    """The model with peft's adapter, B filled so that it does something."""
    if "lora" not in spec:
        return model
    from peft import LoraConfig, get_peft_model

    l = spec["lora"]
    model = get_peft_model(model, LoraConfig(r=l["rank"], lora_alpha=l["alpha"], target_modules=l["targets"], fan_in_fan_out=True, lora_dropout=0.0))
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lora_" in key:
                p.copy_(0.2 * torch.randn_like(p))
    return model


def data(spec, seed):
    g = torch.Generator().manual_seed(seed)
    out = []
    for rows, context, masked in spec["batches"]:
        tokens = torch.randint(spec["size"][3], (rows, context + 1), generator=g)
        labels = tokens[:, 1:].clone()
        labels[torch.rand(labels.shape, generator=g) < masked] = IGNORE
        out.append((tokens[:, :-1], labels))
    return out


def backward(model, batches, scale=lambda loss: loss):
    count = sum((labels >= 0).sum().item() for _, labels in batches)
    total = 0.0
    for tokens, labels in batches:
        logits = model(tokens).logits.float()
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="sum") / count
        scale(loss).backward()
        total += loss.item()
    return total


@contextlib.contextmanager
def cuda_lists():
    """Lets autocast on a CPU run in float32 what it does on CUDA: pow, and so what
    follows it in gelu_new, and softmax are in the list there, and not here."""
    half = (torch.bfloat16, torch.float16)
    gelu, softmax = NewGELUActivation.forward, nn.functional.softmax
    NewGELUActivation.forward = lambda self, x: 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x.float(), 3.0))))
    nn.functional.softmax = lambda x, *args, **more: softmax(x.float() if x.dtype in half else x, *args, **more)
    yield
    NewGELUActivation.forward, nn.functional.softmax = gelu, softmax


def trained(model):
    return {k.replace(".default", ""): p for k, p in model.named_parameters() if p.requires_grad}


def curve(name, precision, attention="eager", ulp=0):
    spec = MODELS[name]
    _, model = build(name, attention, ulp)
    model = adapted(model, spec)
    params = trained(model)
    groups = [
        dict(params=[p for p in params.values() if p.dim() > 1], weight_decay=HYPER["weight_decay"]),
        dict(params=[p for p in params.values() if p.dim() <= 1], weight_decay=0.0),
    ]
    opt = torch.optim.AdamW(groups, lr=HYPER["lr"], betas=(HYPER["beta1"], HYPER["beta2"]), eps=HYPER["epsilon"])
    scaler = torch.amp.GradScaler("cpu", enabled=precision == "fp16")
    losses, norms, scales = [], [], []
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    for step in range(100):
        opt.zero_grad()
        scales.append(scaler.get_scale())
        with torch.autocast("cpu", dtype=half or torch.bfloat16, enabled=half is not None):
            losses.append(backward(model, data(spec, step % 4), scaler.scale))
        scaler.unscale_(opt)
        norms.append(torch.nn.utils.clip_grad_norm_(params.values(), HYPER["clip"]).item())
        scaler.step(opt)
        scaler.update()
    norms = [n if n < float("inf") else None for n in norms]  # of steps that are skipped
    return dict(losses=losses, norms=norms, scales=scales)


def curves(name, precision):
    """What torch makes of a precision in ways of which none is the right one."""
    if precision == "fp32":
        return {precision: curve(name, precision)}
    first, other = ("sdpa", "eager") if precision == "fp16" else ("eager", "sdpa")
    found = {precision + "-cpu": curve(name, precision, first), precision + "-cpu-other": curve(name, precision, other)}
    with cuda_lists():
        found |= {precision: curve(name, precision, first), precision + "-other": curve(name, precision, other)}
        for ulp in 1, 2, 3, 4:
            found[f"{precision}-ulp{ulp}"] = curve(name, precision, first, ulp)
            found[f"{precision}-other-ulp{ulp}"] = curve(name, precision, other, 4 + ulp)
    found[precision + "-cpu-ulp"] = curve(name, precision, first, 9)
    return found


def half_gradients(name, precision, attention):
    """The first step's under autocast, as CUDA has it."""
    _, half = build(name, attention)
    scale = 65536 if precision == "fp16" else 1
    with cuda_lists(), torch.autocast("cpu", dtype={"bf16": torch.bfloat16, "fp16": torch.float16}[precision]):
        backward(half, data(MODELS[name], 0), lambda loss: loss * scale)
    return {k: p.grad / scale for k, p in trained(half).items()}


def make(name):
    spec = MODELS[name]
    folder = HERE / name
    folder.mkdir(exist_ok=True, parents=True)
    config, model = build(name)
    config.architectures = ["GPT2LMHeadModel"]
    (folder / "config.json").write_text(config.to_json_string())
    save_file({k: v.contiguous() for k, v in model.state_dict().items() if not (k == "lm_head.weight" and config.tie_word_embeddings)}, folder / "model.safetensors")
    model = adapted(model, spec)
    tensors = {}
    if "lora" in spec:
        tensors |= {"adapter." + k: p.detach().clone() for k, p in trained(model).items()}
    alone = name.startswith("curves/")
    batches = data(spec, 0)
    loss = backward(model, batches)
    if not alone:
        tensors |= {"grad." + k: p.grad for k, p in trained(model).items()}
    if name == "plain":
        for p in ("bf16", "fp16"):
            for attention in ("eager", "sdpa"):
                tensors |= {f"{p}.{attention}.{k}": g for k, g in half_gradients(name, p, attention).items()}
    if "lora" in spec and not alone:
        merged = model.merge_and_unload()
        tensors |= {"merged." + k: p.detach().clone() for k, p in merged.named_parameters() if "h.0." in k}
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "golden.safetensors")
    golden = dict(
        loss=loss, lora=spec.get("lora"), hyper=HYPER,
        steps=[[dict(rows=t.shape[0], tokens=t.flatten().tolist(), labels=l.flatten().tolist()) for t, l in data(spec, s)] for s in range(4)],
        curves={},
    )
    for p in ("fp32", "bf16", "fp16") if alone else CURVES.get(name, ()):
        golden["curves"] |= curves(name, p)
    if alone:
        golden["curves"] = {k: dict(losses=[round(v, 7) for v in c["losses"]]) for k, c in golden["curves"].items()}
    (folder / "golden.json").write_text(json.dumps(golden))


def scaler():
    """GradScaler's state over a sequence of good and bad steps."""
    s = torch.amp.GradScaler("cpu")
    p = torch.zeros(1, requires_grad=True)
    opt = torch.optim.SGD([p], lr=0.0)
    bad = {0, 1, 5, 2004, 2005, 4010, 6500, 6501, 6502}
    states = []
    for step in range(9000):
        p.grad = torch.full((1,), float("inf" if step in bad else 1))
        s.scale(torch.ones(1))
        s.step(opt)
        s.update()
        d = s.state_dict()
        if not states or states[-1][1] != d["scale"] or step in bad or step % 500 == 0:
            states.append([step, d["scale"], d["_growth_tracker"]])
    (HERE / "scaler.json").write_text(json.dumps(dict(steps=9000, bad=sorted(bad), states=states)))


torch.set_num_threads(1)
names = sys.argv[1:] or list(MODELS) + ["scaler"]
for n in names:
    scaler() if n == "scaler" else make(n)
    print(n)
