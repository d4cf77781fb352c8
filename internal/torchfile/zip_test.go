package torchfile

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"
)

// file is an entry of an archive under test; the other fields override what the
// directory says.
type file struct {
	name, data  string
	method      uint16
	flags       uint16
	size        uint64 // 0: as it is
	header      uint64 // 0: as it is
	wide        bool   // sizes in a zip64 field
	localName   string // "": as name
	sameAsFirst bool   // shares the first entry's header
}

// archive builds a zip file; zip64 adds the wide end record.
func archive(zip64 bool, comment string, files ...file) []byte {
	le := binary.LittleEndian
	var out, dir []byte
	for _, f := range files {
		at := uint64(len(out))
		if f.sameAsFirst {
			at = 0
		} else {
			local := f.localName
			if local == "" {
				local = f.name
			}
			out = append(out, localMagic...)
			out = append(out, make([]byte, 22)...)
			out = le.AppendUint16(out, uint16(len(local)))
			out = le.AppendUint16(out, 0)
			out = append(append(out, local...), f.data...)
		}
		if f.header != 0 {
			at = f.header
		}
		size := uint64(len(f.data))
		if f.size != 0 {
			size = f.size
		}
		var extra []byte
		size32, at32 := uint32(size), uint32(at)
		if f.wide {
			extra = append(extra, "\x77\x77\x02\x00ab\x01\x00\x18\x00"...) // a foreign field before it
			extra = le.AppendUint64(extra, size)
			extra = le.AppendUint64(extra, size)
			extra = le.AppendUint64(extra, at)
			size32, at32 = math.MaxUint32, math.MaxUint32
		}
		dir = append(dir, centralMagic...)
		dir = append(dir, 0, 0, 0, 0)
		dir = le.AppendUint16(dir, f.flags)
		dir = le.AppendUint16(dir, f.method)
		dir = append(dir, make([]byte, 8)...)
		dir = le.AppendUint32(dir, size32)
		dir = le.AppendUint32(dir, size32)
		dir = le.AppendUint16(dir, uint16(len(f.name)))
		dir = le.AppendUint16(dir, uint16(len(extra)))
		dir = append(dir, make([]byte, 10)...)
		dir = le.AppendUint32(dir, at32)
		dir = append(append(dir, f.name...), extra...)
	}
	begin := len(out)
	out = append(out, dir...)
	count, size, at := uint16(len(files)), uint32(len(dir)), uint32(begin)
	if zip64 {
		end64 := len(out)
		out = append(out, end64Magic...)
		out = le.AppendUint64(out, end64Size-12)
		out = append(out, make([]byte, 12)...)
		for _, n := range []int{len(files), len(files), len(dir), begin} {
			out = le.AppendUint64(out, uint64(n))
		}
		out = append(append(out, locatorMagic...), 0, 0, 0, 0)
		out = le.AppendUint64(out, uint64(end64))
		out = le.AppendUint32(out, 1)
		count, size, at = math.MaxUint16, math.MaxUint32, math.MaxUint32
	}
	out = append(out, endMagic...)
	out = append(out, 0, 0, 0, 0)
	out = le.AppendUint16(out, count)
	out = le.AppendUint16(out, count)
	out = le.AppendUint32(out, size)
	out = le.AppendUint32(out, at)
	out = le.AppendUint16(out, uint16(len(comment)))
	return append(out, comment...)
}

// one is the pickle of {"w": a tensor of 6 float32}, data0 its storage.
func one() string { return p2("}U\x01w", tensorOf(0, "K\x02K\x03", "K\x03K\x01"), "s") }

const data0 = "\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x00\x00\x80\x40\x00\x00\xa0\x40\x00\x00\xc0\x40"

