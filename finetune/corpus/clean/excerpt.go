package clean

import (
	"strings"
	"unicode/utf8"
)

// The length of an excerpt in bytes: before the first difference, and in all.
const (
	excerptLead = 24
	excerptAll  = 96
)

// excerpts cuts out of both texts what is around their first difference.
func excerpts(before, after string) (string, string) {
	n := 0
	for n < len(before) && n < len(after) && before[n] == after[n] {
		n++
	}
	// The end of the difference, so that a small change gives a small excerpt.
	end := 0
	for end < len(before)-n && end < len(after)-n && before[len(before)-1-end] == after[len(after)-1-end] {
		end++
	}
	return Excerpt(before, n-excerptLead, len(before)-end+excerptLead), Excerpt(after, n-excerptLead, len(after)-end+excerptLead)
}

// Excerpt cuts s[from:to] at whole characters, at most excerptAll bytes of it.
func Excerpt(s string, from, to int) string {
	from, to = max(from, 0), min(to, len(s))
	cut := to-from > excerptAll
	to = min(to, from+excerptAll)
	for from > 0 && from < len(s) && !utf8.RuneStart(s[from]) {
		from--
	}
	for to < len(s) && to > from && !utf8.RuneStart(s[to]) {
		to--
	}
	out := strings.ToValidUTF8(s[from:max(from, to)], "\uFFFD")
	if cut {
		out += "…"
	}
	return out
}
