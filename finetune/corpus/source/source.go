// Package source reads the documents of a corpus: text, JSON lines, CSV and
// Parquet, plain or compressed with gzip or zstd.
//
// Files are taken for hostile: a document, a line or a record is never larger
// than MaxRecord in memory, and everything that cannot be read is an error that
// names the file and the line.
package source

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Document is one text of a corpus, or a piece of one.
type Document struct {
	File  string // as it was found
	Line  int    // where it begins, from 1; 0 where the format has no lines
	Row   int    // the record, from 1, in formats of records; else 0
	Parts []Part

	// A text file too large to be held at once comes in pieces, cut where a
	// line begins: More says that another piece follows, Continues that this
	// one follows another.
	More, Continues bool
}

// Part is a stretch of a document that is learnt, or only read.
type Part struct {
	Text   string
	Masked bool // a prompt: the model sees it and is not trained to write it
}

// Where names the place that a document comes from.
func (d *Document) Where() string {
	switch {
	case d.Line > 0:
		return fmt.Sprintf("%s:%d", d.File, d.Line)
	case d.Row > 0:
		return fmt.Sprintf("%s: record %d", d.File, d.Row)
	}
	return d.File
}

// Text returns all parts in one.
func (d *Document) Text() string {
	if len(d.Parts) == 1 {
		return d.Parts[0].Text
	}
	var b strings.Builder
	for _, p := range d.Parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// Piece reports whether the document is a piece of a larger one.
func (d *Document) Piece() bool { return d.More || d.Continues }

// MaxRecord is the most bytes of one line of JSON, one record of CSV or one
// value of Parquet; and of one line of a text file.
const MaxRecord = 64 << 20

// maxPiece is where a document of a text file is cut into pieces, in bytes.
const maxPiece = 4 << 20

// Options say how files are read. The zero value reads UTF-8 and finds the
// fields by their usual names.
type Options struct {
	// Encoding is what text files, JSON lines and CSV are written in: "" or
	// "utf-8" refuses what is not UTF-8, "replace" puts U+FFFD in its place,
	// "windows-1252" (which Latin-1 is part of) takes the lines that are not
	// UTF-8 for windows-1252. UTF-16 is recognised by its byte order mark.
	Encoding string
	// Column names the field that holds the text, in place of the usual names.
	Column string
	// Separator is what stands between the documents of a text file; empty: the
	// whole file is one document.
	Separator string
	// Template writes instructions and conversations as text.
	Template Template
}

// Check refuses settings that mean nothing.
func (o *Options) Check() error {
	switch o.Encoding {
	case "", encodingUTF8, encodingReplace, encodingWindows:
		return nil
	}
	return fmt.Errorf("encoding %q is not known, want utf-8, replace or windows-1252", o.Encoding)
}

// Yield takes a document; an error ends the reading and comes back from Read.
type Yield func(Document) error

// Read gives the documents of a file in their order.
func Read(ctx context.Context, f File, o Options, yield Yield) error {
	if err := o.Check(); err != nil {
		return err
	}
	each := func(d Document) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		d.File = f.Path
		return yield(d)
	}
	if f.Format == Parquet {
		return readParquet(ctx, f, o, each)
	}
	r, err := open(f)
	if err != nil {
		return err
	}
	defer r.Close()
	switch f.Format {
	case Text:
		return readText(r, f, o, each)
	case JSONLines:
		return readJSONLines(r, f, o, each)
	case JSON:
		return readJSON(r, f, o, each)
	case CSV, TSV:
		return readCSV(r, f, o, each)
	}
	return fmt.Errorf("read %s: unknown format %q", f.Path, f.Format)
}

const (
	encodingUTF8    = "utf-8"
	encodingReplace = "replace"
	encodingWindows = "windows-1252"
)

// decode turns a line or field that begins at a line into UTF-8.
func (o *Options) decode(f File, line int, b []byte) (string, error) {
	if utf8.Valid(b) {
		return string(b), nil
	}
	switch o.Encoding {
	case encodingReplace:
		return strings.ToValidUTF8(string(b), "\uFFFD"), nil
	case encodingWindows:
		var s strings.Builder
		for _, c := range b {
			s.WriteRune(windows1252[c])
		}
		return s.String(), nil
	}
	at := 0
	for at < len(b) {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n <= 1 {
			break
		}
		if b[at] == '\n' {
			line++
		}
		at += n
	}
	return "", fmt.Errorf("read %s:%d: byte 0x%02x is not UTF-8; read such lines as windows-1252 (Latin-1) with encoding=windows-1252, or lose them with encoding=replace",
		f.Path, line, b[at])
}

// windows1252 is what each byte means; the five that mean nothing are themselves.
var windows1252 = func() (t [256]rune) {
	for i := range t {
		t[i] = rune(i)
	}
	for i, r := range []rune("€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ") {
		t[0x80+i] = r
	}
	return t
}()
