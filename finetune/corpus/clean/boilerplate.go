package clean

import (
	"hash/fnv"
	"regexp"
	"strings"

	"github.com/gptctl/gptctl/finetune/corpus/source"
)

var (
	bookStart = regexp.MustCompile(`(?m)^(?:\*{3} ?START OF (?:THE|THIS) PROJECT GUTENBERG EBOOK|\*END\*?(?: ?THE)? SMALL PRINT!)[^\n]*\n`)
	bookEnd   = regexp.MustCompile(`(?m)^(?:\*{3} ?END OF (?:THE|THIS) PROJECT GUTENBERG EBOOK|End of (?:the |this )?Project Gutenberg(?:'s|’s)?)[^\n]*(?:\n|\z)`)
	furniture = regexp.MustCompile(`(?i)^(?:skip to (?:main )?(?:content|navigation)|share this:?|share (?:on|via) (?:facebook|twitter|x|linkedin|reddit|pinterest|email|whatsapp)|tweet|like this:|like loading\.\.\.|follow us on .*|subscribe to our newsletter.*|sign up for our newsletter.*|all rights reserved\.?|(?:copyright )?(?:©|\(c\)) ?(?:copyright )?[0-9]{4}.*all rights reserved\.?|terms of (?:use|service)|privacy policy|cookie policy|terms of (?:use|service) ?[|·-] ?privacy policy|we use cookies .*|this (?:web)?site uses cookies.*|accept (?:all )?cookies|back to top|read more ?(?:»|\.\.\.|…)?|related (?:posts|articles|stories):?|leave a (?:comment|reply)|advertisements?|please enable javascript.*|javascript (?:is disabled|must be enabled).*|print this page|(?:proudly )?powered by wordpress.*)$`)
)

// unframe takes away what Project Gutenberg puts around its books, and lines
// that are furniture of web pages.
func unframe(s string) string {
	if strings.Contains(s, "Gutenberg") || strings.Contains(s, "GUTENBERG") {
		if at := bookStart.FindStringIndex(s); at != nil {
			s = strings.TrimLeft(s[at[1]:], "\n")
		}
		if at := bookEnd.FindStringIndex(s); at != nil {
			s = strings.TrimRight(s[:at[0]], "\n")
		}
	}
	return dropLines(s, func(line string) bool { return len(line) <= 200 && furniture.MatchString(line) })
}

// dropLines removes the lines that, without the white space around them, are
// unwanted.
func dropLines(s string, unwanted func(line string) bool) string {
	var out strings.Builder
	kept, at := 0, 0
	for line := range strings.Lines(s) {
		if t := strings.TrimSpace(line); t != "" && unwanted(t) {
			out.WriteString(s[kept:at])
			kept = at + len(line)
		}
		at += len(line)
	}
	if kept == 0 {
		return s
	}
	out.WriteString(s[kept:])
	t := out.String()
	for strings.Contains(t, "\n\n\n\n") { // no gap where they were
		t = strings.ReplaceAll(t, "\n\n\n\n", "\n\n\n")
	}
	return t
}

// What a line must be to count as boilerplate because it recurs.
const (
	recurDocuments = 10   // in so many documents at least
	recurShare     = 0.10 // and in this part of them
	recurLetters   = 20   // bytes; shorter lines are headings or talk
)

// Lines counts in how many documents each line occurs.
type Lines struct {
	documents int
	count     map[uint64]int32
}

// LinesOf gives the hashes of the lines of a document that may be boilerplate,
// each once. Documents with prompts have none.
func LinesOf(d *source.Document) []uint64 {
	if len(d.Parts) != 1 {
		return nil
	}
	seen := make(map[uint64]bool)
	var hashes []uint64
	for line := range strings.Lines(d.Parts[0].Text) {
		h, ok := lineHash(strings.TrimSpace(line))
		if ok && !seen[h] {
			seen[h] = true
			hashes = append(hashes, h)
		}
	}
	return hashes
}

func lineHash(line string) (uint64, bool) {
	if len(line) < recurLetters || strings.Count(line, " ") < 3 {
		return 0, false
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(line)) // never fails
	return h.Sum64(), true
}

// maxLines bounds the memory of counting, about 2 GB. In a corpus with more
// different lines the ones seen first are counted.
const maxLines = 50 << 20

// Add counts the lines of one document.
func (l *Lines) Add(hashes []uint64) {
	if l.count == nil {
		l.count = make(map[uint64]int32)
	}
	l.documents++
	for _, h := range hashes {
		if n, ok := l.count[h]; ok || len(l.count) < maxLines {
			l.count[h] = n + 1
		}
	}
}

// Recurring gives the lines that are boilerplate.
func (l *Lines) Recurring() map[uint64]bool {
	set := make(map[uint64]bool)
	for h, n := range l.count {
		if n >= recurDocuments && float64(n) >= recurShare*float64(l.documents) {
			set[h] = true
		}
	}
	return set
}

// DropLines removes recurring lines from a document and books it with what
// boilerplate was removed before.
func DropLines(d *source.Document, recurring map[uint64]bool, changes []Change) []Change {
	if len(recurring) == 0 || len(d.Parts) != 1 {
		return changes
	}
	before := d.Parts[0].Text
	after := dropLines(before, func(line string) bool {
		h, ok := lineHash(line)
		return ok && recurring[h]
	})
	if after == before {
		return changes
	}
	if !d.More {
		after = strings.TrimRight(after, "\n")
	}
	d.Parts[0].Text = after
	bytes := len(before) - len(after)
	for i := range changes {
		if changes[i].Step == Boilerplate {
			changes[i].Bytes += bytes
			return changes
		}
	}
	c := Change{Step: Boilerplate, Bytes: bytes}
	c.Before, c.After = excerpts(before, after)
	return append(changes, c)
}
