package finetune

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/safetensors"
)

// The bytes of a small event file, which TensorBoard 2.21 reads (its
// event_file_loader, run by hand): the file's version, a start at step 4, and
// train/loss 1.5, lr 0.25 at step 4.
func TestEventFile(t *testing.T) {
	dir := t.TempDir()
	e, err := openEvents(dir, 3, func() time.Time { return time.Unix(1700000000, 500e6) })
	if err != nil {
		t.Fatal(err)
	}
	if err := e.scalars(4, scalar{"train/loss", 1.5}, scalar{"lr", 0.25}); err != nil {
		t.Fatal(err)
	}
	e.close()
	found, _ := filepath.Glob(filepath.Join(dir, tensorboardName, "events.out.tfevents.1700000000.*"))
	if len(found) != 1 {
		t.Fatalf("found %v", found)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	var records [][]byte
	for len(data) > 0 {
		n := binary.LittleEndian.Uint64(data)
		if crc := binary.LittleEndian.Uint32(data[8:]); crc != masked(data[:8]) {
			t.Fatalf("the length has checksum %08x", crc)
		}
		body := data[12 : 12+n]
		if crc := binary.LittleEndian.Uint32(data[12+n:]); crc != masked(body) {
			t.Fatalf("record %d has checksum %08x", len(records), crc)
		}
		records, data = append(records, body), data[16+n:]
	}
	wall := "\x09" + string(binary.LittleEndian.AppendUint64(nil, math.Float64bits(1700000000.5)))
	want := []string{
		wall + "\x10\x00" + "\x1a\x0dbrain.Event:2",
		wall + "\x10\x04" + "\x3a\x02\x08\x01",
		wall + "\x10\x04" + "\x2a\x1e" + "\x0a\x11\x0a\x0atrain/loss\x15\x00\x00\xc0\x3f" + "\x0a\x09\x0a\x02lr\x15\x00\x00\x80\x3e",
	}
	if len(records) != len(want) {
		t.Fatalf("got %d records", len(records))
	}
	for i := range want {
		if string(records[i]) != want[i] {
			t.Errorf("record %d is %q\nwant %q", i, records[i], want[i])
		}
	}
	// From the CRC-32C test vector of RFC 3720, B.4: 32 bytes of zeros.
	if crc := crc32.Checksum(make([]byte, 32), castagnoli); crc != 0x8a9136aa {
		t.Errorf("CRC-32C of zeros is %08x", crc)
	}
}

func masked(data []byte) uint32 {
	crc := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return ((crc >> 15) | (crc << 17)) + 0xa282ead8
}

func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	m, err := openMetrics(newFile, dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	for step := 1; step <= 5; step++ {
		m.add(point{step: step, tokens: int64(step) * 10, seconds: float64(step), loss: 1 / float64(step), lr: 1e-4, norm: math.Inf(1), scale: 65536, tokPerS: 100,
			skipped: step == 2, evalLoss: math.NaN()})
		if step == 4 {
			if err := m.eval(4, 2.5); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.flush(); err != nil {
			t.Fatal(err)
		}
	}
	want := m.points
	m.close()
	path := filepath.Join(dir, metricsName)
	data, _ := os.ReadFile(path)
	if got := parsePoints(data); len(got) != 5 || got[3].evalLoss != 2.5 || !got[1].skipped || got[2].loss != want[2].loss {
		t.Errorf("got %+v", got)
	}
	// The last line is cut short, and two steps are to be done again.
	if err := os.WriteFile(path, data[:len(data)-5], 0o666); err != nil {
		t.Fatal(err)
	}
	if m, err = openMetrics(newFile, dir, 3); err != nil {
		t.Fatal(err)
	}
	defer m.close()
	if len(m.points) != 3 || !reflect.DeepEqual(m.points[0].record(), want[0].record()) {
		t.Errorf("got %+v", m.points)
	}
}

func TestReport(t *testing.T) {
	j, _ := fakeJob(t, 30, "sample_prompts=<b>Once</b>\x00\x7f\r", "eval_every=10")
	j.Model = "<script>alert(1)</script>"
	r, _ := mustTrain(t, j)
	data, err := os.ReadFile(r.Report)
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for _, want := range []string{"<h2>Loss ", "<h2>Learning rate", "<h2>Gradient norm", "<h2>Loss scale", "<h2>Throughput", "<h2>Samples", "Finished after 30 steps", "held out",
		"&lt;b&gt;Once&lt;/b&gt;␀␡", "&lt;script&gt;", `<polyline class="a" points="`} {
		if !strings.Contains(page, want) {
			t.Errorf("the report has no %s", want)
		}
	}
	// It needs nothing from elsewhere, and draws no number that is not one.
	if found := regexp.MustCompile(`(?i)https?://|src=|<link|@import|NaN|Inf\b|<script`).FindString(page); found != "" {
		t.Errorf("the report holds %q", found)
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct{ low, high float64 }{{0, 1}, {2.1, 9.8}, {-3, 1e-9}, {1e-5, 5e-5}, {0, 12345}, {7, 7}, {0, 1e300}} {
		list := ticks(c.low, c.high)
		if len(list) == 0 || len(list) > 8 || list[0] > c.low || list[len(list)-1] < c.high*(1-1e-9) {
			t.Errorf("%v: %v", c, list)
		}
	}
}

func TestThin(t *testing.T) {
	y := make([]float64, 50_000)
	y[12345], y[40000] = 5, -5
	var sum float64
	list := thin(y)
	for i, at := range list {
		sum += math.Abs(y[at])
		if i > 0 && at <= list[i-1] {
			t.Fatal("the points are not in order")
		}
	}
	if len(list) > 1500 || sum != 10 {
		t.Errorf("%d points, sum %v", len(list), sum)
	}
}

func TestExport(t *testing.T) {
	j, f := fakeJob(t, 4, "export=last")
	j.License = "mit"
	j.Settings.Data = []string{"/home/me/secret/a.txt"}
	r, _ := mustTrain(t, j)
	file, err := safetensors.Open(filepath.Join(r.Path, weightsName))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, want := range f.State().Weights {
		got, ok := file.Tensor(want.Name)
		if !ok || string(got.Data) != string(want.Tensor.Data) {
			t.Errorf("%s is not the trainer's", want.Name)
		}
	}
	card, _ := os.ReadFile(filepath.Join(r.Path, "README.md"))
	for _, want := range []string{"---\nlicense: mit\nbase_model: gpt2\n", "| steps | 4 of 4 |", "`sha256:data`", "`sha256:model`", "lr = 0.01", "a.txt"} {
		if !strings.Contains(string(card), want) {
			t.Errorf("the card has no %q:\n%s", want, card)
		}
	}
	for _, secret := range []string{"/home/me", r.Path} {
		if strings.Contains(string(card), secret) {
			t.Errorf("the card tells of %s", secret)
		}
	}

	j, _ = fakeJob(t, 4, "lora.rank=2")
	j.Adapter = []byte("{}")
	r, _ = mustTrain(t, j)
	for name, there := range map[string]bool{adapterName: true, "adapter_config.json": true, weightsName: false, "config.json": false} {
		if _, err := os.Stat(filepath.Join(r.Path, name)); (err == nil) != there {
			t.Errorf("adapter: %s: %v", name, err)
		}
	}
}

// Where an adapter is never added to the weights, no memory is counted for that.
func TestMemoryOfAdapter(t *testing.T) {
	config, _ := gpt2.Shape("gpt2")
	weights := func(overrides ...string) int64 {
		s := Defaults()
		for _, o := range append(overrides, "lora.rank=8") {
			if err := Override(&s, o); err != nil {
				t.Fatal(err)
			}
		}
		m, err := CheckMemory(s, work(s, config, 0), 64<<30)
		if err != nil {
			t.Fatal(err)
		}
		return m.Weights
	}
	apart := weights("lora.merge=false", "sample_every=0")
	for _, o := range []string{"eval_every=0", "sample_prompts=[]"} {
		if w := weights("lora.merge=false", o); w != apart {
			t.Errorf("%s: %d bytes of weights, want %d", o, w, apart)
		}
	}
	for _, o := range []string{"lora.merge=true sample_every=0", "lora.merge=false", "lora.merge=false sample_every=9 eval_every=0"} {
		if w := weights(strings.Fields(o)...); w != apart+12*4*768*2304 {
			t.Errorf("%s: %d bytes of weights, want %d and the merged c_attn", o, w, apart)
		}
	}
}

func TestCheckMemory(t *testing.T) {
	config, ok := gpt2.Shape("gpt2")
	if !ok {
		t.Fatal("gpt2 has no shape")
	}
	s := Defaults()
	s.Batch, s.Accumulate = 16, 2
	s, err := s.ForModel(config.Positions, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckMemory(s, work(s, config, 0), 64<<30); err != nil {
		t.Error(err)
	}
	all, _ := CheckMemory(s, work(s, config, 0), 64<<30)
	if half, err := CheckMemory(s, work(s, config, 50<<20), 64<<30); err != nil || all.Total()-half.Total() != 12*50<<20 {
		t.Errorf("50 Mi frozen numbers: %d of %d bytes, %v", half.Total(), all.Total(), err)
	}
	_, err = CheckMemory(s, work(s, config, 0), 3<<30)
	failed, ok := err.(*MemoryError)
	if !ok {
		t.Fatalf("got %v", err)
	}
	words, costs := failed.Overrides()
	if len(words) == 0 || len(costs) != len(words) {
		t.Fatalf("no way out of %v", err)
	}
	// What it says must fit, and the same rows must make a step.
	tried := false
	for _, line := range words {
		next := s
		model := false
		for _, word := range strings.Fields(line) {
			model = model || strings.HasPrefix(word, "model=")
			if err := Override(&next, word); err != nil {
				t.Fatal(err)
			}
		}
		if model {
			continue
		}
		tried = true
		if _, err := CheckMemory(next, work(next, config, 0), 3<<30); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if strings.Contains(line, "accumulate") && next.Batch*next.Accumulate != 32 {
			t.Errorf("%s makes steps of %d rows, want 32", line, next.Batch*next.Accumulate)
		}
	}
	if !tried {
		t.Errorf("nothing to try in %q", words)
	}
}