func TestParseZip(t *testing.T) {
	good := []file{{name: "m/data.pkl", data: one()}, {name: "m/data/0", data: data0}, {name: "m/byteorder", data: "little"}}
	wide := slices.Clone(good)
	for i := range wide {
		wide[i].wide = true
	}
	var goZip bytes.Buffer
	w := zip.NewWriter(&goZip)
	for _, f := range good {
		e, err := w.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write([]byte(f.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"plain":             archive(false, "", good...),
		"with a comment":    archive(false, "PK\x05\x06 this is not the end", good...),
		"zip64":             archive(true, "", wide...),
		"zip64 end only":    archive(true, "", good...),
		"by Go":             goZip.Bytes(),
		"without byteorder": archive(false, "", good[:2]...),
		"foreign file":      archive(false, "", append(good[:2:2], file{name: "x", data: "y"})...),
		"other order":       archive(false, "", good[1], good[2], good[0]),
	} {
		f, err := Parse(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if w, ok := f.Tensor("w"); !ok || string(w.Data) != data0 || w.ShapeString() != "[2 3]" {
			t.Errorf("%s: %v", name, w)
		}
	}
}

func TestParseZipRefuses(t *testing.T) {
	pkl, zero := file{name: "m/data.pkl", data: one()}, file{name: "m/data/0", data: data0}
	with := func(f file, change func(*file)) file { change(&f); return f }
	whole := archive(false, "", pkl, zero)
	at := bytes.Index(whole, []byte(centralMagic)) // the directory
	patch := func(offset int, b ...byte) []byte {
		p := slices.Clone(whole)
		copy(p[offset:], b)
		return p
	}
	wide := archive(true, "", pkl, zero)
	patchWide := func(magic string, offset int, n uint64) []byte {
		p := slices.Clone(wide)
		binary.LittleEndian.PutUint64(p[bytes.LastIndex(p, []byte(magic))+offset:], n)
		return p
	}
	end := len(whole) - endSize
	for _, c := range []struct {
		name  string
		data  []byte
		words string
	}{
		{"empty archive", append([]byte(localMagic), archive(false, "")...), "empty"},
		{"no directory", []byte(localMagic), "no directory"},
		{"bytes after the end", append(slices.Clone(whole), 'x'), "no directory"},
		{"no data.pkl", archive(false, "", zero), "no data.pkl"},
		{"no folder", archive(false, "", file{name: "data.pkl", data: one()}), "not in a folder"},
		{"data.pkl in another folder", archive(false, "", zero, file{name: "n/data.pkl", data: one()}), "no data.pkl"},
		{"no storage", archive(false, "", pkl), "storage \"0\" is not in the archive"},
		{"short storage", archive(false, "", pkl, file{name: "m/data/0", data: data0[1:]}), "has 23 bytes, want 24"},
		{"empty data.pkl", archive(false, "", file{name: "m/data.pkl"}, zero), "truncated"},
		{"bytes after the pickle", archive(false, "", with(pkl, func(f *file) { f.data += "x" }), zero), "1 bytes after"},
		{"big-endian", archive(false, "", pkl, zero, file{name: "m/byteorder", data: "big"}), "byte order \"big\""},
		{"TorchScript", archive(false, "", pkl, zero, file{name: "m/constants.pkl"}), "TorchScript"},
		{"compressed", archive(false, "", with(pkl, func(f *file) { f.method = 8 }), zero), "is compressed"},
		{"encrypted", archive(false, "", with(pkl, func(f *file) { f.flags = 1 }), zero), "encrypted"},
		{"twice the same name", archive(false, "", pkl, zero, zero), "twice"},
		{"other name in its header", archive(false, "", pkl, with(zero, func(f *file) { f.localName = "m/data/1" })), "another name"},
		{"overlap", archive(false, "", with(pkl, func(f *file) { f.size = uint64(len(f.data)) + 40 }), zero), "overlap"},
		{"same header", archive(false, "", pkl, with(pkl, func(f *file) { f.sameAsFirst = true; f.name = "m/other" })), "another name"},
		{"beyond the file", archive(false, "", pkl, with(zero, func(f *file) { f.size = 1 << 20 })), "outside"},
		{"into the directory", archive(false, "", pkl, with(zero, func(f *file) { f.size = 25 })), "outside"},
		{"wide size", archive(true, "", pkl, with(zero, func(f *file) { f.size, f.wide = math.MaxUint64, true })), "outside"},
		{"wide offset", archive(true, "", pkl, with(zero, func(f *file) { f.header, f.wide = math.MaxUint64-8, true })), "outside"},
		{"offset into the middle", archive(false, "", pkl, with(zero, func(f *file) { f.header = 5 })), "no header"},
		{"wide sizes missing", archive(false, "", pkl, with(zero, func(f *file) { f.size = math.MaxUint32 })), "64-bit"},
		{"directory entry damaged", patch(at, 'X'), "directory is damaged"},
		{"name beyond the directory", patch(at+28, 0xff, 0xff), "directory is damaged"},
		{"sizes disagree", patch(at+24, 0xff), "not compressed"},
		{"fewer entries than directory", patch(end+10, 1), "after the directory's 1 entries"},
		{"more entries than directory", patch(end+10, 9), "claims 9 entries"},
		{"directory beyond the end", patch(end+16, 0xff, 0xff, 0xff), "the directory claims"},
		{"larger directory", patch(end+12, 0xff, 0xff), "the directory claims"},
		{"two disks", patch(end+4, 1), "several disks"},
		{"locator past the end", patchWide(locatorMagic, 8, math.MaxUint64), "no end record"},
		{"locator to nowhere", patchWide(locatorMagic, 8, 3), "no end record"},
		{"wide count", patchWide(end64Magic, 32, math.MaxUint64), "claims 18446744073709551615 entries"},
		{"wide directory size", patchWide(end64Magic, 40, math.MaxUint64), "the directory claims"},
		{"wide directory offset", patchWide(end64Magic, 48, math.MaxUint64), "the directory claims"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.data)
			checkError(t, err, c.words)
		})
	}
}

// Views that would take far more memory than the file.
func TestExpandedBombs(t *testing.T) {
	huge := p2("}U\x01w", tensorOf(0, number(1<<40), "K\x00"), "s")
	_, err := Parse(archive(false, "", file{name: "m/data.pkl", data: huge}, file{name: "m/data/0", data: data0}))
	checkError(t, err, "far more than the file")

	// Each alone is within bounds; all together are not.
	many := "}("
	for i := range 100 {
		many += "U\x01" + string([]byte{byte(i + 1)}) + tensorOf(0, number(1<<20+int64(i)), "K\x00")
	}
	_, err = Parse(archive(false, "", file{name: "m/data.pkl", data: p2(many, "u")}, file{name: "m/data/0", data: data0}))
	checkError(t, err, "far more than the file")
}

func FuzzZip(f *testing.F) {
	for _, name := range []string{"small.bin", "refused/torchscript.bin", "refused/os-system.bin"} {
		f.Add(read(f, name))
	}
	pkl, zero := file{name: "m/data.pkl", data: one()}, file{name: "m/data/0", data: data0}
	f.Add(archive(false, "comment", pkl, zero))
	f.Add(archive(true, "", pkl, zero, file{name: "m/byteorder", data: "little", wide: true}))
	f.Fuzz(parseAny)
}

// parseAny checks that a file is accepted with sound tensors, or refused in a line.
func parseAny(t *testing.T, data []byte) {
	f, err := Parse(data)
	if err != nil {
		checkError(t, err, "")
		return
	}
	checkFile(t, f)
}
