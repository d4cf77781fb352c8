"""Makes the goldens of the generation package in this folder from
transformers: what its logits processors do to given scores, whole runs of
`generate` with processors on, and where stop strings end a text. README.md
explains the formats.

    HF_HUB_OFFLINE=1 python make_goldens.py

Made with torch 2.15.0 and transformers 5.23.0; a second run gives the same bytes.
"""

import json
import math
import os
import pathlib
import zlib

import numpy
import torch
import transformers
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, LogitsProcessor, LogitsProcessorList
from transformers import PreTrainedTokenizerFast, StopStringCriteria
from transformers.generation import logits_process as lp

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODELS = ROOT / "internal" / "gpt2" / "testdata"
DEMO = pathlib.Path(os.environ.get("DEMO", "demo"))  # gptctl convert demo --out demo --dtype f32
VOCAB = 40
INF = float("inf")


def generator(*key):
    return torch.Generator().manual_seed(zlib.crc32(repr(key).encode()))


def number(x):
    """Shortest JSON for a float32: null is -Infinity, the rest by name."""
    if x == -INF:
        return None
    if x == INF:
        return "Infinity"
    if math.isnan(x):
        return "NaN"
    return float(str(numpy.float32(x)))


def numbers(tensor):
    return [number(x) for x in tensor.tolist()]


def write(name, cases):
    head = json.dumps(dict(torch="2.15.0", transformers=transformers.__version__))
    body = ",\n    ".join(json.dumps(c) for c in cases)
    (HERE / name).write_text(f'{{\n  "made_with": {head},\n  "cases": [\n    {body}\n  ]\n}}\n')
    print(f"{name}: {len(cases)} cases, {(HERE / name).stat().st_size} bytes")


# --- processors -------------------------------------------------------------


def hf_config(settings):
    settings = dict(settings)
    if "exponential_decay_length_penalty" in settings:
        settings["exponential_decay_length_penalty"] = tuple(settings["exponential_decay_length_penalty"])
    return GenerationConfig(**settings)


TINY = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_positions=64, n_embd=4, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)).eval()


def processors(settings, prompt_length):
    """The list that generate would build."""
    config = hf_config(settings)
    TINY._prepare_special_tokens(config, kwargs_has_attention_mask=True, device="cpu")
    if config.max_new_tokens is not None:
        config.max_length = prompt_length + config.max_new_tokens
    return TINY._get_logits_processor(config, input_ids_seq_length=prompt_length, device="cpu", model_kwargs={})


def process(settings, ids, prompt_length, scores):
    return processors(settings, prompt_length)(torch.tensor([ids]), scores[None].clone())[0]


def random_scores(key, scale=1.5, vocab=VOCAB):
    """Normal scores, rounded to 1/256 so that they are short and exact."""
    return torch.round(scale * torch.randn(vocab, generator=generator("scores", key)) * 256) / 256


def random_ids(key, n=10, vocab=VOCAB):
    return torch.randint(0, vocab, (n,), generator=generator("ids", key)).tolist()


def processor_case(name, settings, ids=None, prompt_length=6, scores=None, direct=None, check=True):
    ids = random_ids(name) if ids is None else ids
    scores = random_scores(name) if scores is None else torch.as_tensor(scores, dtype=torch.float32)
    got = process(settings, ids, prompt_length, scores)
    if direct is not None:  # the class itself, called without generate's list
        alone = direct(torch.tensor([ids]), scores[None].clone())[0]
        assert torch.equal(alone, got) or numbers(alone) == numbers(got), name
    if check:  # no mask may hang on the last bit
        exact = process(settings, ids, prompt_length, scores.double())
        assert torch.equal(exact == -INF, got == -INF), f"{name}: float64 masks other tokens"
        for seed in range(3):
            noise = torch.randn(scores.shape, generator=generator("noise", seed))
            noise = torch.where(torch.tensor([scores.tolist().count(s) > 1 for s in scores.tolist()]), 0.0, noise)
            near = process(settings, ids, prompt_length, scores + 1e-5 * noise)
            assert torch.equal(near == -INF, got == -INF), f"{name}: a tie"
    return dict(
        name=name,
        settings=settings,
        input_ids=ids,
        prompt_length=prompt_length,
        scores=numbers(scores),
        processed=numbers(got),
    )


