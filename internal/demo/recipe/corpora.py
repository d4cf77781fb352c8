"""Writes the texts that the demo learns from, and those it is judged by.

    python internal/demo/recipe/corpora.py CORPORA OUT

CORPORA holds gutenberg/*.txt, state_union/*.txt (Windows-1252) and
tinyshakespeare.txt. OUT/train and OUT/held-out become UTF-8 texts, a document
each. Of every Gutenberg text the last 5 % of the characters are held out, after
its paragraphs were put on a line each; all else is trained on.
"""

import pathlib
import sys


def unwrapped(text):
    """A line for each paragraph of prose; verse, lists and headings keep their lines."""
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
        out.append((" " if body and long >= 0.8 * len(body) else "\n").join(lines))
        lines = []
    return "\n\n".join(out)


def main(source, out):
    train, held = out / "train", out / "held-out"
    train.mkdir(parents=True)
    held.mkdir()
    for folder in ("gutenberg", "state_union"):
        for f in sorted((source / folder).glob("*.txt")):
            text = unwrapped(f.read_text(encoding="cp1252", errors="replace"))
            if folder == "gutenberg":
                cut = int(len(text) * 0.95)
                (held / f.name).write_text(text[cut:], encoding="utf-8", newline="")
                text = text[:cut]
            (train / f.name).write_text(text, encoding="utf-8", newline="")
    (train / "tinyshakespeare.txt").write_text(unwrapped((source / "tinyshakespeare.txt").read_text()), encoding="utf-8", newline="")


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
