package source

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// readText reads a text file: documents between separators, large ones in pieces.
func readText(r *stream, f File, o Options, yield Yield) error {
	if head, _ := r.Peek(4096); isBinary(head) {
		return notText(f, head)
	}
	var (
		l         = lines{f: f, r: r}
		doc       strings.Builder
		from      = 1
		continues bool
	)
	give := func(more bool, next int) error {
		text := doc.String()
		doc.Reset()
		at := from
		from = next
		if text == "" && !continues {
			return nil
		}
		c := continues
		continues = more
		return yield(Document{Line: at, Parts: []Part{{Text: text}}, More: more, Continues: c})
	}
	for {
		b, err := l.next()
		if err == io.EOF {
			return give(false, 0)
		}
		if err != nil {
			return err
		}
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return mended(fmt.Errorf("read %s:%d: not text (a byte 0 in the line)", f.Path, l.line), "tr -d '\\000' < "+f.Path+" takes such bytes out")
		}
		s, err := o.decode(f, l.line, b)
		if err != nil {
			return err
		}
		if o.Separator != "" {
			for {
				before, after, found := strings.Cut(s, o.Separator)
				if !found {
					break
				}
				doc.WriteString(before)
				if err := give(false, l.line); err != nil {
					return err
				}
				if s = strings.TrimPrefix(strings.TrimPrefix(after, "\r"), "\n"); s == "" {
					from = l.line + 1
				}
			}
		}
		// A piece is cut where the tokenizer splits words anyway: between the end
		// of a line and a character that is not white space.
		if doc.Len()+len(s) > maxPiece && doc.Len() > 0 {
			if c, _ := utf8.DecodeRuneInString(s); !unicode.IsSpace(c) || doc.Len() > MaxRecord {
				if err := give(true, l.line); err != nil {
					return err
				}
			}
		}
		doc.WriteString(s)
	}
}

// isBinary tells by the first bytes of a file whether it is not text.
func isBinary(head []byte) bool { return bytes.IndexByte(head, 0) >= 0 }
