"""Writes the Parquet files of this folder and golden.jsonl, with pyarrow and Python's json and csv.

    python referee.py
"""
import csv, gzip, hashlib, io, json, os
import pyarrow as pa, pyarrow.parquet as pq
import zstandard

here = os.path.dirname(os.path.abspath(__file__))
texts = ["first", "", "naïve café — 日本語 😀", "line one\nline two\n", "a \"quoted\", word", "x" * 300, "tab\tand\r\nCRLF", "last"]
golden = []


def write(name, data):
    with open(os.path.join(here, name), "wb") as f:
        f.write(data)


def expect(name, documents):
    golden.append({"file": name, "documents": documents})


def plain(values):
    return [[[v, False]] for v in values]


# Parquet: codecs, encodings, page versions, string types, row groups, dictionaries, lists of structs
for codec in ["none", "snappy", "gzip", "zstd", "brotli", "lz4"]:
    name = f"text-{codec}.parquet"
    pq.write_table(pa.table({"id": list(range(8)), "text": texts}), os.path.join(here, name), compression=codec)
    expect(name, plain(texts))
t = pa.table({"text": pa.array(texts, pa.large_string()), "x": [1.5] * 8})
pq.write_table(t, os.path.join(here, "groups.parquet"), row_group_size=3, data_page_version="2.0", use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY", "x": "PLAIN"})
expect("groups.parquet", plain(texts))
many = [f"word {i % 7}" for i in range(500)]
pq.write_table(pa.table({"text": pa.array(many).dictionary_encode()}), os.path.join(here, "dictionary.parquet"), data_page_size=64, write_batch_size=16)
expect("dictionary.parquet", plain(many))
long = many + ["é" * 200] * 3
pq.write_table(pa.table({"text": pa.array(long).dictionary_encode()}), os.path.join(here, "pages-lz4.parquet"), compression="lz4", data_page_version="2.0", data_page_size=64, write_batch_size=16, row_group_size=200)
expect("pages-lz4.parquet", plain(long))
digests = [hashlib.sha256(bytes([i])).hexdigest() for i in range(40)]  # which shrink to more than a third
pq.write_table(pa.table({"text": digests}), os.path.join(here, "digests-lz4.parquet"), compression="lz4")
expect("digests-lz4.parquet", plain(digests))
pq.write_table(pa.table({"prompt": ["Q: 1+1?\nA:", "Q: 2+2?\nA:"], "completion": [" 2", " 4"], "other": [[1], [2, 3]]}), os.path.join(here, "prompts.parquet"))
expect("prompts.parquet", [[["Q: 1+1?\nA:", True], [" 2", False]], [["Q: 2+2?\nA:", True], [" 4", False]]])
turns = [
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}],
]
conversations = [
    [["User: Hi\nAssistant:", True], [" Hello", False]],
    [["System: Be brief.\nUser: a\nAssistant:", True], [" b\n", False], ["User: c\nAssistant:", True], [" d", False]],
]
pq.write_table(pa.table({"messages": turns}), os.path.join(here, "messages.parquet"))
expect("messages.parquet", conversations)
write("messages.jsonl", "".join(json.dumps({"messages": m}) + "\n" for m in turns).encode())
expect("messages.jsonl", conversations)

# JSON lines as Python writes them: escaped and not, and compressed
lines = "".join(json.dumps({"text": v, "n": i}, ensure_ascii=i % 2 == 0) + "\n" for i, v in enumerate(texts)).encode()
write("text.jsonl.gz", gzip.compress(lines, mtime=0))
expect("text.jsonl.gz", plain(texts))
write("text.jsonl.zst", zstandard.ZstdCompressor().compress(lines))
expect("text.jsonl.zst", plain(texts))
write("list.json", json.dumps([{"instruction": "Add.", "input": "1 2", "output": "3"}, {"instruction": "Greet.", "input": "", "output": "Hello!"}], indent=1).encode())
expect("list.json", [
    [["### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n", True], ["3", False]],
    [["### Instruction:\nGreet.\n\n### Response:\n", True], ["Hello!", False]],
])

# CSV: what csv.writer writes, read back by csv.reader; a line end in a field is LF for us
out = io.StringIO(newline="")
w = csv.writer(out)
w.writerow(["id", "text"])
for i, v in enumerate(texts):
    w.writerow([i, v])
write("text.csv", out.getvalue().encode())
back = [row[1] for row in csv.reader(io.StringIO(out.getvalue(), newline=""))][1:]
assert back == texts
expect("text.csv", plain([v.replace("\r\n", "\n") for v in back]))
out = io.StringIO(newline="")
w = csv.writer(out, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_ALL)
w.writerow(["completion", "prompt"])
w.writerow([" four", "two and two are"])
write("prompts.tsv", out.getvalue().encode())
expect("prompts.tsv", [[["two and two are", True], [" four", False]]])

# Text: encodings
s = "Grüße\nund “mehr” 😀\n"
write("utf16le.txt", b"\xff\xfe" + s.encode("utf-16-le"))
write("utf16be.txt.gz", gzip.compress(b"\xfe\xff" + s.encode("utf-16-be"), mtime=0))
write("bom.md", b"\xef\xbb\xbf" + s.encode())
for name in ["utf16le.txt", "utf16be.txt.gz", "bom.md"]:
    expect(name, plain([s]))
write("separated.txt", "one\n<|endoftext|>\ntwo\n<|endoftext|>three".encode())
expect("separated.txt", plain(["one\n", "two\n", "three"]))

with open(os.path.join(here, "golden.jsonl"), "w") as f:
    for g in golden:
        f.write(json.dumps(g) + "\n")
