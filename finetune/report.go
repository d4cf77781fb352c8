package finetune

import (
	_ "embed"
	"html/template"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const reportName = "report.html"

//go:embed report.tmpl
var reportText string

// reportData is what the template shows.
type reportData struct {
	Name, Model, DataHash  string
	Step, Steps            int
	Tokens                 int64
	Loss                   float64
	BestStep               int
	BestLoss               float64
	Took                   time.Duration
	Charts                 []chart
	Samples                []Sample // the newest first
	Recipe                 string
	Parameters             int
	Skipped                int
	HasEval, Early, Undone bool
}

// report writes OUT/report.html, which needs no other file and no network.
func (l *loop) report() error {
	t, err := template.New("report").Parse(reportText)
	if err != nil {
		panic(err) // it is part of the program
	}
	s := l.Settings
	d := reportData{
		Name: filepath.Base(filepath.Clean(s.Out)), Model: l.Model, DataHash: l.Data.Hash(), Step: l.at.Step, Steps: s.Steps,
		Tokens: l.at.Tokens, Loss: l.at.LastLoss, BestStep: l.at.BestStep, BestLoss: l.at.BestLoss,
		Took:       time.Duration(l.at.Seconds * float64(time.Second)).Round(time.Second),
		Charts:     charts(l.metrics.points, s.Steps),
		Recipe:     string(s.TOML()),
		Parameters: l.Parameters, HasEval: l.at.BestStep > 0, Early: l.at.Stopped, Undone: l.at.Step < s.Steps && !l.at.Stopped,
	}
	d.Samples = slices.Clone(l.at.Samples)
	slices.Reverse(d.Samples)
	for i := range d.Samples {
		d.Samples[i].Text, d.Samples[i].Prompt = visible(d.Samples[i].Text), visible(d.Samples[i].Prompt)
	}
	for _, p := range l.metrics.points {
		if p.skipped {
			d.Skipped++
		}
	}
	return l.disk.replace(filepath.Join(s.Out, reportName), func(w io.Writer) error { return t.Execute(w, d) })
}

// visible puts pictures in the place of control characters, which HTML may not
// hold and a model of bytes writes.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < ' ' && r != '\n' && r != '\t':
			return '\u2400' + r
		case r == 0x7f:
			return '\u2421'
		case 0x80 <= r && r < 0xa0:
			return '\ufffd'
		}
		return r
	}, s)
}

// charts draws the curves of a run.
func charts(points []point, steps int) []chart {
	line := func(name, class string, value func(point) float64) series {
		s := series{Name: name, Class: class}
		for _, p := range points {
			if v := value(p); !math.IsNaN(v) && !math.IsInf(v, 0) {
				s.add(float64(p.step), v)
			}
		}
		return s
	}
	loss := func(p point) float64 { return p.loss }
	all := []chart{
		draw("Loss", "nats per token", steps, false, line("training", "a", loss), line("held out", "b", func(p point) float64 { return p.evalLoss })),
		draw("Learning rate", "", steps, false, line("learning rate", "a", func(p point) float64 { return p.lr })),
		draw("Gradient norm", "before clipping", steps, true, line("norm", "a", func(p point) float64 { return p.norm })),
		draw("Loss scale", "", steps, true, line("scale", "a", func(p point) float64 { return p.scale })),
		draw("Throughput", "tokens per second", steps, false, line("tokens/s", "a", func(p point) float64 { return p.tokPerS })),
	}
	return all
}
