package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// The library cannot read LZ4: it loses a page that shrank to less than a third,
// and gives one that does not decode more and more memory without end. So it is
// shown a file in which the columns that are read are not compressed.

// mostHeader is the largest header of a page.
const mostHeader = 1 << 20

// plain is a Parquet file with more behind it, and another footer.
type plain struct {
	file io.ReaderAt
	size int64
	more []byte
}

// ReadAt implements io.ReaderAt.
func (p *plain) ReadAt(b []byte, at int64) (n int, err error) {
	if at < p.size {
		n, err = p.file.ReadAt(b[:min(int64(len(b)), p.size-at)], at)
		if err != nil && err != io.EOF || n == len(b) || at+int64(n) < p.size {
			return n, err
		}
	}
	if at += int64(n) - p.size; at < int64(len(p.more)) {
		n += copy(b[n:], p.more[at:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// unpackLZ4 gives a file in which the table's columns are not in LZ4; p's own
// footer is changed. It is nil if none is.
func (t *table) unpackLZ4(at io.ReaderAt, size int64, p *parquet.File) (io.ReaderAt, int64, error) {
	file, meta := &plain{file: at, size: size}, p.Metadata()
	for _, l := range t.leaves {
		for g := range meta.RowGroups {
			if l.column >= len(meta.RowGroups[g].Columns) {
				return nil, 0, errors.New("damaged Parquet: a row group lacks columns")
			}
			c := &meta.RowGroups[g].Columns[l.column].MetaData
			switch c.Codec {
			case format.Lz4Raw:
				if err := file.unpack(c); err != nil {
					return nil, 0, fmt.Errorf("the column %q: %w", l.field, err)
				}
			case format.Uncompressed, format.Snappy, format.Gzip, format.Brotli, format.Zstd:
			default:
				return nil, 0, fmt.Errorf("the column %q is compressed with %v, which is not read; write it with zstd or snappy", l.field, c.Codec)
			}
		}
	}
	if file.more == nil {
		return nil, 0, nil
	}
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), meta)
	if err != nil {
		return nil, 0, err
	}
	file.more = append(binary.LittleEndian.AppendUint32(append(file.more, footer...), uint32(len(footer))), "PAR1"...)
	return file, size + int64(len(file.more)), nil
}

// unpack appends a column's part of a row group without compression.
func (p *plain) unpack(c *format.ColumnMetaData) error {
	from := c.DataPageOffset
	if c.DictionaryPageOffset != 0 {
		from = c.DictionaryPageOffset
	}
	if from < 0 || from > p.size || c.TotalCompressedSize < 0 {
		return errors.New("damaged Parquet: it begins past the end")
	}
	r := io.NewSectionReader(p.file, from, min(c.TotalCompressedSize, p.size-from))
	start, data := len(p.more), -1
	for at := int64(0); at < r.Size(); {
		h, n, err := pageAt(r, at)
		if err != nil {
			return fmt.Errorf("damaged Parquet: %w", err)
		}
		at += n
		if data < 0 && h.Type != format.DictionaryPage {
			data = len(p.more)
		}
		if err := p.page(r, at, h); err != nil {
			return fmt.Errorf("damaged Parquet: %w", err)
		}
		at += int64(h.packed)
	}
	if data < 0 {
		data = len(p.more)
	}
	if c.DictionaryPageOffset != 0 {
		c.DictionaryPageOffset = p.size + int64(start)
	}
	c.Codec, c.DataPageOffset, c.TotalCompressedSize = format.Uncompressed, p.size+int64(data), int64(len(p.more)-start)
	return nil
}

// header is that of a page; levels are bytes at the beginning that are never compressed.
type header struct {
	format.PageHeader
	packed, levels int
	raw            bool // nor is the rest
}

// page appends a page.
func (p *plain) page(r *io.SectionReader, at int64, h header) error {
	size := int(h.UncompressedPageSize)
	if h.packed < h.levels || size < h.levels || int64(h.packed) > r.Size()-at || size-h.levels > 255*(h.packed-h.levels)+64 { // LZ4 makes no more
		return fmt.Errorf("a page of %d bytes that says it makes %d", h.packed, size)
	}
	packed := make([]byte, h.packed)
	if _, err := r.ReadAt(packed, at); err != nil {
		return errors.New("a page ends too early")
	}
	if h.raw {
		size = h.packed
	}
	h.UncompressedPageSize, h.CompressedPageSize, h.CRC = int32(size), int32(size), 0
	text, err := thrift.Marshal(new(thrift.CompactProtocol), &h.PageHeader)
	if err != nil {
		return err
	}
	if len(p.more)+len(text)+size > maxInMemory {
		return fmt.Errorf("more than %d MiB in LZ4; write it with zstd or snappy", maxInMemory>>20)
	}
	p.more = append(append(p.more, text...), packed[:h.levels]...)
	packed = packed[h.levels:]
	if h.raw || len(packed) == 0 {
		p.more = append(p.more, packed...)
		return nil
	}
	begin := len(p.more)
	p.more = append(p.more, make([]byte, size-h.levels)...)
	if n, err := lz4.UncompressBlock(packed, p.more[begin:]); err != nil || n != size-h.levels {
		return errors.New("a page that is not LZ4, or another number of bytes than it says")
	}
	return nil
}

// pageAt reads the header of a page, and says how long it is.
func pageAt(r *io.SectionReader, at int64) (h header, length int64, err error) {
	most := min(mostHeader, r.Size()-at)
	for n := int64(256); ; n *= 16 { // few have long statistics
		b := make([]byte, min(n, most))
		if _, err := r.ReadAt(b, at); err != nil {
			return h, 0, errors.New("a page ends too early")
		}
		rest := &compact{rest: b}
		if err = rest.structure(); err != nil && n < most {
			continue
		}
		if err == nil {
			length = int64(len(b) - len(rest.rest))
			err = thrift.NewDecoder(new(thrift.CompactProtocol).NewReader(bytes.NewReader(b[:length]))).Decode(&h.PageHeader)
		}
		if err != nil {
			return h, 0, err
		}
		break
	}
	h.packed = int(h.CompressedPageSize)
	if h.DataPageHeaderV2.Valid {
		v2 := &h.DataPageHeaderV2.V
		h.levels = int(v2.DefinitionLevelsByteLength) + int(v2.RepetitionLevelsByteLength)
		h.raw = v2.IsCompressed.Valid && !v2.IsCompressed.V
		v2.IsCompressed = thrift.New(false)
		if v2.DefinitionLevelsByteLength < 0 || v2.RepetitionLevelsByteLength < 0 {
			return h, 0, errors.New("levels of less than no bytes")
		}
	}
	if h.packed < 0 || h.UncompressedPageSize < 0 {
		return h, 0, errors.New("a page of less than no bytes")
	}
	return h, length, nil
}
