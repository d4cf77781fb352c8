"""Writes golden.json: documents, and the rows that they give, by transformers' tokenizer and a plain cut of the joined stream.

    python referee.py          (needs ../../../internal/demo/model)
"""
import json, os
from transformers import AutoTokenizer

here = os.path.dirname(os.path.abspath(__file__))
tok = AutoTokenizer.from_pretrained(os.path.join(here, "../../../internal/demo/model"))
eos, context = tok.eos_token_id, 16
docs = [
    [["It was a wet grey morning in March, and all of the lamps were still burning.", False]],
    [["Question: why?\nAnswer:", True], [" Because it's so.", False]],
    [["  Two  spaces, <|endoftext|> as text,\n\n\tnaïve café 日本語 😀 12345 we'll", False]],
    [["Masked at the end.", False], [" A second question follows, and it is long enough to fill a row by itself.\n", True], ["Yes.", False]],
    [["x", False]],
]
stream = []  # (token, learnt)
for d in docs:
    stream.append((eos, True))
    for text, masked in d:
        stream += [(i, not masked) for i in tok(text, split_special_tokens=True)["input_ids"]]
stream.append((eos, True))
rows = []
for at in range(0, len(stream) - 1, context):
    piece = stream[at : at + context + 1]
    n = len(piece) - 1
    labels = [t if learnt else -100 for t, learnt in piece[1:]]
    if any(l != -100 for l in labels):
        rows.append({"tokens": [t for t, _ in piece[:-1]] + [eos] * (context - n), "labels": labels + [-100] * (context - n)})
with open(os.path.join(here, "golden.json"), "w") as f:
    json.dump({"context": context, "documents": docs, "rows": rows}, f)
