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
	"time"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/mapped"
)

const tablePath = "testdata/measured.tsv"

// measurement is a line of the table: a run of the program and its peak.
type measurement struct {
	model, shape string
	asked, kv    string // types that were asked for, or "auto"
	fileType     DType
	file         int64 // bytes of the weights' file
	prompt, more int   // tokens
	samples      int
	threads      int
	cpu, family  string // a processor, and the kernels on it
	program      int64  // of the program's file in memory; 0 if that was not looked at
	peak         int64  // bytes resident
}

// familyKernels are what the families of the tables take on a processor. Intel's was
// measured with AMX, and before keys and values were in codes beside quantised weights:
// those were F16 then.
var familyKernels = map[string]Kernels{
	"intel/amx": {Tiles: true, Ahead: true}, "intel/avx512": {Ahead: true}, "intel/avx2": {},
	"zen5/avx512": {Pairs: true, Codes: true}, "zen5/avx2": {}, "zen5/generic": {},
}

// otherShapes are those of the table that are none of the published.
var otherShapes = map[string]gpt2.Config{
	"demo":   {VocabSize: 4096, Positions: 256, Embd: 288, Heads: 9, Layers: 6, Inner: 1152, TieWordEmbeddings: true},
	"tiny":   {VocabSize: 50257, Positions: 256, Embd: 128, Heads: 4, Layers: 4, Inner: 512, TieWordEmbeddings: true},
	"untied": {VocabSize: 50257, Positions: 512, Embd: 256, Heads: 4, Layers: 6, Inner: 1024},
	"odd":    {VocabSize: 50257, Positions: 700, Embd: 420, Heads: 6, Layers: 5, Inner: 1000, TieWordEmbeddings: true},
}

func (m measurement) work() Work {
	gguf, floats := strings.HasSuffix(m.model, ".gguf"), m.fileType.bits() >= 16*32
	w := Work{
		DType: DType(m.asked), AsIs: m.asked == "auto", FileDType: m.fileType, FileBytes: m.file, GGUF: gguf || m.shape == "demo",
		Batch: m.samples, Prompt: m.prompt, Context: m.prompt + m.more, Threads: m.threads, Kernels: familyKernels[m.cpu+"/"+m.family], Program: m.program,
	}
	if w.AsIs {
		w.DType = m.fileType
	}
	w.FileMapped = floats && w.DType == m.fileType && (w.AsIs || w.DType == F32 || !w.Kernels.Tiles)
	if m.shape == "demo" {
		w.FileMapped, w.Copied = true, true
	}
	switch c, other := otherShapes[m.shape]; {
	case other:
		w.Config = c
	default:
		known, _ := Lookup(m.shape)
		w.Config = known.Config
	}
	switch {
	case m.kv != "auto":
		w.KVDType = DType(m.kv)
	case m.asked == "bf16" || m.asked == "f16":
		w.KVDType = F16
	}
	return w
}

// off is how much the estimate, with what an older program kept, differs from the peak.
func (m measurement) off() float64 {
	return float64(Estimate(m.work()).Total()+m.older())/float64(m.peak) - 1
}

// older is what the program that Intel's lines are of kept more: of the vocabulary for the
// tokenizer (220 bytes a token, not tokenizerBytes) and for the sampler (eleven lists, not
// six), and with each text's keys and values all of a last huge page.
func (m measurement) older() int64 {
	if m.cpu != "intel" {
		return 0
	}
	w := m.work()
	kv := Estimate(w).KV / int64(w.Batch)
	return (220-tokenizerBytes+(11-6)*4)*int64(w.Config.VocabSize) + int64(w.Batch)*(hugePages(kv)-kv)
}

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
			_, err := fmt.Sscan(line, &m.model, &m.shape, &m.asked, &m.kv, &m.fileType, &m.file, &m.prompt, &m.more, &m.samples, &m.threads, &m.cpu, &m.family, &m.program, &m.peak, &estimate, &off)
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
		t.Logf("%-16s %-4s %5d + %4d tokens × %d, %s %s: %7.1f MB measured, %7.1f estimated, %+.1f %%", m.model, m.asked, m.prompt, m.more, m.samples, m.cpu, m.family,
			float64(m.peak)/1e6, float64(Estimate(m.work()).Total())/1e6, 100*m.off())
		if math.Abs(m.off()) > 0.1 {
			t.Errorf("%+v: estimate off by %+.1f %%: %+v", m, 100*m.off(), Estimate(m.work()))
		}
	}
}

