// Package clean takes out of a corpus what a model should not learn. It works
// in steps that can be switched off one by one, and says of each what it did.
package clean

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/finetune/corpus/source"
)

// The steps, by the names that settings and reports use.
const (
	Mojibake    = "mojibake"
	HTML        = "html"
	Control     = "control"
	NFC         = "nfc"
	Space       = "space"
	Unwrap      = "unwrap"
	Boilerplate = "boilerplate"
	Exact       = "exact"
	Near        = "near"
)

// Step describes one step.
type Step struct {
	ID       string
	Title    string
	Default  bool // on unless told otherwise
	Revision int  // one more whenever it does something else, with the tokens that caches hold
}

// Steps lists all steps in the order in which they work.
func Steps() []Step {
	return []Step{
		{Mojibake, "text that was decoded wrongly (â€™ for ’) is repaired", true, 0},
		{HTML, "HTML tags, comments and entities become text", true, 0},
		{Control, "control and zero-width characters, terminal codes", true, 0},
		{NFC, "characters are composed (Unicode NFC)", true, 0},
		{Space, "line ends, spaces and blank lines are made even", true, 0},
		{Unwrap, "lines that were broken at a width are joined", false, 2},
		{Boilerplate, "Project Gutenberg's frame, lines of web pages, lines that recur in many documents", true, 0},
		{Exact, "documents that occur before", true, 0},
		{Near, "documents that are nearly the same as one before", true, 0},
	}
}

// text is the steps that change a text by itself; first and last tell whether
// it is the beginning and the end of its document.
var text = []struct {
	id    string
	apply func(s string, first, last bool) string
}{
	{Mojibake, func(s string, _, _ bool) string { return repair(s) }},
	{HTML, func(s string, _, _ bool) string { return stripHTML(s) }},
	{Control, func(s string, _, _ bool) string { return stripControl(s) }},
	{NFC, func(s string, _, _ bool) string { return compose(s) }},
	{Space, evenSpace},
	{Unwrap, unwrap},
}

// Set is which steps are on.
type Set map[string]bool

// Names lists the steps by their names.
func Names() (names []string) {
	for _, s := range Steps() {
		names = append(names, s.ID)
	}
	return names
}

// Choose gives the steps that are on by default, less off and more on. The word
// "all" stands for every step.
func Choose(on, off []string) (Set, error) {
	set := Set{}
	names := Names()
	for _, s := range Steps() {
		set[s.ID] = s.Default
	}
	for _, change := range []struct {
		ids []string
		to  bool
	}{{off, false}, {on, true}} {
		for _, id := range change.ids {
			if id == "all" {
				for _, n := range names {
					set[n] = change.to
				}
				continue
			}
			if !slices.Contains(names, id) {
				return nil, fmt.Errorf("there is no cleaning step %q, want one of %s", id, strings.Join(names, ", "))
			}
			set[id] = change.to
		}
	}
	return set, nil
}

// Change is what a step did to one document.
type Change struct {
	Step    string
	Removed bool   // the whole document
	Bytes   int    // fewer than before; negative if it grew
	Before  string // excerpts around the first difference
	After   string
}

// Document works the steps that need only the document itself. It changes the
// document's parts in place.
func (set Set) Document(d *source.Document) []Change {
	var changes []Change
	for _, step := range text {
		if !set[step.id] {
			continue
		}
		c := Change{Step: step.id}
		changed := false
		for i := range d.Parts {
			before := d.Parts[i].Text
			after := step.apply(before, i == 0 && !d.Continues, i == len(d.Parts)-1 && !d.More)
			if after == before {
				continue
			}
			if !changed {
				c.Before, c.After = excerpts(before, after)
			}
			changed = true
			c.Bytes += len(before) - len(after)
			d.Parts[i].Text = after
		}
		if changed {
			changes = append(changes, c)
		}
	}
	if set[Boilerplate] && len(d.Parts) == 1 {
		before := d.Parts[0].Text
		if after := unframe(before); after != before {
			c := Change{Step: Boilerplate, Bytes: len(before) - len(after)}
			c.Before, c.After = excerpts(before, after)
			d.Parts[0].Text = after
			changes = append(changes, c)
		}
	}
	return changes
}

// Empty reports whether nothing is left to learn: no text, or only prompts.
func Empty(d *source.Document) bool {
	for _, p := range d.Parts {
		if !p.Masked && strings.TrimSpace(p.Text) != "" {
			return false
		}
	}
	return true
}
