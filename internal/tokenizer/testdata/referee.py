#!/usr/bin/env python3
"""Writes what transformers and tokenizers make of tokenizer directories and texts, for the Go tests to compare with.

    python referee.py golden merges.txt > golden.jsonl        # the committed cases; merges.txt is GPT-2's
    python referee.py differential OUT MODEL_DIR... -- TEXT_FILE...
    python referee.py directories OUT merges.txt   # several hundred directories made at random
    GPTCTL_TEST_TOKENIZER=OUT go test -run TestDifferential -v ..

A line is {"name", "files" or "dir", "named", "size", "cases": [{"t": text or "f": file, "ids", "plain", "out", "skip"}]}.
"files" are those of the directory; "@tokenizer" and the like the Go test writes out in the same way as write() here.
"""
import json
import os
import random
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import transformers  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

transformers.logging.set_verbosity_error()
END = "<|endoftext|>"
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def byte_alphabet():
    """The 256 characters in the order of GPT-2's vocabulary, and the character of each byte."""
    seen = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
    char, n = {b: chr(b) for b in seen}, 256
    for b in range(256):
        if b not in char:
            char[b] = chr(n)
            n += 1
    rest = [b for b in range(256) if b not in seen]
    return [char[b] for b in seen + rest], char


def vocabulary(merges, drop="", holes=0, end=True):
    """Bytes, merges, <|endoftext|>, in that order: GPT-2's own numbering."""
    tokens = [c for c in byte_alphabet()[0] if c not in drop] + ["".join(m) for m in merges]
    if end:
        tokens.append(END)
    return {t: i + (holes if i >= 256 else 0) for i, t in enumerate(tokens)}


def tokenizer_json(merges, *, drop="", holes=0, end=True, pairs=False, model=None, **top):
    merges = [m for m in merges if not set("".join(m)) & set(drop)]
    added = dict(id=0, special=True, content=END, single_word=False, lstrip=False, rstrip=False, normalized=True)
    vocab = vocabulary(merges, drop, holes, end)
    added["id"] = vocab.get(END, 0)
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True)
    j = dict(
        version="1.0", truncation=None, padding=None, added_tokens=[added] if end else [], normalizer=None,
        pre_tokenizer=byte_level, post_processor=dict(byte_level, trim_offsets=False), decoder=byte_level,
    )
    j.update({k: v for k, v in top.items() if k != "more_tokens"})
    j["added_tokens"] = j["added_tokens"] + top.get("more_tokens", [])
    m = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False)
    m.update(model or {})
    m["vocab"] = vocab
    m["merges"] = [list(p) for p in merges] if pairs else [" ".join(p) for p in merges]
    j["model"] = m
    return j


def write(directory, files, merges):
    """Writes the files of a directory. {"@tokenizer": {...}} and the like stand for files made from the merges."""
    for name, content in files.items():
        if isinstance(content, dict) and "@tokenizer" in content:
            content = tokenizer_json(merges, **content["@tokenizer"])
        elif isinstance(content, dict) and "@vocab" in content:
            content = vocabulary(merges, **content["@vocab"])
        elif content == "@merges":
            content = "#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in merges)
        text = content if isinstance(content, str) else json.dumps(content)
        with open(os.path.join(directory, name), "w", encoding="utf-8", newline="") as f:
            f.write(text)


