package install

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gptctl/gptctl/internal/demo"
	"github.com/gptctl/gptctl/internal/safetensors"
)

// WriteDemo writes the demo model into dir, which it makes, as a folder that
// transformers loads: weights in F32, which every version of torch computes
// with on any CPU.
func WriteDemo(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files := demo.Files()
	names, err := fs.Glob(files, "*")
	if err != nil {
		return err
	}
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if name == "config.json" {
			if data, err = inFloat32(data); err != nil {
				return fmt.Errorf("demo model: %s: %w", name, err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return writeWeights(filepath.Join(dir, "model.safetensors"))
}

// inFloat32 changes a config.json to say that the weights are F32.
func inFloat32(config []byte) ([]byte, error) {
	var keys map[string]any
	if err := json.Unmarshal(config, &keys); err != nil {
		return nil, err
	}
	keys["dtype"] = "float32"
	keys["torch_dtype"] = "float32" // its name before transformers 5
	return json.MarshalIndent(keys, "", "  ")
}

func writeWeights(path string) error {
	tensors, err := demo.Float32s()
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := safetensors.Write(f, tensors, map[string]string{"format": "pt"}); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Close()
}
