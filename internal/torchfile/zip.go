package torchfile

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Signatures and sizes of the parts of a zip file (PKWARE's APPNOTE, 4.3).
const (
	localMagic   = "PK\x03\x04"
	centralMagic = "PK\x01\x02"
	endMagic     = "PK\x05\x06"
	end64Magic   = "PK\x06\x06"
	locatorMagic = "PK\x06\x07"

	localSize   = 30
	centralSize = 46
	endSize     = 22
	end64Size   = 56
	locatorSize = 20
)

// maxEntries is far more than the tensors of any model. It bounds the memory
// that the directory takes.
const maxEntries = 1 << 18

// zipEntry is a file of an archive: data[begin:end], as it is or compressed.
type zipEntry struct {
	name       string
	header     uint64 // offset of the local header
	begin, end uint64 // offsets of the data
	compressed bool
}

// zipEntries reads the directory of a zip file that is a single disk's whole
// content, as torch writes it: nothing overlaps, no name occurs twice. The order
// is the directory's.
func zipEntries(data []byte) ([]zipEntry, error) {
	begin, end, count, err := zipDirectory(data)
	if err != nil {
		return nil, err
	}
	if count > (end-begin)/centralSize {
		return nil, fmt.Errorf("zip: the directory claims %d entries, but has %d bytes", count, end-begin)
	}
	if count > maxEntries {
		return nil, fmt.Errorf("zip: %d entries, want at most %d", count, maxEntries)
	}
	entries := make([]zipEntry, 0, count)
	seen := make(map[string]bool, count)
	rest := data[begin:end]
	for range count {
		var e zipEntry
		if e, rest, err = centralEntry(rest); err != nil {
			return nil, err
		}
		if seen[e.name] {
			return nil, fmt.Errorf("zip: entry %s occurs twice", quote(e.name))
		}
		seen[e.name] = true
		if err := locate(data[:begin], &e); err != nil {
			return nil, fmt.Errorf("zip: entry %s: %w", quote(e.name), err)
		}
		entries = append(entries, e)
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("zip: %d bytes after the directory's %d entries", len(rest), count)
	}
	sorted := slices.SortedFunc(slices.Values(entries), func(a, b zipEntry) int { return cmp.Compare(a.header, b.header) })
	for i := 1; i < len(sorted); i++ {
		if sorted[i].header < sorted[i-1].end {
			return nil, fmt.Errorf("zip: entries %s and %s overlap", quote(sorted[i-1].name), quote(sorted[i].name))
		}
	}
	return entries, nil
}

// zipDirectory finds the central directory: data[begin:end].
func zipDirectory(data []byte) (begin, end, count uint64, err error) {
	// The end record is the last thing but for a comment of at most 64 KB.
	tail := data[max(0, len(data)-endSize-math.MaxUint16):]
	at := -1
	for i := len(tail) - endSize; i >= 0; i-- {
		if string(tail[i:i+4]) == endMagic && int(binary.LittleEndian.Uint16(tail[i+20:])) == len(tail)-i-endSize {
			at = len(data) - len(tail) + i
			break
		}
	}
	if at < 0 {
		return 0, 0, 0, fmt.Errorf("zip: no directory at the end: the file is truncated or damaged")
	}
	r := data[at:]
	disks := binary.LittleEndian.Uint32(r[4:])
	count = uint64(binary.LittleEndian.Uint16(r[10:]))
	size := uint64(binary.LittleEndian.Uint32(r[12:]))
	begin = uint64(binary.LittleEndian.Uint32(r[16:]))
	if disks != 0 && disks != math.MaxUint32 {
		return 0, 0, 0, fmt.Errorf("zip: the archive is spread over several disks")
	}
	limit := uint64(at)
	if at >= locatorSize && string(data[at-locatorSize:at-locatorSize+4]) == locatorMagic {
		limit = binary.LittleEndian.Uint64(data[at-locatorSize+8:])
		if limit > uint64(at-locatorSize) || uint64(at-locatorSize)-limit < end64Size || string(data[limit:limit+4]) != end64Magic {
			return 0, 0, 0, fmt.Errorf("zip: no end record at offset %d, where its locator puts it", limit)
		}
		r = data[limit:]
		count = binary.LittleEndian.Uint64(r[32:])
		size = binary.LittleEndian.Uint64(r[40:])
		begin = binary.LittleEndian.Uint64(r[48:])
	}
	if begin > limit || size > limit-begin {
		return 0, 0, 0, fmt.Errorf("zip: the directory claims bytes %d to %d+%d of a file of %d", begin, begin, size, len(data))
	}
	return begin, begin + size, count, nil
}

// centralEntry reads the directory's entry at the front of b: its name, the
// offset of its local header and, in e.end, its length.
func centralEntry(b []byte) (e zipEntry, rest []byte, err error) {
	if len(b) < centralSize || string(b[:4]) != centralMagic {
		return e, nil, fmt.Errorf("zip: the directory is damaged")
	}
	flags := binary.LittleEndian.Uint16(b[8:])
	method := binary.LittleEndian.Uint16(b[10:])
	e.compressed = method != 0
	e.end = uint64(binary.LittleEndian.Uint32(b[20:])) // as it lies in the file
	full := uint64(binary.LittleEndian.Uint32(b[24:]))
	nameLen := int(binary.LittleEndian.Uint16(b[28:]))
	extraLen := int(binary.LittleEndian.Uint16(b[30:]))
	commentLen := int(binary.LittleEndian.Uint16(b[32:]))
	e.header = uint64(binary.LittleEndian.Uint32(b[42:]))
	if nameLen+extraLen+commentLen > len(b)-centralSize {
		return e, nil, fmt.Errorf("zip: the directory is damaged")
	}
	e.name = string(b[centralSize : centralSize+nameLen])
	extra := b[centralSize+nameLen : centralSize+nameLen+extraLen]
	rest = b[centralSize+nameLen+extraLen+commentLen:]

	// The zip64 field holds, in this order, those numbers that did not fit.
	wide := zip64Field(extra)
	for _, n := range []*uint64{&full, &e.end, &e.header} {
		if *n != math.MaxUint32 {
			continue
		}
		if len(wide) < 8 {
			return e, nil, fmt.Errorf("zip: entry %s lacks its 64-bit sizes", quote(e.name))
		}
		*n, wide = binary.LittleEndian.Uint64(wide), wide[8:]
	}
	switch {
	case flags&1 != 0:
		err = fmt.Errorf("zip: entry %s is encrypted", quote(e.name))
	case !e.compressed && full != e.end:
		err = fmt.Errorf("zip: entry %s has %d bytes that take %d, but is not compressed", quote(e.name), full, e.end)
	}
	return e, rest, err
}

// zip64Field finds the extra field with 64-bit sizes.
func zip64Field(extra []byte) []byte {
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if n > len(extra)-4 {
			break
		}
		if id == 1 {
			return extra[4 : 4+n]
		}
		extra = extra[4+n:]
	}
	return nil
}