def token(content, id=None, **flags):
    t = dict(content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    t.update(flags)
    return t if id is None else dict(t, id=id)


CONFIG = {"config.json": {"model_type": "gpt2"}}
JSON = {**CONFIG, "tokenizer.json": {"@tokenizer": {}}}
SLOW = {**CONFIG, "vocab.json": {"@vocab": {}}, "merges.txt": "@merges"}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
SPECIALS = {"bos_token": END, "eos_token": END, "unk_token": END}


def tok(**options):
    return {**CONFIG, "tokenizer.json": {"@tokenizer": options}}


def settings(**s):
    return {"tokenizer_config.json": s}


def template(first=True, last=False, id=0):
    piece = dict(SpecialToken=dict(id=END, type_id=0))
    single = [piece] * first + [dict(Sequence=dict(id="A", type_id=0))] + [piece] * last
    return dict(
        type="TemplateProcessing", single=single, pair=single + [dict(Sequence=dict(id="B", type_id=1))],
        special_tokens={END: dict(id=END, ids=[id], tokens=[END])},
    )


FLAGGED = [
    token("<l>", lstrip=True), token("<r>", rstrip=True), token("<lr>", lstrip=True, rstrip=True, special=True),
    token("<w>", single_word=True), token("<wn>", single_word=True, normalized=True), token("<s>", special=True),
    token("<sn>", special=True, normalized=True), token("word", single_word=True), token("  ", rstrip=True),
    token("ab"), token("abcd", normalized=True), token("bc"), token("é"), token("Ġq"), token("<a b>", lstrip=True, normalized=True),
]


def variants(n):
    """(name, files) for a vocabulary of n tokens, <|endoftext|> the last."""
    more = [dict(t, id=n + i) for i, t in enumerate(FLAGGED)]
    decoder = {str(n + i): t for i, t in enumerate(FLAGGED)}
    yield "tokenizer.json", JSON
    yield "vocab.json and merges.txt", SLOW
    yield "vocab.json, bos", {**SLOW, **settings(add_bos_token=True)}
    yield "vocab.json, bos and eos", {**SLOW, **settings(add_bos_token=True, add_eos_token=True, **SPECIALS)}
    yield "tokenizer.json, bos is ignored", {**JSON, **settings(add_bos_token=True, **SPECIALS)}
    yield "dialogue", {**SLOW, **settings(model_max_length=1024), "special_tokens_map.json": {**SPECIALS, "pad_token": "<pad>"}}
    yield "prefix space", {**JSON, **settings(add_prefix_space=True)}
    yield "prefix space, slow, flagged", {**SLOW, **settings(add_prefix_space=True, added_tokens_decoder=decoder)}
    yield "prefix space of tokenizer.json is ignored", tok(pre_tokenizer=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True))
    yield "prefix space, fast", {**tok(more_tokens=more, pre_tokenizer=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True)), **settings(**FAST)}
    yield "no class, no config", {k: v for k, v in tok(pre_tokenizer=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True)).items() if k != "config.json"}
    yield "flagged in tokenizer.json", tok(more_tokens=more)
    yield "flagged in tokenizer.json, fast", {**tok(more_tokens=more), **settings(**FAST, **SPECIALS)}
    yield "flagged in tokenizer_config.json", {**JSON, **settings(added_tokens_decoder=decoder)}
    yield "flagged in tokenizer_config.json, fast", {**JSON, **settings(added_tokens_decoder=decoder, **FAST)}
    yield "both, different", {**tok(more_tokens=more), **settings(added_tokens_decoder={str(n): token("<s>", lstrip=True)}, pad_token="<s>")}
    yield "both, different, fast", {**tok(more_tokens=more), **settings(added_tokens_decoder={str(n): token("<s>", lstrip=True), "7": token("<zz>")}, pad_token="<s>", **FAST)}
    yield "added_tokens.json", {**SLOW, "added_tokens.json": {"<u>": n + 1, "<s>": n, "word": n + 2}, "special_tokens_map.json": {
        "bos_token": token("<s>", lstrip=True, rstrip=True), "additional_special_tokens": ["<u>", "<v>"], "pad_token": "<u>"}}
    yield "added_tokens.json and tokenizer.json", {**tok(more_tokens=more[:5]), "added_tokens.json": {"<u>": n, "<v>": n + 7}}
    yield "special objects", {**JSON, **settings(bos_token=dict(token("<s>", lstrip=True), __type="AddedToken"), pad_token="[PAD]", eos_token=None)}
    yield "special objects, fast", {**JSON, **settings(bos_token=dict(token("<s>", lstrip=True), __type="AddedToken"), pad_token="[PAD]", eos_token=None, **FAST)}
    yield "special_tokens_map.json", {**JSON, "special_tokens_map.json": {"bos_token": "<s>", "eos_token": token(END, rstrip=True, normalized=True), "mask_token": "<w>"}}
    yield "extra tokens", {**JSON, **settings(image_token="<s>", additional_special_tokens=["<r>", "<l>", "word"])}
    yield "extra tokens by name", {**JSON, **settings(extra_special_tokens={"b_token": "<s>", "a_token": "<l>"})}
    yield "extra tokens in both", {**JSON, **settings(extra_special_tokens=["<s>"]), "special_tokens_map.json": {"extra_special_tokens": ["<l>"], "additional_special_tokens": ["<r>"]}}
    yield "special tokens are text", {**tok(more_tokens=more), **settings(split_special_tokens=True)}
    yield "template", tok(post_processor=template(True, True, n - 1))
    yield "template, fast", {**tok(post_processor=dict(type="Sequence", processors=[dict(type="ByteLevel", add_prefix_space=True, trim_offsets=False), template(True, True, 5)])), **settings(**FAST)}
    yield "no end", {**CONFIG, "tokenizer.json": {"@tokenizer": dict(end=False)}}
    yield "no end, slow", {**CONFIG, "vocab.json": {"@vocab": dict(end=False)}, "merges.txt": "@merges"}
    yield "pairs", tok(pairs=True)
    yield "holes", tok(holes=50, more_tokens=more)
    yield "holes, fast", {**tok(holes=50, more_tokens=more), **settings(**FAST)}
    yield "bytes missing", tok(drop="eĠÃ", model=dict(unk_token="t", fuse_unk=True))
    yield "bytes missing, fast", {**tok(drop="eĠÃ"), **settings(**FAST)}
    yield "unk, fast", {**tok(drop="eÃ", model=dict(unk_token="~")), **settings(**FAST)}
    yield "unk fused, fast", {**tok(drop="eÃ", model=dict(unk_token="~", fuse_unk=True)), **settings(**FAST)}
    yield "no regex, fast", {**tok(pre_tokenizer=dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False)), **settings(**FAST)}
    yield "no regex is ignored", tok(pre_tokenizer=dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False))
    yield "split, fast", {**tok(pre_tokenizer=dict(type="Sequence", pretokenizers=[
        dict(type="Split", pattern=dict(Regex=PATTERN), behavior="Isolated", invert=False),
        dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False)])), **settings(**FAST)}
    yield "ignore merges", {**tok(model=dict(ignore_merges=True), more_tokens=more), **settings(**FAST)}
    yield "class of config.json", {"config.json": {"model_type": "gpt2", "tokenizer_class": "GPT2TokenizerFast"}, "tokenizer.json": {"@tokenizer": dict(post_processor=None)}, **settings(clean_up_tokenization_spaces=True)}