// TestMeasure takes the measurements again, one run each, and writes
// the table. GPTCTL_FIT_BINARY is the program, GPTCTL_FIT_MODELS the folder of
// the models in the table, GPTCTL_FIT_CPU this processor's name there; lines of others, or
// whose model is not there, stay as they are.
func TestMeasure(t *testing.T) {
	binary, models := os.Getenv("GPTCTL_FIT_BINARY"), os.Getenv("GPTCTL_FIT_MODELS")
	if binary == "" || models == "" {
		t.Skip("GPTCTL_FIT_BINARY and GPTCTL_FIT_MODELS are not set")
	}
	var out strings.Builder
	out.WriteString("# Peak resident memory of `gptctl run --json --ignore-eos`, see TestMeasure. Weights are zeros but demo's, those of GGUF files and of zen5.\n" +
		"# intel: two cores of a Xeon with AMX, of an older program that kept more (off_percent counts it, see measurement.older), keys and values beside quantised weights in F16 if auto; zen5: two of an AMD EPYC (family 26), in Q8_0 with avx512.\n" +
		"# model\tshape\tdtype\tkv_dtype\tfile_dtype\tfile_bytes\tprompt\tnew\tsamples\tthreads\tcpu\tkernels\tprogram_bytes\tpeak_bytes\testimate_bytes\toff_percent\n")
	for _, m := range readTable(t) {
		name := m.model
		if m.cpu != os.Getenv("GPTCTL_FIT_CPU") {
			name = ""
		} else if name != "demo" {
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
			m.peak, m.program = peak(t, binary, name, m)
		}
		t.Logf("%+v: %+.1f %%", m, 100*m.off())
		fmt.Fprintf(&out, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%d\t%d\t%d\t%+.1f\n", m.model, m.shape, m.asked, m.kv, m.fileType, m.file, m.prompt, m.more, m.samples, m.threads, m.cpu, m.family,
			m.program, m.peak, Estimate(m.work()).Total(), 100*m.off())
	}
	if err := os.WriteFile(tablePath, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// peak runs the program once. What is in memory of its file is looked at meanwhile.
func peak(t *testing.T, binary, model string, m measurement) (most, program int64) {
	t.Helper()
	cmd := exec.Command(binary, "run", "--json", "--ignore-eos", "--model", model, "--seed", "1", "--dtype", m.asked, "--kv-dtype", m.kv,
		"--threads", fmt.Sprint(m.threads), "-n", fmt.Sprint(m.more), "--samples", fmt.Sprint(m.samples),
		"the"+strings.Repeat(" the", m.prompt-1))
	cmd.Stderr, cmd.Env = os.Stderr, append(os.Environ(), "GPTCTL_CPU="+m.family)
	var text strings.Builder
	cmd.Stdout = &text
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for running := true; running; {
		select {
		case err := <-ended:
			if running = false; err != nil {
				t.Fatalf("%v: %v", cmd, err)
			}
		case <-time.After(10 * time.Millisecond):
			program = max(program, mapped.ProgramOf(cmd.Process.Pid))
		}
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
	if err := json.NewDecoder(strings.NewReader(text.String())).Decode(&got); err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	if want := []int{m.prompt, m.more}; !slices.Equal(want, []int{len(got.Prompt.IDs), len(got.Tokens)}) {
		t.Fatalf("%v: %d prompt tokens and %d new ones, want %d", cmd, len(got.Prompt.IDs), len(got.Tokens), want)
	}
	return got.Stats.Peak, program
}
