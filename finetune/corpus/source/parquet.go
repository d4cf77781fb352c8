package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/parquet-go/parquet-go"
)

// maxInMemory is the largest compressed Parquet file that is unpacked, in bytes
// after unpacking: Parquet is read from its end, so it must be held as a whole.
const maxInMemory = 1 << 30

// readParquet reads the columns that make documents, and no others.
func readParquet(ctx context.Context, f File, o Options, yield Yield) (err error) {
	var at io.ReaderAt
	var size int64
	if f.Compression == Plain {
		file, err := os.Open(f.Path)
		if err != nil {
			return Unreadable(f.Path, err)
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return fmt.Errorf("read %s: %w", f.Path, cause(err))
		}
		at, size = file, info.Size()
	} else {
		r, err := open(f)
		if err != nil {
			return err
		}
		defer r.Close()
		b, err := io.ReadAll(io.LimitReader(r, maxInMemory+1))
		if err != nil {
			return err
		}
		if len(b) > maxInMemory {
			return fmt.Errorf("read %s: more than %d MiB of Parquet inside; unpack it", f.Path, maxInMemory>>20)
		}
		at, size = bytes.NewReader(b), int64(len(b))
	}

	var given error // what yield said is not the file's fault
	defer func() {
		// The reader is not proof against every damaged file.
		if r := recover(); r != nil {
			err = fmt.Errorf("read %s: damaged Parquet (%v)", f.Path, r)
		}
	}()
	if size == 0 {
		return nil
	}
	if size < 12 {
		return fmt.Errorf("read %s: not Parquet, %d bytes are too few", f.Path, size)
	}
	// The library believes the length of the footer.
	var end [8]byte
	if _, err := at.ReadAt(end[:], size-8); err != nil {
		return fmt.Errorf("read %s: %w", f.Path, cause(err))
	}
	switch length := int64(binary.LittleEndian.Uint32(end[:])); {
	case string(end[4:]) == "PARE":
		return fmt.Errorf("read %s: encrypted Parquet, which is not read", f.Path)
	case string(end[4:]) != "PAR1":
		return fmt.Errorf("read %s: not Parquet, or cut off: it does not end in PAR1", f.Path)
	case length > size-12 || length > maxInMemory:
		return fmt.Errorf("read %s: damaged Parquet: a footer of %d bytes in a file of %d", f.Path, length, size)
	}
	footer := make([]byte, binary.LittleEndian.Uint32(end[:]))
	if _, err := at.ReadAt(footer, size-8-int64(len(footer))); err != nil {
		return fmt.Errorf("read %s: %w", f.Path, cause(err))
	}
	if err := (&compact{rest: footer}).structure(); err != nil {
		return fmt.Errorf("read %s: damaged Parquet: %w", f.Path, err)
	}
	options := []parquet.FileOption{parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.FileReadMode(parquet.ReadModeSync)}
	p, err := parquet.OpenFile(at, size, options...)
	if err != nil {
		return fmt.Errorf("read %s: not Parquet, or damaged: %w", f.Path, err)
	}
	t, err := o.table(p)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Path, err)
	}
	if unpacked, size, err := t.unpackLZ4(at, size, p); err != nil {
		return fmt.Errorf("read %s: %w", f.Path, err)
	} else if unpacked != nil {
		if p, err = parquet.OpenFile(unpacked, size, options...); err != nil {
			return fmt.Errorf("read %s: not Parquet, or damaged: %w", f.Path, err)
		}
	}
	row := 0
	for _, g := range p.RowGroups() {
		err := t.group(ctx, g, func(values [][]parquet.Value) error {
			row++
			parts, err := o.document(t.record(values))
			if err == nil {
				parts, err = o.valid(f, parts)
			}
			if err != nil {
				return fmt.Errorf("record %d: %w", row, err)
			}
			given = yield(Document{Row: row, Parts: parts})
			return given
		})
		if given != nil {
			return given
		}
		if errors.Is(err, errTooLong) {
			return mended(fmt.Errorf("read %s: record %d: %w", f.Path, row+1, err), longLine(f))
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", f.Path, err)
		}
	}
	return nil
}

// valid checks that what a file calls text is UTF-8.
func (o *Options) valid(f File, parts []Part) ([]Part, error) {
	for i := range parts {
		s, err := o.decode(f, 0, []byte(parts[i].Text))
		if err != nil {
			return nil, errors.New("text that is not UTF-8; encoding=windows-1252 or encoding=replace reads it")
		}
		parts[i].Text = s
	}
	return parts, nil
}

// table is which columns of a file are read.
type table struct {
	names  []string // of the fields
	leaves []leaf
}

type leaf struct {
	field, last string // first and last name of the path
	nested      bool
	column      int
}

