package finetune

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

const metricsName = "metrics.csv"

// point is a line of metrics.csv.
type point struct {
	step           int
	tokens         int64
	seconds        float64
	loss, lr, norm float64
	scale, tokPerS float64
	skipped        bool
	evalLoss       float64 // NaN: not evaluated after this step
}

var metricsHead = []string{"step", "tokens", "seconds", "loss", "lr", "grad_norm", "loss_scale", "tok_s", "skipped", "eval_loss"}

func (p point) record() []string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	eval := ""
	if !math.IsNaN(p.evalLoss) {
		eval = number(p.evalLoss)
	}
	skipped := "0"
	if p.skipped {
		skipped = "1"
	}
	return []string{strconv.Itoa(p.step), strconv.FormatInt(p.tokens, 10), strconv.FormatFloat(p.seconds, 'f', 3, 64),
		number(p.loss), number(p.lr), number(p.norm), number(p.scale), strconv.FormatFloat(p.tokPerS, 'f', 1, 64), skipped, eval}
}

// parsePoints reads a metrics.csv as far as it is whole: the last line of a
// program that was killed may not be.
func parsePoints(data []byte) []point {
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord = len(metricsHead)
	head, err := r.Read()
	if err != nil || !slices.Equal(head, metricsHead) {
		return nil
	}
	var list []point
	for {
		record, err := r.Read()
		if err != nil {
			return list
		}
		var bad error
		number := func(i int) float64 {
			v, err := strconv.ParseFloat(record[i], 64)
			bad = errors.Join(bad, err)
			return v
		}
		p := point{step: int(number(0)), tokens: int64(number(1)), seconds: number(2), loss: number(3), lr: number(4), norm: number(5),
			scale: number(6), tokPerS: number(7), skipped: record[8] == "1", evalLoss: math.NaN()}
		if record[9] != "" {
			p.evalLoss = number(9)
		}
		if bad != nil {
			return list
		}
		list = append(list, p)
	}
}

// metrics keeps the curves in memory and in metrics.csv.
type metrics struct {
	path    string
	disk    disk
	points  []point
	file    *os.File // of which the first points are there
	written int
}

// openMetrics takes over the points up to a step, which are those of the run
// that goes on, and drops the rest.
func openMetrics(d disk, out string, step int) (*metrics, error) {
	m := &metrics{path: filepath.Join(out, metricsName), disk: d}
	if step > 0 {
		data, err := os.ReadFile(m.path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		m.points = parsePoints(data)
	}
	return m, m.cut(step)
}

// cut drops what comes after a step.
func (m *metrics) cut(step int) error {
	m.close()
	m.points = slices.DeleteFunc(m.points, func(p point) bool { return p.step > step })
	err := m.disk.replace(m.path, func(w io.Writer) error {
		c := csv.NewWriter(w)
		_ = c.Write(metricsHead)
		for _, p := range m.points {
			_ = c.Write(p.record())
		}
		c.Flush()
		return c.Error()
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", m.path, err)
	}
	m.written = len(m.points)
	m.file, err = os.OpenFile(m.path, os.O_WRONLY|os.O_APPEND, 0)
	return err
}

// add keeps a point; flush writes it, when it is known whether it has an
// evaluation.
func (m *metrics) add(p point) { m.points = append(m.points, p) }

// eval notes the held-out loss after the last step.
func (m *metrics) eval(step int, loss float64) error {
	n := len(m.points)
	if n == 0 || m.points[n-1].step != step { // before the first step
		return nil
	}
	m.points[n-1].evalLoss = loss
	if m.written == n { // an earlier sitting was interrupted after the step
		return m.cut(step)
	}
	return nil
}

// flush appends the points that are not in the file yet.
func (m *metrics) flush() error {
	if m.file == nil || m.written == len(m.points) {
		return nil
	}
	var b bytes.Buffer
	c := csv.NewWriter(&b)
	for _, p := range m.points[m.written:] {
		_ = c.Write(p.record())
	}
	c.Flush()
	m.written = len(m.points)
	if _, err := m.file.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write %s: %w", m.path, err)
	}
	return nil
}

func (m *metrics) close() {
	if m.file != nil {
		_ = m.flush()
		m.file.Close()
		m.file = nil
	}
}
