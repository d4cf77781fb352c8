package torchfile

import (
	"fmt"
	"path/filepath"

	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
)

// The names that transformers gives these files.
const (
	Name      = "pytorch_model.bin"
	IndexName = "pytorch_model.bin.index.json"
)

// OpenSharded opens the model whose index lies at path as if it were one file.
// The index is the same as that of safetensors. As in transformers, the shards'
// tensors count even if the index does not list them; but what the index lists
// must be where it says, and only there.
func OpenSharded(path string) (*File, error) {
	x, err := safetensors.ReadIndex(path)
	if err != nil {
		return nil, err
	}
	all := &File{tensors: map[string]tensor.Tensor{}}
	in := map[string]string{} // the shard that each tensor was found in
	for _, shard := range x.Shards() {
		f, err := Open(filepath.Join(filepath.Dir(path), shard))
		if err != nil {
			all.Close()
			return nil, err
		}
		all.mappings = append(all.mappings, f.mappings...)
		for _, name := range f.names {
			if old, twice := in[name]; twice {
				all.Close()
				return nil, fmt.Errorf("read %s: tensor %s is in both %s and %s", path, quote(name), old, shard)
			}
			in[name] = shard
			all.names = append(all.names, name)
			all.tensors[name] = f.tensors[name]
		}
	}
	for name, shard := range x.WeightMap {
		if in[name] != shard {
			all.Close()
			return nil, fmt.Errorf("read %s: tensor %s is not in %s, where the index puts it", path, quote(name), shard)
		}
	}
	return all, nil
}