func (o *Options) table(p *parquet.File) (*table, error) {
	t := &table{}
	for _, c := range p.Root().Columns() {
		t.names = append(t.names, c.Name())
	}
	l, err := o.layoutOf(t.names)
	if err != nil {
		return nil, err
	}
	want := map[layout][]string{
		layoutText: {fieldText}, layoutPrompt: {fieldPrompt, fieldCompletion},
		layoutInstruction: {fieldInstruction, fieldInput, fieldOutput}, layoutMessages: {fieldMessages},
	}[l]
	if o.Column != "" {
		want = []string{o.Column}
	}
	schema := p.Schema()
	for _, path := range schema.Columns() {
		if !slices.Contains(want, path[0]) {
			continue
		}
		last := path[len(path)-1]
		if len(path) > 1 && (path[0] != fieldMessages || o.Column != "" || last != "role" && last != "content") {
			if path[0] == fieldMessages && o.Column == "" {
				continue
			}
			return nil, fmt.Errorf("the column %q is not text but has parts of its own", path[0])
		}
		c, ok := schema.Lookup(path...)
		if !ok {
			return nil, fmt.Errorf("the column %q cannot be found in the schema", path[0])
		}
		if k := c.Node.Type().Kind(); k != parquet.ByteArray && k != parquet.FixedLenByteArray {
			return nil, fmt.Errorf("the column %q is %s, want text", path[0], c.Node.Type())
		}
		t.leaves = append(t.leaves, leaf{field: path[0], last: last, nested: len(path) > 1, column: c.ColumnIndex})
	}
	for _, name := range want {
		if slices.Contains(t.names, name) && !slices.ContainsFunc(t.leaves, func(l leaf) bool { return l.field == name }) {
			return nil, fmt.Errorf("the column %q is not text", name)
		}
	}
	return t, nil
}

// record shows one row, the values of each leaf, as named fields.
func (t *table) record(values [][]parquet.Value) record {
	return record{
		names: t.names,
		get: func(name string) (string, bool, error) {
			for i, l := range t.leaves {
				if l.field == name && len(values[i]) == 1 && !values[i][0].IsNull() {
					return string(values[i][0].ByteArray()), true, nil
				}
			}
			return "", false, nil
		},
		turns: func() ([]message, error) {
			var roles, contents []parquet.Value
			for i, l := range t.leaves {
				switch {
				case !l.nested:
					if len(values[i]) != 1 || values[i][0].IsNull() {
						return nil, nil
					}
					return jsonTurns(values[i][0].ByteArray())
				case l.last == "role":
					roles = values[i]
				case l.last == "content":
					contents = values[i]
				}
			}
			if len(roles) != len(contents) {
				return nil, fmt.Errorf("the column %q has %d roles and %d contents", fieldMessages, len(roles), len(contents))
			}
			var turns []message
			for i := range roles {
				if roles[i].IsNull() {
					if len(roles) == 1 {
						return nil, nil // an empty list
					}
					return nil, fmt.Errorf("message %d has no role", i+1)
				}
				turns = append(turns, message{role: string(roles[i].ByteArray()), content: string(contents[i].ByteArray())})
			}
			return turns, nil
		},
	}
}

// group gives the rows of a row group; values are valid during the call.
func (t *table) group(ctx context.Context, g parquet.RowGroup, row func(values [][]parquet.Value) error) error {
	chunks := g.ColumnChunks()
	columns := make([]*column, len(t.leaves))
	for i, l := range t.leaves {
		c := &column{pages: chunks[l.column].Pages()}
		defer c.close()
		columns[i] = c
	}
	values := make([][]parquet.Value, len(columns))
	for n := range g.NumRows() {
		if err := ctx.Err(); err != nil {
			return err
		}
		for i, c := range columns {
			var err error
			if values[i], err = c.row(); err != nil {
				if err == io.EOF {
					err = fmt.Errorf("damaged Parquet: the column %q ends after %d of %d rows", t.leaves[i].field, n, g.NumRows())
				}
				return err
			}
		}
		if err := row(values); err != nil {
			return err
		}
	}
	return nil
}

// column reads one column row by row.
type column struct {
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buf    []parquet.Value // read and not given yet
	store  [64]parquet.Value
	out    []parquet.Value
	end    bool
}

func (c *column) close() {
	if c.page != nil {
		parquet.Release(c.page)
	}
	c.pages.Close()
}

// peek makes sure that buf holds a value, unless the column has ended.
func (c *column) peek() error {
	for len(c.buf) == 0 && !c.end {
		if c.values == nil {
			page, err := c.pages.ReadPage()
			if err == io.EOF {
				c.end = true
				return nil
			}
			if err != nil {
				return fmt.Errorf("damaged Parquet: %w", err)
			}
			if c.page != nil {
				parquet.Release(c.page)
			}
			c.page, c.values = page, page.Values()
		}
		n, err := c.values.ReadValues(c.store[:])
		c.buf = c.store[:n]
		if err == io.EOF {
			c.values = nil
		} else if err != nil {
			return fmt.Errorf("damaged Parquet: %w", err)
		} else if n == 0 {
			return errors.New("damaged Parquet: a page without an end")
		}
	}
	return nil
}

// row gives the values of the next row, one unless the column is a list.
func (c *column) row() ([]parquet.Value, error) {
	c.out = c.out[:0]
	for {
		if err := c.peek(); err != nil {
			return nil, err
		}
		if c.end && len(c.buf) == 0 {
			if len(c.out) == 0 {
				return nil, io.EOF
			}
			return c.out, nil
		}
		if len(c.out) > 0 && c.buf[0].RepetitionLevel() == 0 {
			return c.out, nil
		}
		if len(c.out) >= 1<<20 {
			return nil, errors.New("a row with more than a million values")
		}
		if v := c.buf[0]; (v.Kind() == parquet.ByteArray || v.Kind() == parquet.FixedLenByteArray) && len(v.ByteArray()) > MaxRecord {
			return nil, errTooLong
		}
		// A value points into its page, which the next one may replace.
		c.out = append(c.out, c.buf[0].Clone())
		c.buf = c.buf[1:]
	}
}
