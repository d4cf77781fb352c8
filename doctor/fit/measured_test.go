package fit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
)

const tablePath = "testdata/measured.tsv"

// measurement is a line of the table: a run of the program and its peak.
type measurement struct {
	model, shape string
	dtype        DType
	file         int64 // bytes of the weights' file
	prompt, more int   // tokens
	samples      int
	threads      int
	peak         int64 // bytes resident
}

func (m measurement) work() Work {
	w := Work{
		// Only float32 is used where it lies in the file, and what is small.
		DType: m.dtype, FileMapped: m.dtype == F32 || m.shape == "demo", FileBytes: m.file,
		Batch: m.samples, Prompt: m.prompt, Context: m.prompt + m.more, Threads: m.threads,
	}
	if m.shape == "demo" {
		w.FileBytes *= 2 // the binary's pages with the weights stay beside the copy in the layout of the kernels
		w.Config = gpt2.Config{VocabSize: 4096, Positions: 256, Embd: 288, Heads: 9, Layers: 6, Inner: 1152, TieWordEmbeddings: true}
	} else {
		w.Model = m.shape
	}
	return w
}

func (m measurement) off() float64 { return float64(Estimate(m.work()).Total())/float64(m.peak) - 1 }

func readTable(t *testing.T) []measurement {
	t.Helper()
	f, err := os.Open(tablePath)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []measurement
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); !strings.HasPrefix(line, "#") {
			var m measurement
			var estimate, off string
			_, err := fmt.Sscan(line, &m.model, &m.shape, &m.dtype, &m.file, &m.prompt, &m.more, &m.samples, &m.threads, &m.peak, &estimate, &off)
			if err != nil {
				t.Fatalf("%s: %v in %q", tablePath, err, line)
			}
			list = append(list, m)
		}
	}
	return list
}

// The estimate is within a tenth of what was measured.
func TestMeasured(t *testing.T) {
	list := readTable(t)
	if len(list) < 8 {
		t.Fatalf("%d measurements, want at least 8", len(list))
	}
	for _, m := range list {
		if err := m.work().Check(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%-16s %5d + %4d tokens × %d: %7.1f MB measured, %7.1f estimated, %+.1f %%", m.model, m.prompt, m.more, m.samples,
			float64(m.peak)/1e6, float64(Estimate(m.work()).Total())/1e6, 100*m.off())
		if math.Abs(m.off()) > 0.1 {
			t.Errorf("%+v: estimate off by %+.1f %%: %+v", m, 100*m.off(), Estimate(m.work()))
		}
	}
}

// TestMeasure takes the measurements again, one run each, and writes
// the table. GPTCTL_FIT_BINARY is the program, GPTCTL_FIT_MODELS the folder of
// the models in the table; lines whose model is not there stay as they are.
func TestMeasure(t *testing.T) {
	binary, models := os.Getenv("GPTCTL_FIT_BINARY"), os.Getenv("GPTCTL_FIT_MODELS")
	if binary == "" || models == "" {
		t.Skip("GPTCTL_FIT_BINARY and GPTCTL_FIT_MODELS are not set")
	}
	var out strings.Builder
	out.WriteString("# Peak resident memory of `gptctl run --json --ignore-eos`, see TestMeasure. Weights are random but demo's.\n" +
		"# model\tshape\tdtype\tfile_bytes\tprompt\tnew\tsamples\tthreads\tpeak_bytes\testimate_bytes\toff_percent\n")
	for _, m := range readTable(t) {
		name := m.model
		if name != "demo" {
			name = filepath.Join(models, m.model)
			file := name // GGUF
			if !strings.HasSuffix(name, ".gguf") {
				file = filepath.Join(name, "model.safetensors")
			}
			if info, err := os.Stat(file); err == nil {
				m.file = info.Size()
			} else {
				name = ""
			}
		}
		if name != "" {
			m.peak = peak(t, binary, name, m)
		}
		t.Logf("%+v: %+.1f %%", m, 100*m.off())
		fmt.Fprintf(&out, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%+.1f\n", m.model, m.shape, m.dtype, m.file, m.prompt, m.more, m.samples, m.threads,
			m.peak, Estimate(m.work()).Total(), 100*m.off())
	}
	if err := os.WriteFile(tablePath, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// peak runs the program once.
func peak(t *testing.T, binary, model string, m measurement) int64 {
	t.Helper()
	cmd := exec.Command(binary, "run", "--json", "--ignore-eos", "--model", model, "--seed", "1", "--dtype", string(m.dtype),
		"--threads", fmt.Sprint(m.threads), "-n", fmt.Sprint(m.more), "--samples", fmt.Sprint(m.samples),
		"the"+strings.Repeat(" the", m.prompt-1))
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	var got struct {
		Prompt struct {
			IDs []int `json:"ids"`
		} `json:"prompt"`
		Tokens []json.RawMessage `json:"tokens"`
		Stats  struct {
			Peak int64 `json:"peak_rss_bytes"`
		} `json:"stats"`
	}
	if err := json.NewDecoder(strings.NewReader(string(text))).Decode(&got); err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	if want := []int{m.prompt, m.more}; !slices.Equal(want, []int{len(got.Prompt.IDs), len(got.Tokens)}) {
		t.Fatalf("%v: %d prompt tokens and %d new ones, want %d", cmd, len(got.Prompt.IDs), len(got.Tokens), want)
	}
	return got.Stats.Peak
}