PIECES = [
    END, "<l>", "<r>", "<lr>", "<w>", "<wn>", "<s>", "<sn>", "<a b>", "<u>", "<v>", "<pad>", "[PAD]", "word", "ab", "abcd", "bc", "é",
    " ", " ", "  ", "   ", "\n", "\r\n", "\t", "\u00a0", "\u2003", "\u200b", "\u3000", "\u0085", "a", "The", "the", " the", "Z", "q", "_", "-", ".", ",", "!?",
    "'", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "''", "’s", "0", "12", "345", "²", "Ⅷ", "٣", "ß", "Ġ", "日本", "дом", "שלום", "مرحبا", "👩‍👩‍👧‍👦", "🇩🇪",
    "e\u0301", "\u0301", "\u200d", "\ufeff", "\x00", "\x7f", "\ufffd", "\U0010ffff", "ﷺ", "Ǆ", "किताब",
]

TEXTS = [
    "", " ", "  ", "\n", "Hello world", " Hello world", "It was a dark and stormy night; the rain fell in torrents.",
    "don't you'll I've we're he'd I'm it's 'twas ''s 's' x'y 'S 'LL ' s", "a  b   c    d\n\n\ne \n f\t\tg \r\n h ", "x" * 40, "ab" * 60, " " * 200, "\n" * 99,
    "1234567890 3.14159 1e10 ½ ² Ⅷ ٣٤", "naïve café e\u0301 日本語テキスト Привет, мир! שלום עולם مرحبا بالعالم नमस्ते", "👩‍👩‍👧‍👦 🇩🇪 ☃️ 🏳️‍🌈",
    "a\x00b\x00\x00 \x7f\x80", "x\u00a0y\u2003z\u3000w\u200bv\u0085u\u2028t", END, "a" + END, END + END + " b", "a " + END + " b", "  " + END + "  \n b",
    "<|endoftext", "<|endoftext|", "|endoftext|>", "<<|endoftext|>>", "the word words sword word. _word word_ é<w>é (<w>) <wn> <wn>x", "  <l>  <r>  <lr>  <s> ab abcd abc bc bcd <sn>x<a b> <a b>x <u><v><pad>[PAD]",
    "<r>     <r>   ", "<r>  <l>  x", "Ġq ĠĠ é ée", "pneumonoultramicroscopicsilicovolcanoconiosis" * 3,
]


