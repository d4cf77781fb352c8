package clean

import (
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gptctl/gptctl/finetune/corpus/source"
)

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n\n")

// evenSpace makes every line end LF, every space that is not ASCII a space,
// takes spaces from the ends of lines and all but one from between words (not
// from the beginning of a line, where they mean something), keeps at most two
// blank lines in a row, and nothing blank at the document's ends.
func evenSpace(s string, first, last bool) string {
	s = lineEnds.Replace(s)
	if !ascii(s) {
		s = strings.Map(func(r rune) rune {
			switch {
			case r == 0xA0, r == 0x1680, 0x2000 <= r && r <= 0x200A, r == 0x202F, r == 0x205F, r == 0x3000:
				return ' '
			}
			return r
		}, s)
	}
	var out strings.Builder
	out.Grow(len(s))
	blank := 0
	for line := range strings.Lines(s) {
		body, ended := strings.CutSuffix(line, "\n")
		// The end of a part in the middle of a document is not the end of a line.
		if ended {
			body = strings.TrimRight(body, " \t")
		}
		if body == "" && ended {
			if blank++; blank <= 2 {
				out.WriteByte('\n')
			}
			continue
		}
		blank = 0
		oneSpace(&out, body)
		if ended {
			out.WriteByte('\n')
		}
	}
	t := out.String()
	if first {
		// Blank lines go, the indentation of the first line stays.
		for {
			i := strings.IndexByte(t, '\n')
			if i < 0 || strings.Trim(t[:i], " \t") != "" {
				break
			}
			t = t[i+1:]
		}
	}
	if last {
		t = strings.TrimRight(t, " \t\n")
	}
	if t == s {
		return s
	}
	return t
}

// oneSpace writes a line with single spaces between its words.
func oneSpace(out *strings.Builder, line string) {
	i := 0
	for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
		i++
	}
	out.WriteString(line[:i])
	for line = line[i:]; ; {
		i := strings.Index(line, "  ")
		if i < 0 {
			out.WriteString(line)
			return
		}
		out.WriteString(line[:i+1])
		line = strings.TrimLeft(line[i:], " ")
	}
}

// unwrap joins the lines of paragraphs that were broken at a width: those whose
// lines but the last are mostly (four of five) longer than 50 characters. Other
// paragraphs (verse, lists, headings) keep their lines, and so do headings of
// Markdown and the first words of a turn, wherever they stand. Lines are stripped, and
// one blank line stands between paragraphs. White space stays at an end that is not
// the document's: between a prompt and its answer, and between pieces.
func unwrap(s string, first, last bool) string {
	before, after := "", ""
	if !first {
		t := strings.TrimLeftFunc(s, unicode.IsSpace)
		before, s = s[:len(s)-len(t)], t
	}
	if !last {
		t := strings.TrimRightFunc(s, unicode.IsSpace)
		s, after = t, s[len(t):]
	}
	return before + joinLines(s) + after
}

func joinLines(s string) string {
	var out strings.Builder
	var paragraph []string
	give := func() {
		if len(paragraph) == 0 {
			return
		}
		between := "\n\n"
		for part := range parts(paragraph) {
			if out.Len() > 0 {
				out.WriteString(between)
			}
			joinPart(&out, part)
			between = "\n"
		}
		paragraph = paragraph[:0]
	}
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if line == "" {
			give()
			continue
		}
		paragraph = append(paragraph, line)
	}
	give()
	return out.String()
}

// parts divides a paragraph before what begins a line of its own, and after a
// heading.
func parts(paragraph []string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		from := 0
		for i := 1; i <= len(paragraph); i++ {
			if i == len(paragraph) || heading(paragraph[i-1]) || heading(paragraph[i]) || turn(paragraph[i]) {
				if !yield(paragraph[from:i]) {
					return
				}
				from = i
			}
		}
	}
}

// joinPart writes lines with spaces between them, if they were broken at a width.
func joinPart(out *strings.Builder, lines []string) {
	long := 0
	for _, l := range lines[:len(lines)-1] {
		if utf8.RuneCountInString(l) > 50 {
			long++
		}
	}
	between := "\n"
	if n := len(lines) - 1; n > 0 && 5*long >= 4*n {
		between = " "
	}
	out.WriteString(strings.Join(lines, between))
}

// heading reports whether a line is one in Markdown, as those of instructions are.
func heading(line string) bool {
	rest := strings.TrimLeft(line, "#")
	n := len(line) - len(rest)
	return 1 <= n && n <= 6 && strings.HasPrefix(rest, " ")
}

// turn reports whether a line begins what somebody says in a conversation.
func turn(line string) bool {
	t := source.DefaultTemplate
	return slices.ContainsFunc([]string{t.System, t.User, t.Assistant}, func(begin string) bool {
		return strings.HasPrefix(line+" ", begin)
	})
}
