package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// readJSONLines reads one object a line; empty lines are passed over.
func readJSONLines(r *stream, f File, o Options, yield Yield) error {
	if head, _ := r.Peek(4096); isBinary(head) {
		return notText(f, head)
	}
	l := lines{f: f, r: r}
	for row := 1; ; {
		b, err := l.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		s, err := o.decode(f, l.line, b)
		if err != nil {
			return err
		}
		b = bytes.TrimSpace([]byte(s))
		if len(b) == 0 {
			continue
		}
		parts, err := o.jsonParts(b)
		if err != nil {
			err = fmt.Errorf("read %s:%d: %w", f.Path, l.line, err)
			if l.line == 1 && b[0] == '[' {
				return mended(err, "one list of many records is called .json")
			}
			return mended(err, "mend that line, or take it out")
		}
		if err := yield(Document{Line: l.line, Row: row, Parts: parts}); err != nil {
			return err
		}
		row++
	}
}

// readJSON reads a file that is one list of objects.
func readJSON(r *stream, f File, o Options, yield Yield) error {
	if head, _ := r.Peek(4096); isBinary(head) {
		return notText(f, head)
	}
	limit := &limited{r: r}
	limit.reset()
	d := json.NewDecoder(limit)
	first, err := d.Token()
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Path, jsonError(err))
	}
	if first != json.Delim('[') {
		return mended(fmt.Errorf("read %s: not a list of records; one record a line is called .jsonl", f.Path), `want [{"text": "…"}, …], or a file of one {"text": "…"} a line that is called .jsonl`)
	}
	row := 0
	for d.More() {
		row++
		limit.reset()
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			err = fmt.Errorf("read %s: record %d: %w", f.Path, row, jsonError(err))
			if errors.Is(err, errTooLong) {
				return mended(err, longLine(f))
			}
			return err
		}
		s, err := o.decode(f, row, raw)
		if err != nil {
			return fmt.Errorf("read %s: record %d is not UTF-8; encoding=windows-1252 or encoding=replace reads it", f.Path, row)
		}
		parts, err := o.jsonParts([]byte(s))
		if err != nil {
			return fmt.Errorf("read %s: record %d: %w", f.Path, row, err)
		}
		if err := yield(Document{Row: row, Parts: parts}); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("read %s: after record %d: %w", f.Path, row, jsonError(err))
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("read %s: something follows the end of the list", f.Path)
	}
	return nil
}

func jsonError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("broken JSON: it ends too early")
	}
	if s := (*json.SyntaxError)(nil); errors.As(err, &s) {
		if s.Error() == "unexpected end of JSON input" {
			return errors.New("broken JSON: it ends too early")
		}
		return fmt.Errorf("broken JSON: %w", err)
	}
	return err
}

// jsonParts reads one object.
func (o *Options) jsonParts(b []byte) ([]Part, error) {
	if len(b) > 0 && b[0] != '{' && json.Valid(b) {
		return nil, fmt.Errorf("a record is a JSON object {…}, not %s", kindOf(b))
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return nil, jsonError(err)
	}
	return o.document(record{
		names: slices.Sorted(maps.Keys(fields)),
		get: func(name string) (string, bool, error) {
			raw := fields[name]
			if len(raw) == 0 || string(raw) == "null" {
				return "", false, nil
			}
			var s string
			if err := json.Unmarshal(raw, &s); err != nil {
				return "", false, fmt.Errorf("the field %q is %s, want text", name, kindOf(raw))
			}
			return s, true, nil
		},
		turns: func() ([]message, error) { return jsonTurns(fields[fieldMessages]) },
	})
}

// kindOf names a JSON value in words.
func kindOf(raw []byte) string {
	switch raw[0] {
	case '"':
		return "a text"
	case '[':
		return "a list"
	case '{':
		return "an object"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}

// errTooLong is a record above MaxRecord.
var errTooLong = fmt.Errorf("a record of more than %d MiB; split it", MaxRecord>>20)

// limited ends with errTooLong when a record asks for too much.
type limited struct {
	r    io.Reader
	left int
}

func (l *limited) reset() { l.left = MaxRecord + 1<<16 }

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLong
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