def some_texts(rng, count):
    return ["".join(rng.choice(PIECES) for _ in range(rng.randint(1, 14))) for _ in range(count)]


class Referee:
    """A tokenizer of transformers, or of tokenizers where a directory has no config.json."""

    def __init__(self, directory):
        if os.path.exists(os.path.join(directory, "config.json")):
            self.tok = AutoTokenizer.from_pretrained(directory)
            self.backend = self.tok.backend_tokenizer
        else:
            self.tok, self.backend = None, Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))

    def case(self, text):
        if self.tok is None:
            ids = self.backend.encode(text).ids
            out, skip = (self.backend.decode(ids, skip_special_tokens=s) for s in (False, True))
            return dict(t=text, ids=ids, out=out, skip=skip)
        try:
            ids = self.tok(text)["input_ids"]
        except BaseException:
            return None
        plain = self.tok(text, split_special_tokens=True, add_special_tokens=False)["input_ids"]
        return dict(t=text, ids=ids, plain=plain, out=self.tok.decode(ids), skip=self.tok.decode(ids, skip_special_tokens=True))

    def many(self, texts):
        split = bool(self.tok is not None and self.tok.split_special_tokens)
        self.backend.encode_special_tokens = split
        try:
            ids = [e.ids for e in self.backend.encode_batch(texts)]
        except BaseException:  # it panics where a token lies in the white space that another one has stripped
            if len(texts) < 2:
                return []
            half = len(texts) // 2
            return self.many(texts[:half]) + self.many(texts[half:])
        out = self.backend.decode_batch(ids, skip_special_tokens=False)
        return [dict(t=t, ids=i, out=o) for t, i, o in zip(texts, ids, out)]

    def named(self):
        if self.tok is None:
            return None
        return {k: getattr(self.tok, k + "_token_id") for k in ("bos", "eos", "unk", "pad")}


def ask(name, files, merges, texts, many=()):
    with tempfile.TemporaryDirectory() as d:
        write(d, files, merges)
        line = dict(name=name, files=files)
        r = Referee(d)
        line["named"] = r.named()
        line["size"] = max(r.backend.get_vocab(with_added_tokens=True).values()) + 1
        line["cases"] = [c for c in map(r.case, texts) if c] + (r.many(list(many)) if many else [])
    return line


def put(out, line):
    out.write(json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n")


def read_merges(path):
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    return [tuple(l.split(" ")) for l in lines if l and not l.startswith("#version")]


def golden(merges_file, small=400):
    merges = read_merges(merges_file)
    rng = random.Random(3)
    put(sys.stdout, ask("gpt2", JSON, merges, TEXTS + some_texts(rng, 120)))
    for name, files in variants(256 + small + 1):
        put(sys.stdout, ask(name, files, merges[:small], TEXTS[:30:4] + TEXTS[-9:] + some_texts(rng, 12)))


def code_points():
    for c in range(0x110000):
        if not 0xD800 <= c < 0xE000:
            yield chr(c)


def random_files(rng, n):
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")

    def some(count, first):
        contents = rng.sample([p for p in PIECES if p.strip() or rng.random() < 0.3], count)
        return [token(c, first + i, **{f: rng.random() < 0.4 for f in flags}) for i, c in enumerate(dict.fromkeys(contents))]

    files = dict(rng.choice([JSON, SLOW]))
    s = {}
    if "tokenizer.json" in files and rng.random() < 0.6:
        options = dict(more_tokens=some(rng.randint(1, 8), n))
        if rng.random() < 0.3:
            options["pre_tokenizer"] = dict(type="ByteLevel", add_prefix_space=rng.random() < 0.5, trim_offsets=True, use_regex=rng.random() < 0.7)
        if rng.random() < 0.3:
            options["post_processor"] = template(rng.random() < 0.5, rng.random() < 0.5, n - 1)
        files["tokenizer.json"] = {"@tokenizer": options}
    if "tokenizer.json" in files and rng.random() < 0.4:
        s.update(FAST)
    if rng.random() < 0.5:
        s["added_tokens_decoder"] = {str(t.pop("id")): t for t in some(rng.randint(1, 8), n)}
    for key in ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "image_token"):
        if rng.random() < 0.3:
            s[key] = rng.choice([END, "<s>", "<u>", "word", None, dict(token("<v>", lstrip=True), __type="AddedToken")])
    for key in ("add_prefix_space", "add_bos_token", "add_eos_token", "split_special_tokens", "clean_up_tokenization_spaces"):
        if rng.random() < 0.3:
            s[key] = rng.random() < 0.6
    if rng.random() < 0.3:
        s[rng.choice(["extra_special_tokens", "additional_special_tokens"])] = rng.sample(["<s>", "<u>", "<v>", "ab", "é"], 2)
    if s:
        files["tokenizer_config.json"] = s
    if rng.random() < 0.4:
        m = {k: rng.choice([END, "<s>", "word", token("<lr>", lstrip=rng.random() < 0.5, rstrip=True)]) for k in rng.sample(["bos_token", "eos_token", "pad_token", "cls_token"], 2)}
        if rng.random() < 0.5:
            m["additional_special_tokens"] = rng.sample(["<s>", "<u>", "<v>", "ab", "é"], 2)
        files["special_tokens_map.json"] = m
    if rng.random() < 0.3:
        files["added_tokens.json"] = {c: n + i for i, c in enumerate(rng.sample(["<s>", "<u>", "<v>", "ab", "é", "word"], 3))}
    return files


