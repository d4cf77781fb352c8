package torchfile

import (
	"maps"

	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
)

// The names that transformers gives these files.
const (
	Name      = "pytorch_model.bin"
	IndexName = "pytorch_model.bin.index.json"
)

// OpenSharded opens the model whose index lies at path as if it were one file. The index
// is the same as that of safetensors, and means the same.
func OpenSharded(path string) (*File, error) {
	all := &File{tensors: map[string]tensor.Tensor{}}
	err := safetensors.EachShard(path, func(shard string) ([]string, error) {
		f, err := Open(shard)
		if err != nil {
			return nil, err
		}
		all.Files = append(all.Files, f.Files...)
		all.names = append(all.names, f.names...)
		maps.Copy(all.tensors, f.tensors)
		return f.names, nil
	})
	if err != nil {
		all.Close()
		return nil, err
	}
	return all, nil
}
