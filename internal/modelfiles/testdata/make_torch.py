"""Writes pytorch_model.bin (zip, legacy and sharded) with the weights of internal/gpt2/testdata/plain: make_torch.py"""
import collections, json, pathlib, torch
from safetensors.torch import load_file

here = pathlib.Path(__file__).parent
state = collections.OrderedDict(sorted(load_file(here / "../../gpt2/testdata/plain/model.safetensors").items()))
torch.save(state, here / "zip.bin")
torch.save(state, here / "legacy.bin", _use_new_zipfile_serialization=False)
names = list(state)
weight_map = {}
for i, part in enumerate((names[:9], names[9:])):
    name = f"pytorch_model-{i + 1:05}-of-00002.bin"
    torch.save({k: state[k] for k in part}, here / name)
    weight_map.update(dict.fromkeys(part, name))
(here / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