def differential(out_dir, models, texts):
    os.makedirs(out_dir, exist_ok=True)
    rng = random.Random(7)
    with open(os.path.join(out_dir, "cases.jsonl"), "w") as out:
        for model in models:
            r = Referee(model)
            line = dict(name=model, dir=os.path.abspath(model), named=r.named(), size=len(r.tok))
            for path in texts:
                with open(path, "rb") as f:
                    text = f.read().decode("utf-8", errors="replace")
                ids = r.backend.encode(text).ids
                put(out, dict(line, cases=[dict(f=os.path.abspath(path), ids=ids)]))
            chars = list(code_points())
            for form in ("%s", "a%sb", " %s ", "1%s ", "\n%s's", "%s" * 3, "<|endoftext|>%s"):
                for i in range(0, len(chars), 20000):
                    put(out, dict(line, cases=r.many([form.replace("%s", c) for c in chars[i : i + 20000]])))
            for _ in range(20):
                many = some_texts(rng, 5000)
                many += ["".join(rng.choice(chars) for _ in range(rng.randint(1, 60))) for _ in range(2500)]
                many += ["".join(chr(rng.randrange(0x250 if rng.random() < 0.5 else 0x3000)) for _ in range(rng.randint(1, 60))) for _ in range(2500)]
                many += ["".join(rng.choice(" \n\r\t'asdtrevml0.") for _ in range(rng.randint(1, 30))) for _ in range(5000)]
                put(out, dict(line, cases=r.many(many)))
            put(out, dict(line, cases=r.many([" " * k + t for k in list(range(70)) + [1000, 100001] for t in ("", "a", "\n", "'s", "é")])))
            put(out, dict(line, cases=r.many(["".join(rng.choice(p) for _ in range(k)) for k in range(40, 400) for p in ("ab", "aeiou", "thein", "0123456789", "日本語", ".-=*")])))
            put(out, dict(line, cases=[r.case(t) for t in TEXTS]))


def directories(out_dir, merges_file, small=400):
    os.makedirs(out_dir, exist_ok=True)
    rng = random.Random(int(os.environ.get("SEED", "11")))
    merges, n = read_merges(merges_file)[:small], 256 + small + 1
    with open(os.path.join(out_dir, "directories.jsonl"), "w") as out:
        for name, files in variants(n):
            put(out, ask(name, files, merges, TEXTS + some_texts(rng, 50), some_texts(rng, 2000)))
        for i in range(int(os.environ.get("RANDOM_DIRECTORIES", "400"))):
            put(out, ask("random %d" % i, random_files(rng, n), merges, TEXTS[-12:] + some_texts(rng, 20), some_texts(rng, 200)))


if __name__ == "__main__":
    if sys.argv[1] == "golden":
        golden(sys.argv[2])
    elif sys.argv[1] == "directories":
        directories(*sys.argv[2:])
    else:
        cut = sys.argv.index("--")
        differential(sys.argv[2], sys.argv[3:cut], sys.argv[cut + 1 :])
