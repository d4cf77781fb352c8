package convert

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/modelfiles"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
)

const (
	// defaultFileBytes is how large a file may get before a model is split.
	defaultFileBytes = 5_000_000_000
	weightsName      = "model.safetensors"
	// prefix is what transformers puts before all names but the head's.
	prefix   = "transformer."
	headName = "lm_head.weight"
)

// copied are the files of a folder that are taken over as they are.
var copied = []string{
	"generation_config.json", "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "README.md", "LICENSE", "LICENSE.txt", "LICENSE.md",
}

// maxCopied bounds them.
const maxCopied = 64 << 20

func writeFolder(ctx context.Context, m *modelfiles.Model, o Options) (Result, error) {
	r := Result{Path: o.Out, Format: Safetensors, DType: o.DType}
	if r.DType == tensor.Invalid {
		quantised := m.DType.IsQuantized()
		for _, t := range m.Weights.Tensors() {
			quantised = quantised || t.DType.IsQuantized()
		}
		if r.DType = m.DType; quantised {
			r.DType = tensor.F32 // which holds every value of them, as the others do not
		}
	}
	if !r.DType.IsFloat() {
		return r, errNoType
	}
	list := targets(m.Weights, gpt2.InOut)
	for i := range list {
		// Without a wish each tensor keeps its own type.
		if own := o.kept(list[i].dtype); o.DType == tensor.Invalid && own.IsFloat() {
			list[i].dtype = own
		} else {
			list[i].dtype = r.DType
		}
	}
	small, err := smallFiles(m, r.DType)
	if err != nil {
		return r, err
	}
	outputs, files, err := planShards(list, o, small)
	if err != nil {
		return r, err
	}
	for _, f := range files {
		r.Bytes += f.Bytes
	}
	// A folder that is there and empty is kept and filled: it may be where a disk is
	// mounted, or the one that this runs in.
	place, move := filepath.Clean(o.Out), moveFolder
	if isEmptyFolder(place) {
		place, move = inside(place), moveFiles
	}
	if err := checkRoom(o, filepath.Dir(place), r.Bytes); err != nil {
		return r, err
	}
	p, err := beside(place, func(name string) error { return os.Mkdir(name, 0o777) })
	if err != nil {
		return r, err
	}
	defer p.remove()
	if err := fillFolder(ctx, o, p.name, files, outputs, small); err != nil {
		return r, err
	}
	if err := move(p.name, filepath.Clean(o.Out)); err != nil {
		return r, err
	}
	r.Tensors, r.Files = len(list), files
	return r, nil
}

// planShards lays out the files of weights, and adds their index to the small
// files if there are several. files lists them all.
func planShards(list []target, o Options, small map[string][]byte) (outputs []*output, files []File, err error) {
	limit := o.FileBytes
	if limit <= 0 {
		limit = defaultFileBytes
	}
	var shards [][]target
	var total, inShard int64
	for _, t := range list {
		size := int64(t.dtype.Bytes(t.from.Len()))
		if len(shards) == 0 || inShard > 0 && inShard+size > limit {
			shards, inShard = append(shards, nil), 0
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], t)
		inShard += size
		total += size
	}
	where := map[string]string{}
	for i, shard := range shards {
		name := weightsName
		if len(shards) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		infos := make([]safetensors.Info, len(shard))
		for j, t := range shard {
			infos[j] = safetensors.Info{Name: fullName(t.name), DType: t.dtype, Shape: t.shape}
			where[infos[j].Name] = name
		}
		layout, err := safetensors.Plan(infos, map[string]string{"format": "pt"})
		if err != nil {
			return nil, nil, err
		}
		outputs = append(outputs, &output{head: layout.Head, size: layout.Size, offsets: layout.Offsets, targets: shard})
		files = append(files, File{name, layout.Size})
	}
	if len(shards) > 1 {
		small[safetensors.IndexName] = indent(map[string]any{"metadata": map[string]any{"total_size": total}, "weight_map": where})
	}
	for name, data := range small {
		files = append(files, File{name, int64(len(data))})
	}
	slices.SortFunc(files[len(outputs):], func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	return outputs, files, nil
}

func fullName(name string) string {
	if name == headName {
		return name
	}
	return prefix + name
}

