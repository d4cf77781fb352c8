package source

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// MendError is what is wrong with the data, and how a user can mend it.
type MendError struct {
	Err  error
	Mend string
}

func (e *MendError) Error() string { return e.Err.Error() }
func (e *MendError) Unwrap() error { return e.Err }

// mended adds what mends an error; an empty text adds nothing.
func mended(err error, mend string) error {
	if mend == "" {
		return err
	}
	return &MendError{err, mend}
}

// Unreadable is the error of a path that cannot be opened.
func Unreadable(path string, err error) error {
	e := fmt.Errorf("read %s: %w", path, cause(err))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return mended(e, notThere(path))
	case errors.Is(err, fs.ErrPermission):
		return mended(e, "this user may not read it: chmod +r, or copy it to a folder of yours")
	}
	return e
}

// notThere says what there is in the place of a path.
func notThere(path string) string {
	if to, err := os.Readlink(path); err == nil {
		return "it is a link to " + to + ", which is not there"
	}
	parent := filepath.Dir(path)
	if entries, err := os.ReadDir(parent); err == nil {
		if near := nearestName(filepath.Base(path), entries); near != "" {
			return "did you mean " + filepath.Join(parent, near) + "?"
		}
		if abs, err := filepath.Abs(parent); err == nil && parent == "." {
			return "names are looked up in the current folder, " + abs
		}
		return fmt.Sprintf("the folder %s is there, but has no %s", parent, filepath.Base(path))
	}
	for parent != filepath.Dir(parent) {
		if _, err := os.Stat(parent); err == nil {
			break
		}
		path, parent = parent, filepath.Dir(parent)
	}
	if parent == "." {
		if abs, err := filepath.Abs(parent); err == nil {
			parent = abs
		}
	}
	return fmt.Sprintf("there is no %s in %s", filepath.Base(path), parent)
}

// nearestName finds a name that differs in its case, its end, or a letter or two.
func nearestName(name string, entries []os.DirEntry) string {
	stem := func(s string) string {
		s = strings.ToLower(s)
		for ext := filepath.Ext(s); ext != "" && ext != s; ext = filepath.Ext(s) {
			s = strings.TrimSuffix(s, ext)
		}
		return s
	}
	best, least := "", 3
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		d := differ(strings.ToLower(name), strings.ToLower(e.Name()))
		if stem(name) == stem(e.Name()) {
			d = min(d, 1)
		}
		if d < least && d < len(name) {
			best, least = e.Name(), d
		}
	}
	return best
}

// differ counts what a typing error may change: 0, 1 or 2 letters put in, left
// out or changed; 3 for more.
func differ(a, b string) int {
	if a == b {
		return 0
	}
	for n := 1; n <= 2; n++ {
		if within(a, b, n) {
			return n
		}
	}
	return 3
}

func within(a, b string, n int) bool {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	switch {
	case a == "" || b == "":
		return len(a)+len(b) <= n
	case n == 0:
		return false
	}
	return within(a[1:], b[1:], n-1) || within(a[1:], b, n-1) || within(a, b[1:], n-1)
}

// convertible are formats that hold text, and what takes it out.
var convertible = map[string]string{
	".pdf": "pdftotext FILE makes a .txt of it", ".docx": "pandoc FILE -t plain -o FILE.txt makes a .txt of it",
	".odt": "pandoc FILE -t plain -o FILE.txt makes a .txt of it", ".epub": "pandoc FILE -t plain -o FILE.txt makes a .txt of it",
	".doc": "a word processor saves it as .txt", ".xlsx": "a spreadsheet program saves it as .csv", ".ods": "a spreadsheet program saves it as .csv",
	".html": "called .txt it is read, and the step html takes its tags away", ".htm": "called .txt it is read, and the step html takes its tags away",
	".zip": "unpack it, and name the folder", ".tar": "unpack it, and name the folder", ".tgz": "unpack it, and name the folder",
	".7z": "unpack it, and name the folder", ".bz2": "unpack it, or pack it with gzip or zstd", ".xz": "unpack it, or pack it with gzip or zstd",
	".arrow": "save it as Parquet or JSON lines: Dataset.to_parquet, Dataset.to_json", ".feather": "save it as Parquet",
	".safetensors": "these are weights, not text", ".gguf": "these are weights, not text",
}

// unknownFormat is the error of a name that no reader goes with.
func unknownFormat(name string) error {
	lower := strings.ToLower(name)
	if c := strings.TrimSuffix(strings.TrimSuffix(lower, ".gz"), ".zst"); filepath.Ext(c) == ".tar" {
		lower = c
	}
	mend, ok := convertible[filepath.Ext(lower)]
	if !ok {
		mend = "if it is plain text, call it " + filepath.Base(name) + ".txt"
	}
	return mended(fmt.Errorf("read %s: a format that is not known by its name, want %s", name, known),
		strings.ReplaceAll(mend, "FILE", name))
}

// notText is the error of a file with a byte 0 near its beginning.
func notText(f File, head []byte) error {
	return mended(fmt.Errorf("read %s: not text (a byte 0 in its first 4096 bytes)", f.Path), guess(f, head))
}

// longLine is what mends a record that is too large.
func longLine(f File) string {
	if f.Format == Text && f.Compression == Plain {
		return "fold -s -w 10000 " + f.Path + " breaks long lines at spaces"
	}
	return "divide what is in it among several records"
}

// guess says what the bytes of a file that is not text may be.
func guess(f File, head []byte) string {
	for _, m := range []struct{ magic, mend string }{
		{"\x1f\x8b", "it is packed with gzip: call it " + f.Path + ".gz"},
		{"\x28\xb5\x2f\xfd", "it is packed with zstd: call it " + f.Path + ".zst"},
		{"PAR1", "it looks like Parquet: call it .parquet"},
		{"PK\x03\x04", "it looks like a ZIP archive, or a document of an office program: unpack it, or save it as text"},
		{"%PDF", "it is a PDF: pdftotext makes a .txt of it"},
		{"\x7fELF", "it is a program"},
		{"SQLite", "it is a database: save its texts as .csv"},
		{"\xff\xfe\x00\x00", "it looks like UTF-32: iconv -f UTF-32 -t UTF-8 makes UTF-8 of it"},
		{"\x00\x00\xfe\xff", "it looks like UTF-32: iconv -f UTF-32 -t UTF-8 makes UTF-8 of it"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.mend
		}
	}
	// Text of Latin letters in UTF-16 without a byte order mark has zeros in every
	// other place.
	var zeros [2]int
	for i, b := range head {
		if b == 0 {
			zeros[i%2]++
		}
	}
	pairs := max(4, len(head)/2)
	switch {
	case zeros[1] > pairs/2 && zeros[0] <= pairs/20:
		return "it looks like UTF-16 without a byte order mark: iconv -f UTF-16LE -t UTF-8 makes UTF-8 of it"
	case zeros[0] > pairs/2 && zeros[1] <= pairs/20:
		return "it looks like UTF-16 without a byte order mark: iconv -f UTF-16BE -t UTF-8 makes UTF-8 of it"
	}
	return "name the files to learn from one by one, or by a pattern such as '*.txt', and leave this one out"
}
