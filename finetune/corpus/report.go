package corpus

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gptctl/gptctl/finetune/corpus/clean"
)

// Report says what a corpus was made of and what cleaning took away.
type Report struct {
	Files     []FileReport `json:"files"`
	Skipped   []string     `json:"skipped"` // in folders and patterns: files of formats that are not read, folders (with a / at the end) of models, links (with a @) to folders
	Steps     []StepReport `json:"steps"`
	Documents int          `json:"documents"` // read
	Bytes     int64        `json:"bytes"`     // of their text
	Kept      int          `json:"kept"`      // documents
	KeptBytes int64        `json:"kept_bytes"`
	Tokens    int64        `json:"tokens"` // of the kept documents, without the ends of text
	Masked    int64        `json:"masked"` // of these, prompts

	Train, Validation Part `json:"-"` // depends on the split, not on the cache

	Cache  string `json:"-"` // the file of the tokens; empty: a temporary one
	Cached bool   `json:"-"` // it was there before
}

// Part is one side of the split.
type Part struct {
	Documents int   `json:"documents"`
	Tokens    int64 `json:"tokens"`
}

// FileReport is one file.
type FileReport struct {
	Path      string `json:"path"`
	Format    string `json:"format"`
	Bytes     int64  `json:"bytes"` // on disk
	Documents int    `json:"documents"`
	SameAs    string `json:",omitempty"` // a file with the same contents, which was taken instead
	SHA256    string `json:"sha256"`
}

// StepReport is one cleaning step.
type StepReport struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	On      bool     `json:"on"`
	Changed int      `json:"changed"` // documents
	Removed int      `json:"removed"` // whole documents
	Bytes   int64    `json:"bytes"`   // taken away; negative if the text grew
	Samples []Sample `json:"samples"`
}

// Sample shows one thing that a step did.
type Sample struct {
	Where  string `json:"where"`
	Before string `json:"before"`
	After  string `json:"after"` // what became of it; of a duplicate, where its like is
}

// maxSamples is how many samples are kept of each step.
const maxSamples = 5

// The last steps, which cannot be switched off.
const (
	EmptyStep   = "empty"    // documents in which nothing is left to learn
	HeldOutStep = "held-out" // documents for training that are, or nearly are, in the validation files, too
)

func newReport(set clean.Set) Report {
	var r Report
	for _, s := range clean.Steps() {
		r.Steps = append(r.Steps, StepReport{ID: s.ID, Title: s.Title, On: set[s.ID], Samples: []Sample{}})
	}
	r.Steps = append(r.Steps,
		StepReport{ID: EmptyStep, Title: "documents in which nothing is left to learn", On: true, Samples: []Sample{}},
		StepReport{ID: HeldOutStep, Title: "documents for training that are in the validation files, too", On: true, Samples: []Sample{}})
	return r
}

// note books what a step did to a document.
func (r *Report) note(where string, c clean.Change) {
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.ID != c.Step {
			continue
		}
		if c.Removed {
			s.Removed++
		} else {
			s.Changed++
		}
		s.Bytes += int64(c.Bytes)
		if len(s.Samples) < maxSamples {
			s.Samples = append(s.Samples, Sample{Where: where, Before: c.Before, After: c.After})
		}
	}
}

// WriteText writes the report for people to read.
func (r *Report) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w)
	p := func(format string, args ...any) { fmt.Fprintf(out, format, args...) }
	p("corpus\n")
	files := fmt.Sprintf("%d files", len(r.Files))
	if len(r.Files) == 1 {
		files = "1 file"
	}
	p("  read        %s, %s, from %s\n", documents(r.Documents), size(r.Bytes), files)
	p("  kept        %s, %s, %d tokens", documents(r.Kept), size(r.KeptBytes), r.Tokens)
	if r.Masked > 0 {
		p(" (%d of prompts, not learnt)", r.Masked)
	}
	p("\n  training    %s, %d tokens\n", documents(r.Train.Documents), r.Train.Tokens)
	p("  validation  %s, %d tokens\n", documents(r.Validation.Documents), r.Validation.Tokens)
	for _, s := range r.Steps {
		p("\n%s: %s\n", s.ID, s.Title)
		switch {
		case !s.On:
			p("  off\n")
			continue
		case s.Changed == 0 && s.Removed == 0:
			p("  nothing\n")
			continue
		}
		if s.Changed > 0 {
			p("  changed %s\n", documents(s.Changed))
		}
		if s.Removed > 0 {
			p("  removed %s\n", documents(s.Removed))
		}
		if s.Bytes >= 0 {
			p("  %s taken away\n", size(s.Bytes))
		} else {
			p("  %s added\n", size(-s.Bytes))
		}
		for _, e := range s.Samples {
			p("  %s\n    %s\n", plain(e.Where), strconv.QuoteToGraphic(e.Before))
			switch s.ID {
			case clean.Exact, clean.Near, HeldOutStep:
				p("    like %s\n", plain(e.After))
			case EmptyStep:
			default:
				p("  → %s\n", strconv.QuoteToGraphic(e.After))
			}
		}
	}
	p("\nfiles\n")
	for _, f := range r.Files {
		p("  %s  %s, %s", plain(f.Path), f.Format, size(f.Bytes))
		if f.SameAs != "" {
			p(", the same as %s\n", plain(f.SameAs))
		} else {
			p(", %s\n", documents(f.Documents))
		}
	}
	for _, s := range r.Skipped {
		why := "its name has no format that is known"
		if strings.HasSuffix(s, "/") {
			why = "it holds a model"
		} else if link, ok := strings.CutSuffix(s, "@"); ok {
			s, why = link, "it is a link to a folder, or to nothing: name what is behind it"
		}
		p("  %s  not read: %s\n", plain(s), why)
	}
	return out.Flush()
}

// plain is a name of a file that may hold what a terminal obeys.
func plain(name string) string {
	if strings.ContainsFunc(name, unicode.IsControl) || !utf8.ValidString(name) {
		return strconv.QuoteToGraphic(name)
	}
	return name
}

func documents(n int) string {
	if n == 1 {
		return "1 document"
	}
	return fmt.Sprintf("%d documents", n)
}

// size writes a number of bytes.
func size(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 10_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
