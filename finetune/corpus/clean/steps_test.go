package clean

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gptctl/gptctl/finetune/corpus/source"
)

func TestSteps(t *testing.T) {
	space := func(s string) string { return evenSpace(s, true, true) }
	joined := func(s string) string { return unwrap(s, true, true) }
	for _, c := range []struct {
		name     string
		do       func(string) string
		in, want string
	}{
		{"html", stripHTML, "<p>One <b>bold</b> word</p><p>two<br/>three</p>", "One bold word\ntwo\nthree\n"},
		{"html", stripHTML, "a<script type=\"x\">if (a<b) {}</script>b<!-- no\nmore -->c<style>p{}</style>", "abc"},
		{"html", stripHTML, "a < b and c > d, <|endoftext|> <unknown> x<y", "a < b and c > d, <|endoftext|> <unknown> x<y"},
		{"html", stripHTML, "AT&T &amp; Co&nbsp;&lt;b&gt; ?a=1&copy=2", "AT&T & Co\u00a0<b> ?a=1&copy=2"},
		{"control", stripControl, "a\x00b\x07c\x1b[31mred\x1b[0m\x7f\u0081\td\r\n", "abcred\td\r\n"},
		{"control", stripControl, "\x1b]0;title\x07text", "text"},
		{"control", stripControl, "zero\u200bwidth\ufeff soft\u00adhyphen \u202eback\u202c", "zerowidth softhyphen back"},
		{"control", stripControl, "page\ftwo", "page\ntwo"},
		{"control", stripControl, "👩\u200d💻 می\u200cخواهم क्\u200dष a\u200db x\u200c", "👩\u200d💻 می\u200cخواهم क्\u200dष ab x"},
		{"control", stripControl, "hid\U000E0068\U000E0069den 🏴\U000E0067\U000E0062\U000E007F", "hidden 🏴\U000E0067\U000E0062\U000E007F"},
		{"space", space, "\r\n \t\n  one\u00a0two  three \r\nfour\rfive\u2028six\n\n\n\n\nseven\t\n \n", "  one two three\nfour\nfive\nsix\n\n\nseven"},
		{"space", space, "\tindented\n\t\tmore   words\n", "\tindented\n\t\tmore words"},
		{"space", space, "\u2003\u3000x", "  x"},
		{"space", space, " \n\n", ""},
		{"unwrap", joined, strings.Repeat("A line that is longer than fifty characters, by a few.\n", 3) + "end.\n\nHead\n\nRoses are red\nviolets are blue\n",
			"A line that is longer than fifty characters, by a few. A line that is longer than fifty characters, by a few. A line that is longer than fifty characters, by a few. end.\n\nHead\n\nRoses are red\nviolets are blue"},
		{"boilerplate", unframe, "Produced by X\n*** START OF THE PROJECT GUTENBERG EBOOK EMMA ***\n\n\nEmma\n\n*** END OF THE PROJECT GUTENBERG EBOOK EMMA ***\nlicence", "Emma"},
		{"boilerplate", unframe, "Small print\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\nText by Project Gutenberg's friends\nEnd of Project Gutenberg's Emma\n", "Text by Project Gutenberg's friends"},
		{"boilerplate", unframe, "Title\nShare this:\n\n\n\nText.\n© 2019 Firm. All rights reserved.\nPrivacy Policy\nWe share this: all rights reserved for you.", "Title\n\n\nText.\nWe share this: all rights reserved for you."},
	} {
		if got := c.do(c.in); got != c.want {
			t.Errorf("%s: %q gives %q, want %q", c.name, c.in, got, c.want)
		}
	}
}

func one(s string) *source.Document {
	return &source.Document{File: "f", Line: 1, Parts: []source.Part{{Text: s}}}
}

