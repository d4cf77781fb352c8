package safetensors

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/strictjson"
	"github.com/gptctl/gptctl/internal/tensor"
)

// IndexName is the file that lists the shards of a large model.
const IndexName = "model.safetensors.index.json"

// maxIndex bounds the index file; the largest on the Hub take a few megabytes.
const maxIndex = 100_000_000

// Index says which shard holds a tensor: {"weight_map": {name: file, …}}.
type Index struct {
	WeightMap map[string]string
}

// ParseIndex reads a model.safetensors.index.json. A shard must be a plain file
// name: the index cannot point out of its folder.
func ParseIndex(data []byte) (*Index, error) {
	if len(data) > maxIndex {
		return nil, fmt.Errorf("the index has %d bytes, want at most %d", len(data), maxIndex)
	}
	x := &Index{}
	s := strictjson.New(data)
	err := s.Object(func(key string) error {
		if key != "weight_map" {
			return s.Skip()
		}
		x.WeightMap = map[string]string{}
		return s.Object(func(name string) error {
			shard, err := s.String()
			if err != nil {
				return fmt.Errorf("tensor %s: %w", quote(name), err)
			}
			if !plainName(shard) {
				return fmt.Errorf("tensor %s: shard %s is not a plain file name", quote(name), quote(shard))
			}
			x.WeightMap[name] = shard
			return nil
		})
	})
	if err == nil {
		err = s.End()
	}
	if err != nil {
		return nil, err
	}
	if len(x.WeightMap) == 0 {
		return nil, fmt.Errorf("the index has no weight_map, or an empty one")
	}
	return x, nil
}

// plainName accepts the name of a file in the index's own folder, on every
// system alike: no separator, drive, parent, nor NUL.
func plainName(name string) bool {
	return name != "." && !strings.ContainsAny(name, "/\\:\x00") && filepath.IsLocal(name)
}

// Shards returns the names of the files, sorted.
func (x *Index) Shards() []string {
	seen := map[string]bool{}
	var shards []string
	for _, shard := range x.WeightMap {
		if !seen[shard] {
			seen[shard] = true
			shards = append(shards, shard)
		}
	}
	slices.Sort(shards)
	return shards
}

// ReadIndex reads the index file at path. Its errors name the file.
func ReadIndex(path string) (*Index, error) {
	m, err := mapped.Open(path)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	x, err := ParseIndex(m.Data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return x, nil
}

// OpenSharded opens the model whose index lies at path as if it were one file.
func OpenSharded(path string) (*File, error) {
	all := &File{tensors: map[string]tensor.Tensor{}, metadata: map[string]string{}}
	err := EachShard(path, func(shard string) ([]string, error) {
		f, err := Open(shard)
		if err != nil {
			return nil, err
		}
		all.Files = append(all.Files, f.Files...)
		all.names = append(all.names, f.names...)
		maps.Copy(all.tensors, f.tensors)
		for key, value := range f.metadata {
			if _, ok := all.metadata[key]; !ok {
				all.metadata[key] = value
			}
		}
		return f.names, nil
	})
	if err != nil {
		all.Close()
		return nil, err
	}
	return all, nil
}

// EachShard has the shards opened of the index at path, which are its neighbours, each by
// a function that returns the names of the tensors. As in transformers, all of these count
// even if the index does not list them; but what the index lists must be where it says,
// and only there.
func EachShard(path string, open func(shard string) (names []string, err error)) error {
	x, err := ReadIndex(path)
	if err != nil {
		return err
	}
	in := map[string]string{} // the shard that each tensor was found in
	for _, shard := range x.Shards() {
		names, err := open(filepath.Join(filepath.Dir(path), shard))
		if err != nil {
			return err
		}
		for _, name := range names {
			if old, twice := in[name]; twice {
				return fmt.Errorf("read %s: tensor %s is in both %s and %s", path, quote(name), old, shard)
			}
			in[name] = shard
		}
	}
	for name, shard := range x.WeightMap {
		if in[name] != shard {
			return fmt.Errorf("read %s: tensor %s is not in %s, where the index puts it", path, quote(name), shard)
		}
	}
	return nil
}
