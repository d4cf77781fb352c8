package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Peer is another program that measures itself, to stand beside ours. Its last
// line of output is a JSON object whose fields "pp512", "tg128", "tg64x8" (of 8
// sequences at once) and so on are tokens a second.
type Peer struct {
	Name    string
	Command string // for the shell; {dtype} and {threads} become those of our row
	DTypes  []tensor.DType
}

// ParsePeer reads NAME=COMMAND or NAME:DTYPE,…=COMMAND. Without types of weights
// the peer stands beside all.
func ParsePeer(s string) (Peer, error) {
	name, command, ok := strings.Cut(s, "=")
	name, types, some := strings.Cut(name, ":")
	p := Peer{Name: strings.TrimSpace(name), Command: strings.TrimSpace(command)}
	if !ok || p.Name == "" || p.Command == "" {
		return p, errors.New("want NAME=COMMAND or NAME:DTYPE,…=COMMAND")
	}
	if !some {
		return p, nil
	}
	weightTypes := []tensor.DType{tensor.F32, tensor.F16, tensor.BF16, tensor.Q8_0, tensor.Q4_0}
	for word := range strings.SplitSeq(types, ",") {
		i := slices.IndexFunc(weightTypes, func(d tensor.DType) bool { return strings.EqualFold(d.String(), strings.TrimSpace(word)) })
		if i < 0 {
			return p, fmt.Errorf("%q is no type of weights: want f32, f16, bf16, q8_0 or q4_0", word)
		}
		p.DTypes = append(p.DTypes, weightTypes[i])
	}
	return p, nil
}

// Beside says whether the peer is to be held against weights of a type.
func (p Peer) Beside(d tensor.DType) bool { return len(p.DTypes) == 0 || slices.Contains(p.DTypes, d) }

// PeerRow is a test of a peer.
type PeerRow struct {
	Peer  string
	DType tensor.DType
	Test  string // "pp512", "tg128"
	Batch int
	Rates []float64 // tokens a second of each run
	Ratio float64   // to ours in the same test, the median of the rounds; 0 where we have none
}

// Median returns the middle rate.
func (r PeerRow) Median() float64 { return median(r.Rates) }

// Peers are what their runs beside one subject have given.
type Peers struct {
	dtype tensor.DType
	rows  []*PeerRow
}

// Beside begins the runs of peers beside weights of a type.
func Beside(d tensor.DType) *Peers { return &Peers{dtype: d} }

var peerTest = regexp.MustCompile(`^((?:pp|tg)[1-9][0-9]{0,6})(?:x([1-9][0-9]{0,3}))?$`)

// mostRate is in tokens a second: whoever states more is in error, and a mean of such
// numbers may be infinite, which JSON cannot say.
const mostRate = 1e15

// Run runs a peer once.
func (ps *Peers) Run(ctx context.Context, p Peer, threads int) error {
	dtype := strings.ToLower(ps.dtype.String())
	command := strings.NewReplacer("{dtype}", dtype, "{threads}", strconv.Itoa(threads)).Replace(p.Command)
	shell := []string{"sh", "-c", command}
	if runtime.GOOS == "windows" {
		shell = []string{"cmd", "/C", command}
	}
	cmd := exec.CommandContext(ctx, shell[0], shell[1:]...)
	endsAsGroup(cmd)
	cmd.WaitDelay = time.Second // what the shell has started may live on elsewhere
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		_ = cmd.Cancel() // it would compute beside what is measured next
		return fmt.Errorf("peer %s: its command ended, but something that it has started goes on and keeps its output open", p.Name)
	}
	if err != nil {
		err = fmt.Errorf("peer %s: %w", p.Name, err)
		if line := lastLine(complaint.Bytes()); line != "" {
			err = fmt.Errorf("%w: %.200s", err, line)
		}
		return err
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(lastLine(out)), &fields); err != nil {
		return fmt.Errorf("peer %s: the last line of its output is no JSON object: %.80q", p.Name, lastLine(out))
	}
	if d, ok := fields["dtype"].(string); ok && !strings.EqualFold(d, dtype) {
		return fmt.Errorf("peer %s measures %s, not %s: name it %s:%s, or let its command have {dtype}", p.Name, d, dtype, p.Name, d)
	}
	found := false
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		m, rate := peerTest.FindStringSubmatch(key), 0.0
		if m != nil {
			rate, _ = fields[key].(float64)
		}
		if rate <= 0 {
			continue
		}
		if rate > mostRate {
			return fmt.Errorf("peer %s: its %s of %.3g tokens a second is no speed", p.Name, key, rate)
		}
		found = true
		batch := 1
		if m[2] != "" {
			batch, _ = strconv.Atoi(m[2])
		}
		ps.add(PeerRow{Peer: p.Name, DType: ps.dtype, Test: m[1], Batch: batch}, rate)
	}
	if !found {
		return fmt.Errorf("peer %s: its JSON has no tokens a second, such as \"pp512\" or \"tg128\"", p.Name)
	}
	return nil
}

func (ps *Peers) add(like PeerRow, rate float64) {
	i := slices.IndexFunc(ps.rows, func(r *PeerRow) bool {
		return r.Peer == like.Peer && r.Test == like.Test && r.Batch == like.Batch
	})
	if i < 0 {
		i = len(ps.rows)
		ps.rows = append(ps.rows, &like)
	}
	ps.rows[i].Rates = append(ps.rows[i].Rates, rate)
}

// Rows returns what the runs gave, held against our rows.
func (ps *Peers) Rows(ours []Row) []PeerRow {
	var rows []PeerRow
	for _, r := range ps.rows {
		if o := ps.same(*r, ours); o != nil {
			var ratios []float64
			for i := range min(len(r.Rates), len(o.Rates)) {
				ratios = append(ratios, r.Rates[i]/o.Rates[i])
			}
			r.Ratio = median(ratios)
		}
		rows = append(rows, *r)
	}
	slices.SortStableFunc(rows, func(a, b PeerRow) int {
		return cmp.Or(cmp.Compare(a.Test[:2], b.Test[:2]), cmp.Compare(a.Batch, b.Batch))
	})
	return rows
}

// same finds our row of a peer's test. The speed of writing depends little on
// how many tokens are written, but much on the texts at once.
func (ps *Peers) same(r PeerRow, ours []Row) *Row {
	var like *Row
	for i, o := range ours {
		switch {
		case o.Batch != r.Batch:
		case o.Test == r.Test:
			return &ours[i]
		case strings.HasPrefix(r.Test, "tg") && strings.HasPrefix(o.Test, "tg") && !strings.Contains(o.Test, "@"):
			like = &ours[i]
		}
	}
	return like
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