def sample(**settings):
    return dict(do_sample=True) | settings


def processor_cases():
    case, out = processor_case, []

    def add(*args, **kw):
        out.append(case(*args, **kw))

    add("nothing", dict())
    add("nothing, sampling", sample())
    # Warpers: only with do_sample.
    for t in (0.1, 0.7, 1.0, 1.5, 100.0):
        add(f"temperature {t}", sample(temperature=t), direct=lp.TemperatureLogitsWarper(t) if t != 1.0 else None)
    add("temperature without do_sample does nothing", dict(do_sample=False, temperature=0.5))
    for k in (1, 2, 5, 39, 40, 1000):
        add(f"top_k {k}", sample(top_k=k), direct=lp.TopKLogitsWarper(k))
    add("top_k 0 does nothing", sample(top_k=0))
    tied = [1.0] * 4 + [2.0] * 3 + [0.5] * 3 + [-1.0] * 30
    add("top_k 5 with ties at the border", sample(top_k=5), scores=tied, direct=lp.TopKLogitsWarper(5))
    add("top_k 2 with ties at the top", sample(top_k=2), scores=tied, direct=lp.TopKLogitsWarper(2))
    add("top_k 7 with the tie just inside", sample(top_k=7), scores=tied, direct=lp.TopKLogitsWarper(7))
    for p in (0.001, 0.1, 0.5, 0.9, 0.95, 0.999):
        add(f"top_p {p}", sample(top_p=p), direct=lp.TopPLogitsWarper(p))
    add("top_p 1.0 does nothing", sample(top_p=1.0))
    add("top_p 0.0 keeps one", sample(top_p=0.0), direct=lp.TopPLogitsWarper(0.0))
    peaked = [0.0] * VOCAB
    peaked[7] = 30.0
    add("top_p 0.9, all mass on one", sample(top_p=0.9), scores=peaked)
    for p in (0.0, 0.02, 0.1, 0.5, 1.0):
        add(f"min_p {p}", sample(min_p=p), direct=lp.MinPLogitsWarper(p))
    add("min_p 1.0 with ties at the top", sample(min_p=1.0), scores=tied, check=False)
    for p in (0.05, 0.2, 0.5, 0.9, 0.99):
        add(f"typical_p {p}", sample(typical_p=p), direct=lp.TypicalLogitsWarper(p))
    add("typical_p 1.0 does nothing", sample(typical_p=1.0))
    for e in (3e-4, 0.01, 0.1, 0.9):
        add(f"epsilon_cutoff {e}", sample(epsilon_cutoff=e), direct=lp.EpsilonLogitsWarper(e))
        add(f"eta_cutoff {e}", sample(eta_cutoff=e), direct=lp.EtaLogitsWarper(e))
    add("epsilon_cutoff 0.0 does nothing", sample(epsilon_cutoff=0.0))
    for h in (0.01, 0.3, 0.6, 0.9):
        add(f"top_h {h}", sample(top_h=h), direct=lp.TopHLogitsWarper(h))
    wide = random_scores("top_h wide", vocab=VOCAB)
    add("top_h 0.4 on flat scores", sample(top_h=0.4), scores=(wide / 8 * 256).round() / 256)
    # With beams generate keeps at least (number of end tokens + 1), or 2.
    add("top_k 1 with beams keeps 2", sample(top_k=1, num_beams=2), direct=lp.TopKLogitsWarper(1, min_tokens_to_keep=2))
    beams = dict(num_beams=3, eos_token_id=[4, 9])
    for key, value, cls in (
        ("top_k", 1, lp.TopKLogitsWarper),
        ("top_p", 0.01, lp.TopPLogitsWarper),
        ("min_p", 1.0, lp.MinPLogitsWarper),
        ("typical_p", 0.01, lp.TypicalLogitsWarper),
        ("epsilon_cutoff", 0.95, lp.EpsilonLogitsWarper),
        ("eta_cutoff", 0.95, lp.EtaLogitsWarper),
    ):
        add(f"{key} {value} with beams and 2 end tokens keeps 3", sample(**{key: value}, **beams), direct=cls(value, min_tokens_to_keep=3))
    # All but one token masked before the warper sees them.
    only = [-INF] * VOCAB
    only[11] = -2.5
    for key, value in (("top_k", 3), ("top_p", 0.5), ("min_p", 0.5), ("typical_p", 0.5), ("epsilon_cutoff", 0.5), ("eta_cutoff", 0.5)):
        add(f"{key} {value}, all but one masked", sample(**{key: value}), scores=only, check=False)

    # Processors: with and without do_sample.
    repeated = [3, 7, 7, 1, 0, 39, 3, 12, 7, 3]
    for r in (0.5, 1.2, 2.0):
        add(f"repetition_penalty {r}", dict(repetition_penalty=r), ids=repeated, direct=lp.RepetitionPenaltyLogitsProcessor(r))
    add("repetition_penalty 1.5, all scores negative", dict(repetition_penalty=1.5), ids=repeated, scores=-random_scores("neg").abs() - 1 / 256)
    add("repetition_penalty 1.5, all scores positive", dict(repetition_penalty=1.5), ids=repeated, scores=random_scores("pos").abs() + 1 / 256)
    add("repetition_penalty 1.5, score zero and -Infinity", dict(repetition_penalty=1.5), ids=repeated, scores=[0.0, -INF, 1.0, -INF] * 10)
    for n in (1, 2, 3, 5):
        add(f"no_repeat_ngram_size {n}", dict(no_repeat_ngram_size=n), ids=[5, 6, 7, 5, 6, 8, 5, 6], direct=lp.NoRepeatNGramLogitsProcessor(n))
    add("no_repeat_ngram_size 3, two follow-ups", dict(no_repeat_ngram_size=3), ids=[1, 2, 3, 1, 2, 4, 9, 1, 2])
    add("no_repeat_ngram_size 4, fewer tokens than that", dict(no_repeat_ngram_size=4), ids=[1, 2], prompt_length=2)
    add("no_repeat_ngram_size 4, exactly 3 tokens", dict(no_repeat_ngram_size=4), ids=[1, 2, 3], prompt_length=2)
    add("no_repeat_ngram_size 2, overlapping run", dict(no_repeat_ngram_size=2), ids=[8, 8, 8], prompt_length=2)
    add("bad_words_ids, single", dict(bad_words_ids=[[3], [17]]), direct=lp.NoBadWordsLogitsProcessor([[3], [17]]))
    multi = [[3], [12, 4], [7, 3, 5], [9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]]
    add("bad_words_ids, one of two matches", dict(bad_words_ids=multi), ids=repeated)
    add("bad_words_ids, prefix crosses the prompt's end", dict(bad_words_ids=multi), ids=[1, 7, 3], prompt_length=2)
    add("bad_words_ids, two share a last token", dict(bad_words_ids=[[3, 5], [7, 3, 5], [5, 3]]), ids=repeated)
    add("bad_words_ids, the end token alone is not banned", dict(bad_words_ids=[[4], [5], [3, 4]], eos_token_id=4), ids=repeated)
    add("suppress_tokens", dict(suppress_tokens=[0, 5, 39]), direct=lp.SuppressTokensLogitsProcessor([0, 5, 39]))
    add("begin_suppress_tokens, first step", dict(begin_suppress_tokens=[2, 3]), ids=random_ids("b", 6))
    add("begin_suppress_tokens, second step", dict(begin_suppress_tokens=[2, 3]), ids=random_ids("b", 7))
    add("begin_suppress_tokens with forced_bos and a prompt of one, first step", dict(begin_suppress_tokens=[2, 3], forced_bos_token_id=6), ids=[9], prompt_length=1)
    add("begin_suppress_tokens with forced_bos and a prompt of one, second step", dict(begin_suppress_tokens=[2, 3], forced_bos_token_id=6), ids=[9, 6], prompt_length=1)
    for n in (9, 10, 11, 12):
        add(f"min_length {n} with 10 tokens", dict(min_length=n, eos_token_id=4))
    for n in (3, 4, 5):
        add(f"min_new_tokens {n} after 4 new", dict(min_new_tokens=n, eos_token_id=[4, 30]))
    add("min_new_tokens without an end token", dict(min_new_tokens=9))
    add("min_length 11 and min_new_tokens 2", dict(min_length=11, min_new_tokens=2, eos_token_id=4))
    for at in ((3, 1.5), (4, 1.5), (5, 1.5), (0, 1.05), (0, 0.9)):
        add(f"exponential_decay_length_penalty {at} after 4 new", dict(exponential_decay_length_penalty=at, eos_token_id=[4, 6]))
    low = random_scores("decay")
    low[4] = -INF
    add("exponential_decay_length_penalty on a masked end token", dict(exponential_decay_length_penalty=(0, 2.0), eos_token_id=[4, 6]), scores=low)
    add("sequence_bias", dict(sequence_bias=[[[3], 1.5], [[12], -4.0], [[7, 3, 5], 10.0], [[3, 5], 0.25], [[8, 5], 7.0]]), ids=repeated)
    add("sequence_bias -Infinity by bad words and bias", dict(sequence_bias=[[[3], 2.5]], bad_words_ids=[[3], [7]]), ids=repeated)
    add("forced_bos_token_id, length 1", dict(forced_bos_token_id=8), ids=[2], prompt_length=1)
    add("forced_bos_token_id, length 2", dict(forced_bos_token_id=8), ids=[2, 8], prompt_length=1)
    add("forced_eos_token_id, last step", dict(forced_eos_token_id=8, max_length=11))
    add("forced_eos_token_id, two ends, last step", dict(forced_eos_token_id=[8, 9], max_length=11))
    add("forced_eos_token_id, not yet", dict(forced_eos_token_id=8, max_length=12))
    add("forced_eos_token_id, last of max_new_tokens", dict(forced_eos_token_id=8, max_new_tokens=5))
    bad = random_scores("invalid")
    bad[1], bad[2], bad[3] = float("nan"), INF, -INF
    add("remove_invalid_values", dict(remove_invalid_values=True), scores=bad, check=False)
    add("renormalize_logits", dict(renormalize_logits=True), direct=lp.LogitNormalization())
    add("renormalize_logits after top_k", sample(top_k=4, renormalize_logits=True))

    # Several at once: the order matters.
    ordered = [
        ("temperature, top_k, top_p", sample(temperature=0.8, top_k=12, top_p=0.9)),
        ("temperature before top_p", sample(temperature=2.0, top_p=0.7)),
        ("temperature before min_p", sample(temperature=3.0, min_p=0.2)),
        ("temperature before top_h", sample(temperature=2.5, top_h=0.6)),
        ("temperature before epsilon_cutoff", sample(temperature=2.0, epsilon_cutoff=0.02)),
        ("top_k before top_p", sample(top_k=8, top_p=0.8)),
        ("top_k before min_p before typical_p", sample(top_k=15, min_p=0.05, typical_p=0.8)),
        ("top_p before typical_p", sample(top_p=0.9, typical_p=0.6)),
        ("top_h before top_k", sample(top_h=0.7, top_k=6)),
        ("min_p before typical_p before epsilon_cutoff before eta_cutoff", sample(min_p=0.05, typical_p=0.9, epsilon_cutoff=0.03, eta_cutoff=0.1)),
        ("epsilon_cutoff before eta_cutoff", sample(epsilon_cutoff=0.04, eta_cutoff=0.3)),
        ("sequence_bias before repetition_penalty", dict(sequence_bias=[[[3], -6.0], [[7], 6.0]], repetition_penalty=1.5)),
        ("sequence_bias before exponential_decay", dict(sequence_bias=[[[4], 3.0]], exponential_decay_length_penalty=(1, 1.4), eos_token_id=[4, 6])),
        ("repetition_penalty before exponential_decay", dict(repetition_penalty=1.5, exponential_decay_length_penalty=(1, 1.4), eos_token_id=[3])),
        ("bad_words_ids before remove_invalid_values before suppress_tokens", dict(remove_invalid_values=True, suppress_tokens=[2], bad_words_ids=[[5]])),
        ("forced_eos before suppress_tokens", dict(forced_eos_token_id=[8, 9], max_length=11, suppress_tokens=[8])),
    ]  # fmt: skip
    for name, settings in ordered:
        for attempt in range(200):
            scores = random_scores((name, attempt))
            listed = processors(settings, 6)
            swapped = LogitsProcessorList(reversed(listed))
            a, b = (x(torch.tensor([repeated]), scores[None].clone())[0] for x in (listed, swapped))
            if not torch.allclose(a, b, atol=1e-3):  # the order must show
                try:
                    add(name, settings, ids=repeated, scores=scores)
                    break
                except AssertionError:
                    continue
        else:
            raise AssertionError(name)
    add("repetition_penalty and temperature", sample(repetition_penalty=1.7, temperature=0.6), ids=repeated)
    add("min_new_tokens and exponential_decay", dict(min_new_tokens=9, exponential_decay_length_penalty=(1, 1.4), eos_token_id=[4, 6]))
    add("forced_eos and suppress_tokens", dict(forced_eos_token_id=8, max_length=11, suppress_tokens=[9]))
    everything = dict(
        sequence_bias=[[[3], 1.0], [[7, 3, 20], 3.0]],
        repetition_penalty=1.3,
        no_repeat_ngram_size=2,
        bad_words_ids=[[13], [3, 21]],
        min_new_tokens=8,
        eos_token_id=[4, 6],
        remove_invalid_values=True,
        exponential_decay_length_penalty=(2, 1.1),
        suppress_tokens=[1, 2],
        begin_suppress_tokens=[5],
        temperature=0.9,
        top_h=0.95,
        top_k=20,
        top_p=0.97,
        min_p=0.001,
        typical_p=0.98,
        epsilon_cutoff=0.001,
        eta_cutoff=0.001,
        renormalize_logits=True,
    )
    for i in range(4):
        for attempt in range(50):
            key = f"everything {i} {attempt}"
            try:
                add(f"everything {i}", sample(**everything), ids=repeated, scores=random_scores(key, scale=1.0 + i))
                break
            except AssertionError:
                continue
        else:
            raise AssertionError("everything")
    greedy_set = {k: v for k, v in everything.items() if k not in ("temperature", "top_h", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")}
    add("everything without warpers", greedy_set, ids=repeated)
    return out + generated_cases()


def load(name):
    folder = DEMO if name == "demo" else MODELS / name
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    bos = model.config.bos_token_id
    model.generation_config = GenerationConfig(bos_token_id=bos, eos_token_id=None, pad_token_id=0)
    return model


def generate(model, ids, settings, extra=(), **kw):
    config = hf_config(settings | dict(pad_token_id=0, return_dict_in_generate=True, output_scores=True, output_logits=True))
    if not ids:
        return model.generate(generation_config=config, logits_processor=LogitsProcessorList(extra), **kw)
    inputs = torch.tensor([ids])
    return model.generate(inputs, attention_mask=torch.ones_like(inputs), generation_config=config, logits_processor=LogitsProcessorList(extra), **kw)


def generated_cases():
    """Scores before and after, as they pass through generate itself."""
    model, out = load("plain"), []
    runs = {
        "warpers": sample(temperature=1.4, top_k=20, top_p=0.9, min_p=0.01, typical_p=0.95, max_new_tokens=3),
        "penalties": sample(top_k=0, temperature=0.7, repetition_penalty=1.4, no_repeat_ngram_size=2, bad_words_ids=[[5], [30, 7]], max_new_tokens=3),
        "top_k is 50 unless set": sample(max_new_tokens=1),
        "ends": sample(top_k=0, min_new_tokens=2, eos_token_id=[60, 2], exponential_decay_length_penalty=[1, 1.5], suppress_tokens=[9], begin_suppress_tokens=[10], max_new_tokens=4, forced_eos_token_id=60),
        "cutoffs": sample(top_k=0, epsilon_cutoff=0.002, eta_cutoff=0.004, top_h=0.9, renormalize_logits=True, max_new_tokens=3),
    }
    for name, settings in runs.items():
        prompt = random_ids(("generate", name), 7, 61)
        torch.manual_seed(7)
        run = generate(model, prompt, settings)
        row = run.sequences[0].tolist()
        shown = dict(settings)
        if "top_k" not in shown:
            shown["top_k"] = 50
        for step, (before, after) in enumerate(zip(run.logits, run.scores)):
            out.append(
                dict(
                    name=f"generate: {name}, step {step}",
                    settings=shown,
                    input_ids=row[: len(prompt) + step],
                    prompt_length=len(prompt),
                    scores=numbers(before[0]),
                    processed=numbers(after[0]),
                )
            )
    return out


# --- whole runs -------------------------------------------------------------


class Noise(LogitsProcessor):
    def __init__(self, seed):
        self.g = generator("noise", seed)

    def __call__(self, input_ids, scores):
        finite = torch.where(scores.isfinite(), scores, 0.0).abs().amax()
        return scores + 5e-5 * finite * torch.randn(scores.shape, generator=self.g)


def continuation(row, n, settings):
    """New tokens, cut after the first end token."""
    row, ends = row[n:], settings.get("eos_token_id", [])
    ends = ends if isinstance(ends, list) else [ends]
    for i, t in enumerate(row):
        if t in ends:
            return row[: i + 1]
    return row


def run_case(name, model_name, model, settings, ids, **kw):
    """A deterministic run, or None if nearby ties make it a coin toss."""
    base = generate(model, ids, settings, **kw)
    rows = [continuation(r, len(ids) or 1, settings) for r in base.sequences.tolist()]
    for seed in range(4):
        other = generate(model, ids, settings, [Noise(seed)], **kw)
        if [continuation(r, len(ids) or 1, settings) for r in other.sequences.tolist()] != rows:
            return None
    out = dict(name=name, model=model_name, settings=settings, input_ids=ids, sequences=rows)
    if getattr(base, "sequences_scores", None) is not None:
        out["scores"] = [round(s, 6) for s in base.sequences_scores.tolist()]
    return out


def run_cases():
    out = []
    plans = [
        ("plain", "max_length", dict(max_length=30)),
        ("plain", "max_new_tokens comes before max_length", dict(max_new_tokens=12, max_length=100)),
        ("plain", "max_length 21 with a prompt of 7", dict(max_length=21)),
        ("plain", "repetition_penalty", dict(max_new_tokens=40, repetition_penalty=1.3)),
        ("plain", "repetition_penalty below 1", dict(max_new_tokens=40, repetition_penalty=0.8)),
        ("plain", "no_repeat_ngram_size 2", dict(max_new_tokens=40, no_repeat_ngram_size=2)),
        ("plain", "no_repeat_ngram_size 3", dict(max_new_tokens=60, no_repeat_ngram_size=3)),
        ("plain", "no_repeat_ngram_size 1", dict(max_new_tokens=20, no_repeat_ngram_size=1)),
        ("plain", "bad_words_ids", dict(max_new_tokens=40, bad_words_ids="seen")),
        ("plain", "suppress_tokens", dict(max_new_tokens=40, suppress_tokens="seen")),
        ("plain", "begin_suppress_tokens", dict(max_new_tokens=40, begin_suppress_tokens="seen")),
        ("plain", "eos", dict(max_new_tokens=40, eos_token_id="seen")),
        ("plain", "eos list", dict(max_new_tokens=40, eos_token_id="seen list")),
        ("plain", "min_new_tokens", dict(max_new_tokens=40, min_new_tokens=20, eos_token_id="seen")),
        ("plain", "min_length", dict(max_new_tokens=40, min_length=20, eos_token_id="seen list")),
        ("plain", "forced_eos_token_id", dict(max_new_tokens=10, forced_eos_token_id=3)),
        ("plain", "sequence_bias", dict(max_new_tokens=30, sequence_bias=[[[5], 2.0], [[6], -2.0]])),
        ("plain", "exponential_decay_length_penalty", dict(max_new_tokens=40, exponential_decay_length_penalty=[5, 1.2], eos_token_id="seen")),
        ("plain", "many", dict(max_new_tokens=40, repetition_penalty=1.2, no_repeat_ngram_size=3, bad_words_ids="seen", suppress_tokens=[60], min_new_tokens=8, eos_token_id="seen list")),
        ("plain", "warpers without do_sample", dict(max_new_tokens=20, temperature=0.3, top_k=2, top_p=0.5)),
        ("plain", "beams, no_repeat_ngram_size", dict(max_new_tokens=20, num_beams=3, no_repeat_ngram_size=2, num_return_sequences=2)),
        ("plain", "beams, repetition_penalty", dict(max_new_tokens=20, num_beams=2, repetition_penalty=1.3, num_return_sequences=2)),
        ("plain", "beams, bad words, min_new_tokens, end list", dict(max_new_tokens=20, num_beams=4, bad_words_ids="seen", min_new_tokens=4, eos_token_id="seen list", num_return_sequences=3)),
        ("plain", "beams, renormalize_logits", dict(max_new_tokens=16, num_beams=3, suppress_tokens="seen", renormalize_logits=True, num_return_sequences=3)),
        ("chat-3L64d-plain", "repetition_penalty, no_repeat_ngram_size", dict(max_new_tokens=60, repetition_penalty=1.15, no_repeat_ngram_size=4)),
        ("chat-3L64d-plain", "end token", dict(max_new_tokens=60, eos_token_id="seen")),
        ("capp-gpt", "end token of its config", dict(max_new_tokens=60, eos_token_id=51)),
        ("demo", "no_repeat_ngram_size 3", dict(max_new_tokens=60, no_repeat_ngram_size=3)),
        ("demo", "repetition_penalty", dict(max_new_tokens=60, repetition_penalty=1.2)),
        ("demo", "beams, no_repeat_ngram_size", dict(max_new_tokens=24, num_beams=4, no_repeat_ngram_size=3, num_return_sequences=2)),
    ]  # fmt: skip
    models = {}
    for model_name, name, plan in plans:
        model = models.setdefault(model_name, None) or load(model_name)
        models[model_name] = model
        for attempt in range(200):
            ids = random_ids(("run", model_name, name, attempt), 7, model.config.vocab_size)
            if name == "end token of its config":
                ids = [49, 2, 8, 14, 17, 22, 25][: 7 - attempt % 3]
            settings = dict(do_sample=False) | plan
            free = {k: v for k, v in settings.items() if not (isinstance(v, str) and v.startswith("seen"))}
            if "eos_token_id" not in free:
                free.pop("exponential_decay_length_penalty", None)
            row = generate(model, ids, free).sequences[0].tolist()[len(ids) :]
            seen = [t for t in dict.fromkeys(row) if t != row[0]]
            if len(seen) < 3 and any(isinstance(v, str) for v in plan.values()):
                continue
            first = {"bad_words_ids": [[seen[0]], [row[0], seen[1]]] if len(seen) > 1 else None, "suppress_tokens": seen[:2], "begin_suppress_tokens": [row[0]]}
            for key, value in plan.items():
                if value == "seen":
                    settings[key] = first.get(key, seen[-1] if key == "eos_token_id" else None)
                elif value == "seen list":
                    settings[key] = [seen[-1], seen[1]]
            case = run_case(name, model_name, model, settings, ids)
            if case is None:
                continue
            ends = settings.get("eos_token_id")
            if ends is not None and "beams" not in name:
                if case["sequences"][0][-1] not in (ends if isinstance(ends, list) else [ends]):
                    continue
            if free != settings and case["sequences"][0] == row:
                continue
            out.append(case)
            break
        else:
            raise AssertionError(f"{model_name}: {name}")
    model = models["demo"]
    for new in (30, 20, 12, 6, 3):  # until it meets a tie
        empty = run_case("empty prompt: starts from bos", "demo", model, dict(do_sample=False, max_new_tokens=new, bos_token_id=4095), [])
        if empty:
            return out + [empty]
    raise AssertionError("the empty prompt meets a tie")


# --- stop strings -----------------------------------------------------------


def stop_cases():
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(DEMO / "tokenizer.json"))
    out = []
    texts = [
        ("a token of its own", " the", "It was the end of the day"),
        ("crosses token borders", "the end of", "It was the end of the day"),
        ("ends inside a token", "It was th", "It was the end of the day"),
        ("starts and ends inside tokens", "as the e", "It was the end of the day"),
        ("one letter", "e", "It was the end of the day"),
        ("not there", "night", "It was the end of the day"),
        ("upper case is another string", "THE END", "It was the end of the day"),
        ("two, the later in the list first in the text", ["day", "was"], "It was the end of the day"),
        ("two that overlap", ["end of", "the end"], "It was the end of the day"),
        ("the whole text", "It was", "It was the end of the day"),
        ("longer than the text", "It was the end of the day and more", "It was the end of the day"),
        ("newlines", "\n\n", "One line.\nTwo lines.\n\nA new paragraph."),
        ("newline", "\n", "One line.\nTwo lines.\n\nA new paragraph."),
        ("repeated start", "aab", "xaaaab"),
        ("self-overlapping", "abab", "abaabab ababab"),
        ("two bytes a letter", "é", "le café noir"),
        ("many bytes, many tokens", "日本", "in 日本語 text"),
        ("the second half of a letter is not the letter", "本", "日語 本"),
        ("emoji with a joiner", "👩‍🚀", "an astronaut 👩‍🚀 flies"),
        ("half of a joined emoji", "👩", "an astronaut 👩‍🚀 flies"),
        ("quotes", '."', 'He said "no." Then he left.'),
        ("leading space counts", " end", "the endend end"),
        ("special token's text", "<|endoftext|>", "done<|endoftext|>more"),
    ]
    for name, stop, text in texts:
        stops = [stop] if isinstance(stop, str) else stop
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        criterion = StopStringCriteria(tokenizer=tokenizer, stop_strings=stops)
        stopped = [criterion(torch.tensor([ids[: n + 1]]), None)[0].item() for n in range(len(ids))]
        out.append(
            dict(
                name=name,
                stop_strings=stops,
                text=text,
                ids=ids,
                stops_after=stopped.index(True) + 1 if True in stopped else None,
                stopped=stopped,
            )
        )
    model = load("demo")
    runs = stop_runs(model, tokenizer)
    for name, prompt, stops in runs:
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        config = GenerationConfig(do_sample=False, max_new_tokens=40, pad_token_id=0, stop_strings=stops)
        inputs = torch.tensor([ids])
        row = model.generate(inputs, attention_mask=torch.ones_like(inputs), generation_config=config, tokenizer=tokenizer)[0].tolist()[len(ids) :]
        out.append(
            dict(name=name, stop_strings=stops, prompt=prompt, ids=ids, max_new_tokens=40, tokens=row, continuation=tokenizer.decode(row, clean_up_tokenization_spaces=False))
        )
    return out


def stop_runs(model, tokenizer):
    """Names, prompts and stop strings, out of what the model writes."""
    paths = []
    for prompt in ("It was a dark", "In the beginning", "The captain of the ship", "My dear Emma,", "There was no doubt that", "When the whale"):
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        got = generate(model, ids, dict(do_sample=False, max_new_tokens=40))
        tops = [(logits[0].topk(2).values, logits.abs().max()) for logits in got.logits]
        if min((top[0] - top[1]) / most for top, most in tops) >= 1e-3:
            paths.append((prompt, [tokenizer.decode(t) for t in got.sequences[0].tolist()[len(ids) :]]))
    assert len(paths) >= 2, "too many prompts meet a tie"
    (first, a), (second, b) = paths[:2]

    def at(pieces, wanted):  # the first place after the beginning where pieces are long enough
        return next(i for i in range(2, 30) if all(len(p.strip()) >= n for p, n in zip(pieces[i:], wanted)))

    i, j, k = at(a, (2, 2)), at(a, (1, 3)), at(b, (2, 3))
    later = b[k] + b[k + 1]
    return [
        ("generate: crosses token borders", first, [a[i][-1] + a[i + 1]]),
        ("generate: begins in the prompt", first, [first[-4:] + a[0] + a[1]]),
        ("generate: full stop", first, ["."]),
        ("generate: in the prompt already", first, [first[3:8]]),
        ("generate: ends inside a token", first, [a[j] + a[j + 1][:-1]]),
        ("generate: two", second, [later, later[:-1]]),
        ("generate: never", second, ["zebra"]),
    ]


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    assert torch.__version__.startswith("2.15.0") and transformers.__version__ == "5.23.0", "the versions differ"
    write("processors.json", processor_cases())
    write("stops.json", stop_cases())
    write("generate.json", run_cases())


if __name__ == "__main__":
    main()
