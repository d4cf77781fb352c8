package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/gptctl/gptctl/fetch"
)

// fetchProgress shows the events of a fetch: bars on a terminal, lines in a
// pipe, JSON on stdout with --json, nothing with --quiet.
type fetchProgress struct {
	t       *terminal
	events  bool      // JSON events go to stdout
	screen  io.Writer // stderr, if it is a terminal
	width   int
	painted int // lines of bars that are on the screen
	total   *progressbar.ProgressBar
	files   []fileBar // under way, in the order they began
	last    time.Time // of the last line in a pipe
}

type fileBar struct {
	name string
	bar  *progressbar.ProgressBar
}

func newFetchProgress(t *terminal, events bool) *fetchProgress {
	p := &fetchProgress{t: t, events: events, last: time.Now()}
	if f, ok := t.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) && !t.quiet {
		p.screen, p.width = f, 100
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
			p.width = w
		}
	}
	return p
}

// event is fetch.Options.Progress.
func (p *fetchProgress) event(e fetch.Event) {
	if p.events {
		_ = p.t.printJSON(fetchEventJSON(e)) // a reader that left is noticed at the end
	}
	if p.t.quiet {
		return
	}
	switch e := e.(type) {
	case fetch.PlanEvent:
		missing := e.Bytes
		for _, f := range e.Files {
			if f.Cached {
				missing -= f.Size
			} else {
				missing -= f.Partial
			}
		}
		p.line("%s at %.12s: %d files, %s, %s to fetch", e.Model, e.Revision, len(e.Files), size(e.Bytes), size(missing))
		p.total = p.bar("total", e.Bytes)
	case fetch.FileEvent:
		p.file(e)
	case fetch.RetryEvent:
		what := e.File
		if what == "" {
			what = "the Hub"
		}
		p.line("%s: %v; try %d comes in %.1f s", what, e.Err, e.Try+1, e.Wait.Seconds())
	case fetch.MendEvent:
		p.line("%s: bytes %d to %d are wrong and come again", e.File, e.From, e.To)
	case fetch.ProgressEvent:
		p.progress(e)
	}
	p.paint()
}

func (p *fetchProgress) file(e fetch.FileEvent) {
	i := slices.IndexFunc(p.files, func(f fileBar) bool { return f.name == e.File })
	switch {
	case e.Done:
		if i >= 0 {
			p.files = slices.Delete(p.files, i, i+1)
		}
		p.line("%s  %s, verified", e.File, size(e.Size))
	case e.Waiting:
		p.line("%s: another process is fetching it, waiting", e.File)
	case i < 0:
		if e.Resumed > 0 {
			p.line("%s: going on at %s of %s", e.File, size(e.Resumed), size(e.Size))
		}
		p.files = append(p.files, fileBar{e.File, p.bar(e.File, e.Size)})
	}
}

// A pipe gets a line about the whole so often.
const pipeInterval = 5 * time.Second

func (p *fetchProgress) progress(e fetch.ProgressEvent) {
	for _, f := range p.files {
		if f.name == e.File {
			_ = f.bar.Set64(e.Complete)
		}
	}
	if p.total != nil {
		_ = p.total.Set64(e.AllComplete)
	}
	if p.screen == nil && time.Since(p.last) >= pipeInterval {
		p.last = time.Now()
		rate, left := 0.0, ""
		if p.total != nil {
			rate = p.total.State().KBsPerSecond * 1024
		}
		if rate > 0 {
			left = fmt.Sprintf(", %.0f s left", float64(e.AllSize-e.AllComplete)/rate)
		}
		p.line("%s of %s, %s/s%s", size(e.AllComplete), size(e.AllSize), size(int64(rate)), left)
	}
}

// bar makes a bar that draws into a string, since schollz/progressbar draws
// one line and a fetch has several.
func (p *fetchProgress) bar(name string, bytes int64) *progressbar.ProgressBar {
	const most = 26
	if len(name) > most {
		name = "…" + name[len(name)-most+1:]
	}
	return progressbar.NewOptions64(max(bytes, 1),
		progressbar.OptionSetDescription(fmt.Sprintf("%-*s", most, name)),
		progressbar.OptionSetWriter(io.Discard),
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowTotalBytes(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionThrottle(0),
		progressbar.OptionSetWidth(max(5, p.width-most-50)),
	)
}

// paint draws the bars over those of the last time.
func (p *fetchProgress) paint() {
	if p.screen == nil {
		return
	}
	var b strings.Builder
	p.erase(&b)
	for _, f := range p.files {
		p.paintLine(&b, f.bar)
	}
	if p.total != nil {
		p.paintLine(&b, p.total)
	}
	_, _ = io.WriteString(p.screen, b.String())
}

func (p *fetchProgress) paintLine(b *strings.Builder, bar *progressbar.ProgressBar) {
	line := []rune(strings.Trim(bar.String(), "\r\n "))
	if len(line) >= p.width {
		line = line[:p.width-1]
	}
	b.WriteString(string(line) + "\n")
	p.painted++
}

// erase goes back to where the bars begin.
func (p *fetchProgress) erase(b *strings.Builder) {
	if p.painted > 0 {
		fmt.Fprintf(b, "\x1b[%dA\x1b[J", p.painted)
		p.painted = 0
	}
}

// line prints a line that stays, above the bars.
func (p *fetchProgress) line(format string, args ...any) {
	var b strings.Builder
	p.erase(&b)
	fmt.Fprintf(&b, format+"\n", args...)
	_, _ = io.WriteString(p.t.err, b.String())
}

// close takes the bars away.
func (p *fetchProgress) close() {
	var b strings.Builder
	p.erase(&b)
	_, _ = io.WriteString(p.t.err, b.String())
}

// fetchEventJSON is an event of the schema gptctl.fetch/1.
func fetchEventJSON(e fetch.Event) any {
	out := map[string]any{"schema": "gptctl.fetch/1"}
	set := func(event string, pairs ...any) {
		out["event"] = event
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i].(string)] = pairs[i+1]
		}
	}
	switch e := e.(type) {
	case fetch.PlanEvent:
		files := []map[string]any{}
		for _, f := range e.Files {
			files = append(files, map[string]any{"file": f.Path, "bytes": f.Size, "hash": f.Hash, "cached": f.Cached, "partial_bytes": f.Partial})
		}
		set("plan", "model", e.Model, "revision", e.Revision, "path", e.Path, "endpoint", e.Endpoint,
			"bytes", e.Bytes, "room_bytes", e.Room, "available_bytes", e.Available, "files", files)
	case fetch.FileEvent:
		set("file", "file", e.File, "bytes", e.Size, "resumed_bytes", e.Resumed, "waiting", e.Waiting, "done", e.Done)
	case fetch.ProgressEvent:
		set("progress", "file", e.File, "complete_bytes", e.Complete, "bytes", e.Size,
			"all_complete_bytes", e.AllComplete, "all_bytes", e.AllSize, "downloaded_bytes", e.Downloaded)
	case fetch.RetryEvent:
		set("retry", "file", e.File, "error", oneLine(e.Err.Error()), "wait_s", e.Wait.Seconds(), "try", e.Try)
	case fetch.MendEvent:
		set("mend", "file", e.File, "from", e.From, "to", e.To, "cached", e.Cached)
	case fetch.DoneEvent:
		set("done", "model", e.Model, "revision", e.Revision, "path", e.Path, "bytes", e.Bytes,
			"downloaded_bytes", e.Downloaded, "seconds", e.Duration.Seconds(), "verified", e.Verified)
	case fetch.ErrorEvent:
		set("error", "error", oneLine(e.Err.Error()))
	}
	return out
}
