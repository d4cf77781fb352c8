"""Writes the fixtures beside it: a tiny random GPT-2 in base/, adapters for it as
peft saves them, one folder each, and in golden.safetensors the logits [tokens]
[vocab] that peft gives for the tokens 0, 5, 10 … with each of them. The folders
below refused/ have only a configuration.

    python make_fixtures.py        (torch, transformers, peft, safetensors)

Random numbers and settings, no text and no weights of others: there is nothing
in these files that a licence would apply to.
"""
import os
import shutil
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

warnings.filterwarnings("ignore")
here = os.path.dirname(os.path.abspath(__file__))

CASES = {
    "attention": dict(r=4, lora_alpha=8, target_modules=["c_attn"], fan_in_fan_out=True),
    "all-linear": dict(r=2, lora_alpha=7, target_modules="all-linear", lora_dropout=0.1),
    "rank-stabilised": dict(
        r=3, lora_alpha=5, use_rslora=True, target_modules=["c_proj", "c_fc"],
        rank_pattern={"h.1.attn.c_proj": 2, "c_fc": 4, r"h\.[02]\.mlp\.c_fc": 1},
        alpha_pattern={r"attn\.c_proj": 11, "mlp.c_proj": 2}),
    "layers": dict(r=2, lora_alpha=4, target_modules=["c_attn", "mlp.c_proj"], layers_to_transform=[0, 2], layers_pattern="h"),
    "layer": dict(r=2, lora_alpha=4, target_modules=["c_proj"], layers_to_transform=1, exclude_modules=["mlp.c_proj"]),
    "expression": dict(r=2, lora_alpha=4, target_modules=r".*\.h\.(0|2)\.(attn\.c_attn|mlp\.c_fc)"),
    "lookahead": dict(r=2, lora_alpha=4, target_modules=r".*\.h\.(?!0).*\.c_fc"),
    "head": dict(r=2, lora_alpha=4, target_modules=["c_attn", "lm_head"]),
    "half": dict(r=2, lora_alpha=4, target_modules=["c_attn"]),
}
REFUSED = {
    "dora": dict(use_dora=True),
    "bias": dict(bias="lora_only"),
    "saved-module": dict(modules_to_save=["ln_f"]),
    "embedding": dict(target_modules=["wte"]),
    "pissa": dict(init_lora_weights="pissa"),
    "lora-bias": dict(lora_bias=True),
    "tokens": dict(trainable_token_indices=[1, 2]),
}


def base():
    return GPT2LMHeadModel.from_pretrained(os.path.join(here, "base")).eval()


def save(model, to):
    shutil.rmtree(to, ignore_errors=True)
    model.peft_config["default"].base_model_name_or_path = "base"
    model.save_pretrained(to)
    readme = os.path.join(to, "README.md")
    if os.path.exists(readme):
        os.remove(readme)


def main():
    torch.manual_seed(1)
    config = GPT2Config(vocab_size=48, n_positions=16, n_embd=32, n_layer=3, n_head=2, n_inner=64, initializer_range=0.3,
                        bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    shutil.rmtree(os.path.join(here, "base"), ignore_errors=True)
    model.save_pretrained(os.path.join(here, "base"))
    ids = torch.tensor([[i * 5 % 48 for i in range(12)]])
    golden = {}
    with torch.no_grad():
        golden["base"] = base()(ids).logits[0]
        for i, (name, settings) in enumerate(CASES.items()):
            to = os.path.join(here, name)
            model = get_peft_model(base(), LoraConfig(task_type="CAUSAL_LM", **settings))
            random = torch.Generator().manual_seed(i)
            for part, weight in model.named_parameters():
                if "lora_" in part:
                    weight.data.normal_(0, 0.3, generator=random)
            save(model, to)
            if name == "half":
                file = os.path.join(to, "adapter_model.safetensors")
                save_file({k: v.half() for k, v in load_file(file).items()}, file, {"format": "pt"})
            golden[name] = PeftModel.from_pretrained(base(), to).eval()(ids).logits[0]
    save_file({k: v.contiguous() for k, v in golden.items()}, os.path.join(here, "golden.safetensors"))
    for name, settings in REFUSED.items():
        to = os.path.join(here, "refused", name)
        save(get_peft_model(base(), LoraConfig(task_type="CAUSAL_LM", **{"target_modules": ["c_attn"], **settings})), to)
        if name != "embedding":  # all that is wrong with the others is in the configuration
            os.remove(os.path.join(to, "adapter_model.safetensors"))


main()
