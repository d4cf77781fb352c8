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
	total   *fileBar
	files   []*fileBar // under way, in the order they began
	last    time.Time  // of the last line in a pipe
	rate    rate
}

type fileBar struct {
	file, name     string
	size, complete int64
	bar            *progressbar.ProgressBar
}

func (b *fileBar) set(complete int64) {
	b.complete = complete
	_ = b.bar.Set64(complete)
}

// rate is the speed of the last seconds.
type rate struct {
	times []time.Time
	bytes []int64 // that had come by then
}

const rateWindow = 5 * time.Second

func (r *rate) add(bytes int64) {
	now := time.Now()
	r.times, r.bytes = append(r.times, now), append(r.bytes, bytes)
	for len(r.times) > 2 && now.Sub(r.times[1]) > rateWindow {
		r.times, r.bytes = r.times[1:], r.bytes[1:]
	}
}

// perSecond is 0 as long as nothing can be said.
func (r *rate) perSecond() float64 {
	n := len(r.times)
	if n < 2 {
		return 0
	}
	d := r.times[n-1].Sub(r.times[0]).Seconds()
	if d <= 0 {
		return 0
	}
	return float64(r.bytes[n-1]-r.bytes[0]) / d
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
	i := slices.IndexFunc(p.files, func(f *fileBar) bool { return f.file == e.File })
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
		bar := p.bar(e.File, e.Size)
		bar.file = e.File
		bar.set(e.Resumed)
		p.files = append(p.files, bar)
	}
}

// A pipe gets a line about the whole so often.
const pipeInterval = 5 * time.Second

func (p *fetchProgress) progress(e fetch.ProgressEvent) {
	for _, f := range p.files {
		if f.file == e.File {
			f.set(e.Complete)
		}
	}
	if p.total != nil {
		p.total.set(e.AllComplete)
	}
	p.rate.add(e.Downloaded)
	if p.screen == nil && time.Since(p.last) >= pipeInterval {
		p.last = time.Now()
		p.line("%s of %s%s", size(e.AllComplete), size(e.AllSize), p.speed(e.AllSize-e.AllComplete))
	}
}

// speed is the rate and the time that the rest takes at it.
func (p *fetchProgress) speed(rest int64) string {
	r := p.rate.perSecond()
	if r < 1 {
		return ""
	}
	left := time.Duration(float64(rest) / r * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("  %s/s  %s left", size(int64(r)), left)
}

// bar makes a bar that draws into a string, since schollz/progressbar draws
// one line and a fetch has several. Its own rate would count what an earlier
// fetch left, so the numbers behind it are ours.
func (p *fetchProgress) bar(name string, bytes int64) *fileBar {
	if r := []rune(name); len(r) > nameWidth {
		name = "…" + string(r[len(r)-nameWidth+1:])
	}
	return &fileBar{name: name, size: bytes, bar: progressbar.NewOptions64(max(bytes, 1),
		progressbar.OptionSetDescription(fmt.Sprintf("%-*s", nameWidth, name)),
		progressbar.OptionSetWriter(io.Discard),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionThrottle(0),
		progressbar.OptionSetWidth(max(5, p.width-nameWidth-numbersWidth)),
	)}
}

// The columns of a painted line, beside the bar: the name, and percent, bytes,
// rate and time left.
const (
	nameWidth    = 24
	numbersWidth = 50
)

// paint draws the bars over those of the last time.
func (p *fetchProgress) paint() {
	if p.screen == nil {
		return
	}
	var b strings.Builder
	p.erase(&b)
	for _, f := range p.files {
		p.paintLine(&b, f, "")
	}
	if p.total != nil {
		p.paintLine(&b, p.total, p.speed(p.total.size-p.total.complete))
	}
	_, _ = io.WriteString(p.screen, b.String())
}

func (p *fetchProgress) paintLine(b *strings.Builder, f *fileBar, speed string) {
	drawn := strings.Trim(f.bar.String(), "\r\n ")
	line := []rune(fmt.Sprintf("%s  %s of %s%s", drawn, size(f.complete), size(f.size), speed))
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
