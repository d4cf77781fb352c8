package torchfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/safetensors"
)

var _ gpt2.TensorSource = (*File)(nil)

// sameAs compares every tensor with a safetensors file that Python wrote.
func sameAs(t *testing.T, f *File, path string) {
	t.Helper()
	want, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	if got, want := slices.Sorted(slices.Values(f.Names())), slices.Sorted(slices.Values(want.Names())); !slices.Equal(got, want) {
		t.Fatalf("names %q, want %q", got, want)
	}
	for _, name := range want.Names() {
		w, _ := want.Tensor(name)
		got, ok := f.Tensor(name)
		if !ok || got.DType != w.DType || !slices.Equal(got.Shape, w.Shape) || !bytes.Equal(got.Data, w.Data) {
			t.Errorf("%s: %v %v %x, want %v %v %x", name, got.DType, got.Shape, got.Data, w.DType, w.Shape, w.Data)
		}
	}
}

func TestOpen(t *testing.T) {
	for name, want := range map[string]string{
		"state.bin": "state", "state-legacy.bin": "state", "state-legacy-protocol4.bin": "state",
		"state-protocol3.bin": "state", "state-protocol4.bin": "state", "state-protocol5.bin": "state",
		"small.bin": "small", "small-legacy.bin": "small", "location-cuda.bin": "small", "parameters.bin": "small", "extras.bin": "small",
		"wrapped-model.bin": "small", "wrapped-state_dict.bin": "small", "wrapped-module.bin": "small",
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Open(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			f.Prefault()
			sameAs(t, f, filepath.Join("testdata", want+".safetensors"))
		})
	}
}

func TestOpenSharded(t *testing.T) {
	f, err := OpenSharded(filepath.Join("testdata", "sharded", IndexName))
	if err != nil {
		t.Fatal(err)
	}
	sameAs(t, f, filepath.Join("testdata", "small.safetensors"))
	if got := f.Size(); got != 6*4+3*2 {
		t.Errorf("size %d, want 30", got)
	}
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Error(err)
	}
}

func TestOpenShardedRefuses(t *testing.T) {
	for name, c := range map[string]struct{ index, words string }{
		"out of the folder": {`{"weight_map": {"a": "../small.bin"}}`, "not a plain file name"},
		"absolute":          {`{"weight_map": {"a": "/etc/passwd"}}`, "not a plain file name"},
		"missing shard":     {`{"weight_map": {"a": "gone.bin"}}`, "gone.bin"},
		"not where it says": {`{"weight_map": {"a": "1.bin", "b": "2.bin", "c": "2.bin"}}`, "tensor \"c\" is not in 2.bin"},
		"in both":           {`{"weight_map": {"a": "1.bin", "b": "3.bin"}}`, "is in both"},
		"no map":            {`{}`, "weight_map"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for to, from := range map[string]string{"1.bin": "sharded/pytorch_model-00001-of-00002.bin", "2.bin": "sharded/pytorch_model-00002-of-00002.bin", "3.bin": "small.bin"} {
				if err := os.WriteFile(filepath.Join(dir, to), read(t, from), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(dir, IndexName)
			if err := os.WriteFile(path, []byte(c.index), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := OpenSharded(path)
			checkError(t, err, c.words)
		})
	}
}

// In a zip archive tensors are used in place, aligned, and tied ones are one.
func TestInPlace(t *testing.T) {
	data := aligned(read(t, "state.bin"))
	f, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) uintptr {
		x, ok := f.Tensor(name)
		if !ok || len(x.Data) == 0 || cap(x.Data) != len(x.Data) {
			t.Fatalf("%s: %v, %d bytes, capacity %d", name, ok, len(x.Data), cap(x.Data))
		}
		return uintptr(unsafe.Pointer(&x.Data[0])) - uintptr(unsafe.Pointer(&data[0]))
	}
	for _, name := range []string{"transformer.wte.weight", "lm_head.weight", "base", "row", "rows", "half", "parameter", "one by n", "double"} {
		if at(name) > uintptr(len(data)) {
			t.Errorf("%s is a copy, want a view", name)
		}
	}
	for _, name := range []string{"transposed", "column", "expanded"} {
		if at(name) <= uintptr(len(data)) {
			t.Errorf("%s is a view, want a copy", name)
		}
	}
	if at("base")%64 != 0 {
		t.Errorf("data at offset %d, want a multiple of 64", at("base"))
	}
	for a, b := range map[string]string{"transformer.wte.weight": "lm_head.weight", "transposed": "transposed too"} {
		if at(a) != at(b) {
			t.Errorf("%s and %s are tied in the file, but not here", a, b)
		}
	}
}

// aligned moves data to a multiple of 64, as a mapping would lie.
func aligned(data []byte) []byte {
	room := make([]byte, len(data)+64)
	skip := -int(uintptr(unsafe.Pointer(&room[0]))) & 63
	return append(room[skip:skip], data...)
}

// Refusals are one line, name what is wrong, and for foreign code are typed.
func TestRefused(t *testing.T) {
	var want map[string]string
	if err := json.Unmarshal(read(t, "refused.json"), &want); err != nil {
		t.Fatal(err)
	}
	code := strings.Fields("os-system eval exec-in-key popen getattr nested-reduce reduce-in-tuple load-from-bytes torch-load whole-model numpy namespace plain-hostile untyped-storage")
	for name, words := range want {
		t.Run(name, func(t *testing.T) {
			f, err := Open(filepath.Join("testdata", "refused", name))
			if f != nil {
				t.Fatalf("accepted with tensors %q", f.Names())
			}
			checkError(t, err, words)
			base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, ".bin"), "-legacy"), "-protocol4")
			var foreign *GlobalError
			if got, want := errors.As(err, &foreign), slices.Contains(code, base); got != want {
				t.Errorf("%v is a GlobalError: %v, want %v", err, got, want)
			}
		})
	}
}

