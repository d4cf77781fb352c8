//go:build limits

package bench

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel"
)

// The limits of all processors that the process may use agree within 5 % with
// plain C loops, measured in turns. It is a check of a quiet machine, not of the
// code alone: `.ci/slow limits` runs it.
func TestLimitsAgainstC(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "limits")
	if out, err := exec.Command("cc", "-O3", "-march=native", "-pthread", "-o", binary, "testdata/limits.c").CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	threads := runtime.NumCPU() // that taskset allows
	c, err := kernel.New(kernel.Options{Threads: threads, Family: os.Getenv("GPTCTL_CPU")})
	if err != nil {
		t.Fatal(err)
	}
	meter := NewCPUMeter(c)
	peer := startC(t, binary, threads)
	for _, l := range []struct {
		limit Limit
		loops []string // the fastest is the limit
	}{{Read, []string{"read1", "read2", "ahead2", "ahead4", "far4"}}, {F32, []string{"f32"}}, {BF16, []string{"bf16"}}, {Int8, []string{"int8"}}} {
		const rounds = 60
		ratios := make([][]float64, len(l.loops))
		rates := make([][]float64, len(l.loops)+1)
		measure := func() float64 {
			v, err := meter.Measure(t.Context(), l.limit)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		before := measure()
		for range rounds {
			for i, loop := range l.loops {
				theirs := peer.rate(loop)
				after := measure()
				rates[i] = append(rates[i], theirs)
				rates[len(l.loops)] = append(rates[len(l.loops)], after)
				if math.Abs(before-after) <= agree*max(before, after) {
					ratios[i] = append(ratios[i], (before+after)/2/theirs)
				}
				before = after
			}
		}
		if median(rates[0]) == 0 || median(rates[len(l.loops)]) == 0 {
			t.Logf("%d threads, %s: ours %.1f, C %.1f", threads, l.limit, median(rates[len(l.loops)]), median(rates[0]))
			continue
		}
		best := math.Inf(1)
		for i, loop := range l.loops {
			slices.Sort(ratios[i])
			n := len(ratios[i])
			if n < rounds/4 {
				t.Fatalf("%d threads, %s: %d of %d rounds are settled; is the machine quiet?", threads, loop, n, rounds)
			}
			best = min(best, median(ratios[i]))
			t.Logf("%d threads, %s: ours %.1f, C %s %.1f, ratio %.3f (quartiles %.3f to %.3f of %d)", threads, l.limit,
				median(rates[len(l.loops)]), loop, median(rates[i]), median(ratios[i]), ratios[i][n/4], ratios[i][n*3/4], n)
		}
		if math.Abs(best-1) > 0.05 {
			t.Errorf("%d threads, %s: %.3f of the fastest C loop", threads, l.limit, best)
		}
	}
	meter.Close()
	c.Close()
}

// cLoops is the running C program.
type cLoops struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

func startC(t *testing.T, binary string, threads int) *cLoops {
	cmd := exec.CommandContext(t.Context(), binary, strconv.Itoa(threads))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &cLoops{t, in, bufio.NewScanner(out)}
}

func (c *cLoops) rate(loop string) float64 {
	if _, err := fmt.Fprintln(c.in, loop); err != nil || !c.out.Scan() {
		c.t.Fatalf("%s: the C program has ended: %v", loop, err)
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(c.out.Text()), 64)
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}