// fillFolder writes all files; those of the outputs come first in the list.
func fillFolder(ctx context.Context, o Options, dir string, files []File, outputs []*output, small map[string][]byte) (err error) {
	for i, out := range outputs {
		if out.file, err = os.OpenFile(filepath.Join(dir, files[i].Name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666); err != nil {
			return err
		}
		defer out.file.Close()
	}
	if err := writeOutputs(ctx, o, outputs); err != nil {
		return err
	}
	for name, data := range small {
		if err := writeFile(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	syncFolder(dir)
	return ctx.Err()
}

// moveFolder gives the folder its name. What was there, which checkFolder has
// judged, changes places with it, or is taken away as a whole first and comes back if
// that fails.
func moveFolder(dir, out string) error {
	old := ""
	if _, err := os.Lstat(out); err == nil {
		if exchange(dir, out) == nil {
			syncFolder(filepath.Dir(out))
			return os.RemoveAll(dir)
		}
		old = dir + ".old"
		if err := os.Rename(out, old); err != nil {
			return fmt.Errorf("%s cannot be replaced as a whole, write to a folder that is empty or not there: %w", out, err)
		}
	}
	if err := os.Rename(dir, out); err != nil {
		if old != "" {
			err = errors.Join(err, os.Rename(old, out))
		}
		return err
	}
	syncFolder(filepath.Dir(out))
	if old != "" {
		return os.RemoveAll(old)
	}
	return nil
}

// moveFiles moves the files of a folder into one that is empty, config.json last:
// without it there is no model yet.
func moveFiles(dir, out string) (err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	last := func(e os.DirEntry) int {
		if e.Name() == "config.json" {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(entries, func(a, b os.DirEntry) int { return last(a) - last(b) })
	for i, e := range entries {
		if err = os.Rename(filepath.Join(dir, e.Name()), filepath.Join(out, e.Name())); err != nil {
			for _, moved := range entries[:i] {
				os.Remove(filepath.Join(out, moved.Name()))
			}
			return err
		}
	}
	syncFolder(out)
	return nil
}

// Beside returns the files that go beside the weights in a folder, if these are of
// type d: the tokenizer's, config.json, and what else the model has.
func Beside(m *modelfiles.Model, d tensor.DType) (map[string][]byte, error) { return smallFiles(m, d) }

// smallFiles are the files beside the weights: those of the model's folder, or
// what a GGUF file says in their form.
func smallFiles(m *modelfiles.Model, d tensor.DType) (map[string][]byte, error) {
	if m.Files == nil {
		return describe(m, d)
	}
	files := map[string][]byte{}
	for _, name := range copied {
		data, err := readCopied(m.Files, name)
		switch {
		case err == nil:
			files[name] = data
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	text, err := readCopied(m.Files, "config.json")
	if err != nil {
		return nil, err
	}
	// Numbers stay as they are written.
	fields := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	key := "dtype"
	if _, ok := fields["torch_dtype"]; ok { // as it was called before transformers 4.56
		delete(fields, "torch_dtype")
		if _, both := fields["dtype"]; !both {
			key = "torch_dtype"
		}
	}
	fields[key] = torchName(d)
	was, err := gpt2.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	// What was left out of the model, under the name that the file has for it.
	for _, size := range []struct {
		name, alias string
		was, is     int
	}{{"n_layer", "num_hidden_layers", was.Layers, m.Config.Layers}, {"n_inner", "", was.Inner, m.Config.Inner}} {
		if size.was == size.is {
			continue
		}
		delete(fields, size.alias)
		fields[size.name] = size.is
	}
	if was.TieWordEmbeddings != m.Weights.Tied {
		fields["tie_word_embeddings"] = m.Weights.Tied // where they differ the weights were right
	}
	files["config.json"] = indent(fields)
	return files, nil
}

func readCopied(files fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCopied {
		return nil, fmt.Errorf("%s is not a regular file of at most %d MB", name, maxCopied>>20)
	}
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxCopied))
}

// describe writes the files of a model that has none.
func describe(m *modelfiles.Model, d tensor.DType) (map[string][]byte, error) {
	c := m.Config
	var inner, pad, bos any
	if c.Inner != 4*c.Embd {
		inner = c.Inner
	}
	if c.PAD >= 0 {
		pad = c.PAD
	}
	if c.BOS >= 0 {
		bos = c.BOS
	}
	var eos any = c.EOS
	if len(c.EOS) == 1 {
		eos = c.EOS[0]
	} else if len(c.EOS) == 0 {
		eos = nil
	}
	parts, err := m.Tokenizer.Parts()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		"config.json": indent(map[string]any{
			"architectures": []string{"GPT2LMHeadModel"}, "model_type": "gpt2", "dtype": torchName(d),
			"vocab_size": c.VocabSize, "n_positions": c.Positions, "n_ctx": c.Positions, "n_embd": c.Embd, "n_head": c.Heads, "n_layer": c.Layers, "n_inner": inner,
			"activation_function": c.Activation.String(), "layer_norm_epsilon": c.LayerNormEpsilon,
			"scale_attn_weights": c.ScaleAttnWeights, "scale_attn_by_inverse_layer_idx": c.ScaleAttnByInverseLayerIdx,
			"reorder_and_upcast_attn": c.ReorderAndUpcastAttn, "tie_word_embeddings": m.Weights.Tied,
			"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad,
		}),
		"tokenizer.json":        parts.TokenizerJSON(),
		"tokenizer_config.json": parts.SettingsJSON(c.Positions),
	}
	if m.GenerationConfig != nil {
		files["generation_config.json"] = m.GenerationConfig
	}
	return files, nil
}

// torchName is what config.json calls a type.
func torchName(d tensor.DType) string {
	return map[tensor.DType]string{tensor.F32: "float32", tensor.F16: "float16", tensor.BF16: "bfloat16"}[d]
}

// indent writes JSON as transformers does: keys sorted, two spaces, a newline.
func indent(v any) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		panic(err) // numbers, texts, lists and maps of them
	}
	return []byte(b.String())
}
