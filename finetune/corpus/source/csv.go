package source

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// readCSV reads records with a header line (RFC 4180).
func readCSV(r *stream, f File, o Options, yield Yield) error {
	if head, _ := r.Peek(4096); isBinary(head) {
		return notText(f, head)
	}
	limit := &limited{r: r}
	limit.reset()
	c := csv.NewReader(limit)
	c.ReuseRecord = true
	if f.Format == TSV {
		c.Comma = '\t'
	}
	header, err := c.Read()
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return csvError(f, err)
	}
	names := make([]string, len(header))
	at := make(map[string]int, len(header))
	for i, h := range header {
		names[i] = h
		if _, twice := at[h]; twice {
			return fmt.Errorf("read %s:1: two columns are called %q", f.Path, h)
		}
		at[h] = i
	}
	if _, err := o.layoutOf(names); err != nil {
		return mended(fmt.Errorf("read %s:1: %w", f.Path, err), otherSeparator(f, names))
	}
	for row := 1; ; row++ {
		limit.reset()
		fields, err := c.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return csvError(f, err)
		}
		line, _ := c.FieldPos(0)
		value := func(name string) (string, error) {
			i, ok := at[name]
			if !ok {
				return "", nil
			}
			line, _ := c.FieldPos(i)
			return o.decode(f, line, []byte(fields[i]))
		}
		parts, err := o.document(record{
			names: names,
			get: func(name string) (string, bool, error) {
				s, err := value(name)
				return s, true, err
			},
			turns: func() ([]message, error) {
				s, err := value(fieldMessages)
				if err != nil {
					return nil, err
				}
				return jsonTurns([]byte(s))
			},
		})
		if err != nil {
			return fmt.Errorf("read %s:%d: %w", f.Path, line, err)
		}
		if err := yield(Document{Line: line, Row: row, Parts: parts}); err != nil {
			return err
		}
	}
}

// otherSeparator is what mends a file whose fields are separated by something else.
func otherSeparator(f File, names []string) string {
	switch {
	case f.Format == CSV && len(names) == 1 && strings.Contains(names[0], "\t"):
		return "its fields are separated by tabs: call it .tsv"
	case f.Format == CSV && len(names) == 1 && strings.Contains(names[0], ";"):
		return "its fields are separated by semicolons: save it with commas"
	case f.Format == TSV && len(names) == 1 && strings.Contains(names[0], ","):
		return "its fields are separated by commas: call it .csv"
	}
	return ""
}

func csvError(f File, err error) error {
	p := (*csv.ParseError)(nil)
	if !errors.As(err, &p) {
		if errors.Is(err, errTooLong) {
			return mended(fmt.Errorf("read %s: %w", f.Path, err), longLine(f))
		}
		return err
	}
	switch {
	case errors.Is(p.Err, csv.ErrFieldCount):
		return fmt.Errorf("read %s:%d: another number of fields than the header has", f.Path, p.StartLine)
	case errors.Is(p.Err, csv.ErrQuote), errors.Is(p.Err, csv.ErrBareQuote):
		return fmt.Errorf("read %s:%d: a stray \" at column %d; a field with quotes is quoted and each quote in it doubled (the record begins at line %d)", f.Path, p.Line, p.Column, p.StartLine)
	}
	return fmt.Errorf("read %s:%d: %w", f.Path, p.Line, p.Err)
}