func checkError(t *testing.T, err error, words string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	text := err.Error()
	if !strings.Contains(text, words) || strings.ContainsAny(text, "\n\x1b") || len(text) > 800 {
		t.Errorf("error %q, want one line with %q", text, words)
	}
}

// A file cut anywhere is refused, whatever is lost.
func TestTruncated(t *testing.T) {
	for _, name := range []string{"state.bin", "state-legacy.bin", "small.bin", "small-legacy.bin", "state-legacy-protocol4.bin"} {
		data := read(t, name)
		for n := range data {
			if _, err := Parse(data[:n:n]); err == nil {
				t.Fatalf("%s cut to %d of %d bytes is accepted", name, n, len(data))
			}
		}
	}
}

// A damaged byte gives an error or other values, never a panic.
func TestDamaged(t *testing.T) {
	for _, name := range []string{"small.bin", "small-legacy.bin", "wrapped-module.bin"} {
		data := read(t, name)
		for i := range data {
			old := data[i]
			for _, b := range []byte{0, 1, 0x7f, 0x80, 0xff, old ^ 1, old ^ 0x20} {
				data[i] = b
				if f, err := Parse(data); err == nil {
					checkFile(t, f)
				}
			}
			data[i] = old
		}
	}
}

// checkFile checks what holds for every file that is accepted.
func checkFile(t *testing.T, f *File) {
	t.Helper()
	for _, name := range f.Names() {
		x, ok := f.Tensor(name)
		if !ok || len(x.Data) != x.Len()*x.DType.Size() {
			t.Fatalf("tensor %q: %v %v with %d bytes", name, x.DType, x.Shape, len(x.Data))
		}
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.bin")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, words := range map[string]string{empty: "neither", dir: "directory", filepath.Join(dir, "gone.bin"): "gone.bin"} {
		_, err := Open(path)
		checkError(t, err, words)
	}
}

// With GPTCTL_TORCH_PYTHON naming a Python that has torch, compares random
// state dicts.
func TestAgainstTorch(t *testing.T) {
	python := os.Getenv("GPTCTL_TORCH_PYTHON")
	if python == "" {
		t.Skip("GPTCTL_TORCH_PYTHON is not set")
	}
	dir := t.TempDir()
	const count = 300
	if out, err := exec.Command(python, "testdata/make_fixtures.py", "--random", fmt.Sprint(count), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i := range count {
		f, err := Open(filepath.Join(dir, fmt.Sprintf("%d.bin", i)))
		if err != nil {
			t.Fatal(err)
		}
		sameAs(t, f, filepath.Join(dir, fmt.Sprintf("%d.safetensors", i)))
		f.Close()
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