// The boundary between a prompt and its answer keeps its white space.
func TestParts(t *testing.T) {
	set, err := Choose(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &source.Document{Parts: []source.Part{{Text: "\n\nQ:  why?\r\nA: ", Masked: true}, {Text: " be&amp;cause \n"}}}
	changes := set.Document(d)
	if d.Parts[0].Text != "Q: why?\nA: " || d.Parts[1].Text != " be&cause" {
		t.Errorf("parts are %+v", d.Parts)
	}
	if len(changes) != 2 || changes[0].Step != HTML || changes[0].Bytes != 4 || changes[1].Step != Space || changes[1].Bytes != 6 {
		t.Errorf("changes are %+v", changes)
	}
	if changes[0].Before != " be&amp;cause \n" || changes[0].After != " be&cause \n" {
		t.Errorf("the sample is %q, %q", changes[0].Before, changes[0].After)
	}
}

// So it does where lines are joined, and so does the boundary between pieces of a document.
func TestUnwrapParts(t *testing.T) {
	set, err := Choose([]string{Unwrap}, []string{"all"})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("word ", 12) + "end"
	d := &source.Document{Parts: []source.Part{{Text: " Q:\n", Masked: true}, {Text: " " + long + "\n" + long + "\n"}, {Text: " \n", Masked: true}, {Text: "end\n"}}}
	set.Document(d)
	if want := "Q:\n " + long + " " + long + "\n \nend"; d.Text() != want {
		t.Errorf("the document is %q, want %q", d.Text(), want)
	}
	wrapped, joined := strings.Repeat(long+"\n", 6), strings.Repeat(long+" ", 5)+long
	d = &source.Document{Parts: []source.Part{
		{Text: "### Instruction:\n" + wrapped + "\n### Input:\n" + wrapped + "\n\n### Response:\n", Masked: true}, {Text: wrapped + "# Head\n" + wrapped},
		{Text: "System: Be brief.\nUser: " + wrapped + "Assistant:", Masked: true}, {Text: " " + wrapped}}}
	set.Document(d)
	if want := "### Instruction:\n" + joined + "\n\n### Input:\n" + joined + "\n\n### Response:\n" + joined + "\n# Head\n" + joined + "\n" +
		"System: Be brief.\nUser: " + joined + "\nAssistant: " + joined; d.Text() != want {
		t.Errorf("the document is %q, want %q", d.Text(), want)
	}
	for _, c := range []struct {
		continues, more bool
		want            string
	}{{false, false, "a\nb"}, {false, true, "a\nb\n"}, {true, false, "\na\nb"}, {true, true, "\na\nb\n"}} {
		d := &source.Document{Parts: []source.Part{{Text: "\na\nb\n"}}, More: c.more, Continues: c.continues}
		if set.Document(d); d.Text() != c.want {
			t.Errorf("a piece becomes %q, want %q", d.Text(), c.want)
		}
	}
}

func TestChoose(t *testing.T) {
	set, err := Choose([]string{Unwrap}, []string{"all"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Steps() {
		if set[s.ID] != (s.ID == Unwrap) {
			t.Errorf("%s is %v", s.ID, set[s.ID])
		}
	}
	d := one("  <b>\x00&amp;")
	if changes := (Set{}).Document(d); changes != nil || d.Text() != "  <b>\x00&amp;" {
		t.Errorf("nothing is on, yet %+v", changes)
	}
	if _, err := Choose(nil, []string{"nbsp"}); err == nil || !strings.Contains(err.Error(), `no cleaning step "nbsp", want one of mojibake, html`) {
		t.Errorf("error is %v", err)
	}
}

func TestRecurringLines(t *testing.T) {
	var l Lines
	doc := func(i int) *source.Document {
		return one(fmt.Sprintf("Story %d\nYou are reading the Daily Paper online.\nIt was night number %d and nothing stirred.\n\nChapter I", i, i))
	}
	for i := range 20 {
		l.Add(LinesOf(doc(i)))
	}
	d := doc(5)
	changes := DropLines(d, l.Recurring(), nil)
	if want := "Story 5\nIt was night number 5 and nothing stirred.\n\nChapter I"; d.Text() != want {
		t.Errorf("got %q, want %q", d.Text(), want)
	}
	if len(changes) != 1 || changes[0].Bytes != len("You are reading the Daily Paper online.\n") {
		t.Errorf("changes are %+v", changes)
	}
}

func TestDuplicates(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func(n int) []string {
		w := make([]string, n)
		for i := range w {
			w[i] = fmt.Sprintf("word%d", r.IntN(2000))
		}
		return w
	}
	set, _ := Choose(nil, nil)
	u := NewDuplicates(set)
	check := func(d *source.Document, want string) {
		t.Helper()
		if step, _, _ := u.Check(d, PrintOf(d)); step != want {
			t.Errorf("%.40q: %q, want %q", d.Text(), step, want)
		}
	}
	base := text(400)
	join := func(w []string) *source.Document { return one(strings.Join(w, " ")) }
	check(join(base), "")
	check(join(base), Exact)
	check(one(strings.ToUpper(strings.Join(base, ", "))), Near)
	few := slices.Clone(base)
	few[100], few[300] = "other", "words" // similarity about 0.95
	check(join(few), Near)
	half := append(slices.Clone(base[:200]), text(200)...) // about 0.33
	check(join(half), "")
	for range 50 {
		check(join(text(300)), "")
	}
	check(one("short text here"), "")
	check(one("short text, here"), "")
	check(one("short text here"), Exact)

	// Questions about one text are different if their answers are.
	context := strings.Join(text(300), " ")
	ask := func(q, a string) *source.Document {
		return &source.Document{Parts: []source.Part{{Text: context + q, Masked: true}, {Text: a}}}
	}
	check(ask(" who?", "Ann"), "")
	check(ask(" where?", "Rome"), "")
	check(ask(" Who?", "Ann."), Near)
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"Ã©tÃ© â€™", "<p>a&eacute;</p>\x1b[0m\u200d", "\r\n \t x\u2029\n\n\n\n", "e\u0301 \u1100\u1161", "*** START OF THE PROJECT GUTENBERG EBOOK\n", "\xff\xfe"} {
		f.Add(s)
	}
	set, _ := Choose([]string{Unwrap}, nil)
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "?")
		d := one(s)
		for _, c := range set.Document(d) {
			if !utf8.ValidString(c.Before) || !utf8.ValidString(c.After) {
				t.Errorf("the sample %q, %q is not UTF-8", c.Before, c.After)
			}
		}
		if !utf8.ValidString(d.Text()) {
			t.Errorf("%q becomes %q", s, d.Text())
		}
		for _, even := range []func(string) string{compose, stripControl, joinLines, func(s string) string { return evenSpace(s, true, true) }} {
			once := even(s)
			if twice := even(once); twice != once {
				t.Errorf("%q becomes %q, then %q", s, once, twice)
			}
		}
		LinesOf(d)
		PrintOf(d)
	})
}
