package kernel

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Every family of this machine passes, quickly.
func TestSelfTest(t *testing.T) {
	for _, o := range append(families(), twinOps()) {
		start := time.Now()
		if err := o.selfTest(); err != nil {
			t.Errorf("%s: %v", o.name, err)
		}
		t.Logf("%s: %v", o.name, time.Since(start))
	}
}

// The self-test finds whatever a family computes wrongly, and what it cannot do.
func TestSelfTestFindsFaults(t *testing.T) {
	for name, damage := range map[string]func(o *ops){
		"accumulate BF16": func(o *ops) {
			f := o.accumulate
			o.accumulate = func(d tensor.DType, y []float32, ldy int, x []float32, ldx, rows, depth int, w []byte, stride, cols int) {
				if d == tensor.BF16 && depth%8 != 0 {
					depth-- // a forgotten tail
				}
				f(d, y, ldy, x, ldx, rows, depth, w, stride, cols)
			}
		},
		"multiply F32": func(o *ops) {
			f := o.multiply
			o.multiply = func(c []float32, ldc int, a []float32, lda int, b []float32, ldb, mr, k int, load bool) {
				f(c, ldc, a, lda, b, ldb, mr, k, false)
			}
		},
		"sum":  func(o *ops) { o.sum = func(x []float32) float32 { return 0 } },
		"gate": func(o *ops) { o.gate = func([]float32, float32, float32) { panic("not here") } },
		"exponential": func(o *ops) {
			f := o.expSum
			o.expSum = func(s []float32, m float32) float32 { defer func() { s[36]++ }(); return f(s, m) }
		},
		"products Q8_0": func(o *ops) {
			f := o.products
			o.products = func(d tensor.DType, y []float32, ldy int, x []generic.Block, rows int, w []byte, panels int) {
				f(d, y, ldy, x, rows, w, panels)
				if rows >= 12 && panels > 1 {
					y[11*ldy+panelOuts]++ // a kernel of many rows and two panels
				}
			}
		},
		"few rows Q4_0": func(o *ops) {
			f := o.fewBlocks
			o.fewBlocks = func(p *generic.FewProduct) {
				if f(p); p.DType == tensor.Q4_0 && p.Rows > 2 && p.Rows <= 4 {
					p.Y1[2*p.LDY]++
				}
			}
		},
		"panels of pairs": func(o *ops) {
			f := o.pairs.panel
			o.pairs.panel = func(y []float32, ldy int, x []uint32, ldx, rows, depth int, w []byte) {
				if f(y, ldy, x, ldx, rows, depth, w); rows >= 12 {
					y[11*ldy]++
				}
			}
		},
	} {
		o := twinOps()
		o.name = "damaged"
		damage(o)
		err := o.selfTest()
		if err == nil || !strings.Contains(err.Error(), name+":") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestChoose(t *testing.T) {
	list := func(damaged ...string) []candidate {
		var all []*ops
		for _, name := range []string{"wide", "narrow", "plain"} {
			o := genericOps()
			o.name = name
			for _, d := range damaged {
				if d == name {
					o.sum = func(x []float32) float32 { return 7 }
				}
			}
			all = append(all, o)
		}
		return judged(all)
	}
	locked := []refusal{{"huge", errors.New("locked away")}}
	for _, c := range []struct {
		damaged       []string
		refused       []refusal
		name          string
		want, skipped string
		err           string
	}{
		{want: "wide"},
		{name: "narrow", want: "narrow"},
		{damaged: []string{"wide"}, want: "narrow", skipped: "wide: self-test: sum: value 0 is 7"},
		{damaged: []string{"wide", "narrow"}, want: "plain", skipped: "narrow: self-test"},
		{damaged: []string{"wide"}, name: "wide", err: `family "wide": it computes wrongly here (self-test: sum`},
		{damaged: []string{"wide"}, name: "tall", err: `family "tall": this machine has narrow, plain`},
		{refused: locked, want: "wide", skipped: "huge: locked away"},
		{refused: locked, name: "huge", err: `family "huge": locked away`},
		{refused: locked, name: "narrow", want: "narrow"},
	} {
		o, skipped, err := choose(list(c.damaged...), c.refused, c.name)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: got error %v", c, err)
			}
			var refused *RefusedError
			if errors.As(err, &refused) != (c.refused != nil) {
				t.Errorf("%+v: got error %#v", c, err)
			}
			continue
		}
		if err != nil || o.name != c.want {
			t.Errorf("%+v: got %v, error %v", c, o, err)
			continue
		}
		if joined := strings.Join(skipped, "; "); !strings.Contains(joined, c.skipped) || (c.skipped == "") != (joined == "") {
			t.Errorf("%+v: skipped %q", c, joined)
		}
	}
}

// A primitive that joins the table of a family joins the self-test too.
func TestSelfTestCoversOps(t *testing.T) {
	entries(reflect.TypeFor[ops](), nil, func(name string, path []int) {
		offered, checked := false, false
		for _, o := range append(families(), twinOps()) {
			part := *o
			entry := reflect.ValueOf(&part).Elem()
			for _, i := range path {
				if entry.Kind() == reflect.Pointer { // a table within: another copy
					if entry.IsNil() {
						break
					}
					inner := reflect.New(entry.Type().Elem())
					inner.Elem().Set(writable(entry).Elem())
					writable(entry).Set(inner)
					entry = inner.Elem()
				}
				entry = entry.Field(i)
			}
			if entry.IsNil() {
				continue
			}
			offered = true
			writable(entry).SetZero()
			for _, c := range selfChecks {
				got, err := attempt(&part, c.run)
				before, _ := attempt(o, c.run)
				checked = checked || err != nil || (got == nil) != (before == nil)
			}
		}
		if offered && !checked {
			t.Errorf("no self-check uses ops.%s", name)
		}
	})
}

// writable lets reflection change a field that is not exported.
func writable(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
}

// entries visits the functions of a table and of those it points to, but for
// those that measure the machine and compute nothing.
func entries(table reflect.Type, path []int, visit func(name string, path []int)) {
	for i := range table.NumField() {
		f := table.Field(i)
		here := append(slices.Clone(path), i)
		switch {
		case f.Type.Kind() == reflect.Func && !strings.HasPrefix(f.Name, "read") && !strings.HasPrefix(f.Name, "peak"):
			visit(f.Name, here)
		case f.Type.Kind() == reflect.Pointer:
			entries(f.Type.Elem(), here, visit)
		}
	}
}