// locate reads the local header of an entry and sets the bounds of its data.
func locate(data []byte, e *zipEntry) error {
	size := e.end
	if e.header > uint64(len(data)) || uint64(len(data))-e.header < localSize {
		return fmt.Errorf("begins at offset %d, outside the %d bytes before the directory", e.header, len(data))
	}
	b := data[e.header:]
	if string(b[:4]) != localMagic {
		return fmt.Errorf("no header at offset %d", e.header)
	}
	nameLen := uint64(binary.LittleEndian.Uint16(b[26:]))
	extraLen := uint64(binary.LittleEndian.Uint16(b[28:]))
	e.begin = e.header + localSize + nameLen + extraLen
	if e.begin > uint64(len(data)) || size > uint64(len(data))-e.begin {
		return fmt.Errorf("claims %d bytes at offset %d, outside the %d bytes before the directory", size, e.begin, len(data))
	}
	if string(b[localSize:localSize+nameLen]) != e.name {
		return fmt.Errorf("has another name in its own header, %s", quote(string(b[localSize:localSize+nameLen])))
	}
	e.end = e.begin + size
	return nil
}

// parseZip reads the format of torch 1.6 and later: a folder of any name with
// data.pkl, a file per storage in data/, and byteorder.
func parseZip(data []byte) (any, error) {
	entries, err := zipEntries(data)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("zip: the archive is empty")
	}
	root, _, ok := strings.Cut(entries[0].name, "/")
	if !ok {
		return nil, fmt.Errorf("zip: entry %s is not in a folder, as torch.save puts them", quote(entries[0].name))
	}
	files := make(map[string][]byte, len(entries))
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.name, root+"/"); ok {
			files[name] = data[e.begin:e.end:e.end]
		}
	}
	if _, ok := files["constants.pkl"]; ok {
		return nil, fmt.Errorf("is a TorchScript archive, which holds code, want what torch.save writes of a state dict")
	}
	for _, e := range entries {
		if e.compressed {
			return nil, fmt.Errorf("zip: entry %s is compressed, torch.save never does that: not supported", quote(e.name))
		}
	}
	text, ok := files["data.pkl"]
	if !ok {
		return nil, fmt.Errorf("zip: no data.pkl in folder %s: not written by torch.save", quote(root))
	}
	if order, ok := files["byteorder"]; ok && !bytes.Equal(order, []byte("little")) {
		return nil, fmt.Errorf("was written on a machine with byte order %s, want \"little\"", quote(string(order[:min(len(order), 80)])))
	}
	seen := map[string]*storage{}
	value, length, err := unpickle(text, func(id any) (any, error) {
		s, err := newStorage(id, seen)
		if err != nil {
			return nil, err
		}
		bytes, ok := files["data/"+s.key]
		if !ok {
			return nil, fmt.Errorf("storage %s is not in the archive", quote(s.key))
		}
		if s.bytes() > len(bytes) {
			return nil, fmt.Errorf("storage %s has %d bytes, want %d for %d elements of %v", quote(s.key), len(bytes), s.bytes(), s.count, s.dtype)
		}
		s.data = bytes[:s.bytes():s.bytes()]
		return s, nil
	})
	if err != nil {
		return nil, fmt.Errorf("data.pkl: %w", err)
	}
	if length != len(text) {
		return nil, fmt.Errorf("data.pkl: %d bytes after the pickle's end", len(text)-length)
	}
	return value, nil
}
