package bench

import (
	"context"
	"errors"
	"math"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/tensor"
)

func TestParsePeer(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Peer
		ok   bool
	}{
		{"llama.cpp=python x.py --a=b", Peer{Name: "llama.cpp", Command: "python x.py --a=b"}, true},
		{" torch : f32, BF16 = run ", Peer{Name: "torch", Command: "run", DTypes: []tensor.DType{tensor.F32, tensor.BF16}}, true},
		{"llama.cpp:q8_0,Q4_0=run", Peer{Name: "llama.cpp", Command: "run", DTypes: []tensor.DType{tensor.Q8_0, tensor.Q4_0}}, true},
		{"torch", Peer{}, false}, {"=run", Peer{}, false}, {"a=", Peer{}, false}, {"a:=run", Peer{}, false}, {"a:i8=run", Peer{}, false}, {"", Peer{}, false},
	} {
		p, err := ParsePeer(c.in)
		if (err == nil) != c.ok || c.ok && (p.Name != c.want.Name || p.Command != c.want.Command || !slices.Equal(p.DTypes, c.want.DTypes)) {
			t.Errorf("%q: %+v, %v", c.in, p, err)
		}
	}
	p := Peer{DTypes: []tensor.DType{tensor.BF16}}
	if p.Beside(tensor.F32) || !p.Beside(tensor.BF16) || !(Peer{}).Beside(tensor.Q4_0) {
		t.Error("beside the wrong types")
	}
}

func TestPeers(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	ours := []Row{
		{Test: "pp512", Batch: 1, Rates: []float64{10, 20}},
		{Test: "tg128", Batch: 1, Rates: []float64{10, 20}},
		{Test: "tg128", Batch: 8, Rates: []float64{10, 20}},
		{Test: "tg128@d512", Batch: 8, Rates: []float64{1, 1}},
	}
	ps := Beside(tensor.BF16)
	say := func(line string) Peer { return Peer{Name: "p", Command: "echo loading; echo '" + line + "'"} }
	for range 2 {
		if err := ps.Run(t.Context(), say(`{"peer":"x","dtype":"{dtype}","threads":{threads},"pp512":5,"tg64x8":40,"tg64x2":7,"tg128":1e3,"peak":3,"pp":4,"tg1":"x"}`), 2); err != nil {
			t.Fatal(err)
		}
	}
	want := []PeerRow{
		{Test: "pp512", Batch: 1, Rates: []float64{5, 5}, Ratio: 0.375},
		{Test: "tg128", Batch: 1, Rates: []float64{1000, 1000}, Ratio: 75},
		{Test: "tg64", Batch: 2, Rates: []float64{7, 7}},
		{Test: "tg64", Batch: 8, Rates: []float64{40, 40}, Ratio: 3},
	}
	rows := ps.Rows(ours)
	if len(rows) != len(want) {
		t.Fatalf("%+v", rows)
	}
	for i, r := range rows {
		if r.Peer != "p" || r.DType != tensor.BF16 || r.Test != want[i].Test || r.Batch != want[i].Batch || r.Ratio != want[i].Ratio || r.Median() != want[i].Rates[0] || len(r.Rates) != 2 {
			t.Errorf("row %d is %+v, want %+v", i, r, want[i])
		}
	}
	for line, part := range map[string]string{
		"": "no JSON object", "[1]": "no JSON object", "{}": "no tokens a second", `{"pp512":-1}`: "no tokens a second",
		`{"dtype":"f32","pp512":1}`: "measures f32, not bf16", `{"tg128x8":1e308}`: "tg128x8 of 1e+308 tokens a second is no speed",
	} {
		if err := Beside(tensor.BF16).Run(t.Context(), say(line), 2); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v", line, err)
		}
	}
	err := Beside(tensor.BF16).Run(t.Context(), Peer{Name: "p", Command: "echo what happened >&2; exit 7"}, 2)
	if err == nil || err.Error() != "peer p: exit status 7: what happened" {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ps.Run(ctx, say("{}"), 2); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A slice counts if the limits around it agree.
func TestJudge(t *testing.T) {
	ok, wild := slice{rate: 8, bound: 10, settled: true}, slice{rate: 30, bound: 10}
	row := Row{}
	row.hold([]verdict{judge([]slice{ok, wild, wild, ok}), judge([]slice{wild})})
	if row.Share() != 0.8 || row.Bound != 10 || row.Settled != 0.25 || len(row.Shares) != 1 {
		t.Errorf("%+v", row)
	}
	row = Row{}
	row.hold([]verdict{judge([]slice{wild}), judge([]slice{wild})})
	if !math.IsNaN(row.Share()) || row.Bound != 10 || row.Settled != 0 || len(row.Shares) != 0 {
		t.Errorf("%+v", row)
	}
}
