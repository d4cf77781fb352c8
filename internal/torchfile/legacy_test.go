package torchfile

import (
	"strings"
	"testing"
)

const (
	magicPickle = "\x80\x02\x8a\x0a" + legacyMagic + "."
	versionOne  = "\x80\x02M\xe9\x03."
	littleFacts = "\x80\x02}U\x0dlittle_endian\x88s."
	keyZero     = "\x80\x02]U\x010a."
	sixElements = "\x06\x00\x00\x00\x00\x00\x00\x00"
)

func TestParseLegacy(t *testing.T) {
	// Text as Python 2 wrote it: SHORT_BINSTRING.
	f, err := Parse([]byte(magicPickle + versionOne + littleFacts + one() + keyZero + sixElements + data0))
	if err != nil {
		t.Fatal(err)
	}
	if w, ok := f.Tensor("w"); !ok || string(w.Data) != data0 || w.ShapeString() != "[2 3]" {
		t.Error(w)
	}
}

func TestParseLegacyRefuses(t *testing.T) {
	head := magicPickle + versionOne + littleFacts
	for _, c := range []struct{ name, data, words string }{
		{"other magic", "\x80\x02\x8a\x0a" + strings.Repeat("x", 10) + ".", "magic number"},
		{"hostile magic", "\x80\x02cos\nsystem\n.", "os.system"},
		{"other version", magicPickle + "\x80\x02M\xea\x03.", "version 1002"},
		{"hostile version", magicPickle + "\x80\x02cos\nsystem\n.", "os.system"},
		{"hostile facts", magicPickle + versionOne + "\x80\x02cos\nsystem\n.", "os.system"},
		{"big-endian", magicPickle + versionOne + "\x80\x02}U\x0dlittle_endian\x89s.", "not little-endian"},
		{"facts unknown", magicPickle + versionOne + "\x80\x02N.", "not little-endian"},
		{"persistent id in the facts", magicPickle + versionOne + p2(storageOf("FloatStorage", 1)), "where none may be"},
		{"hostile keys", head + one() + "\x80\x02cos\nsystem\n.", "os.system"},
		{"keys no list", head + one() + p2("N"), "want a list"},
		{"unknown key", head + one() + p2("]U\x011a"), "belongs to no tensor"},
		{"number as a key", head + one() + p2("]K\x00a"), "belongs to no tensor"},
		{"key twice", head + one() + p2("](U\x010U\x010e") + sixElements + data0 + sixElements + data0, "comes twice"},
		{"key missing", head + one() + p2("]"), "no data in the file"},
		{"other length", head + one() + keyZero + "\x07" + sixElements[1:] + data0 + data0, "has 7 elements, want 6"},
		{"huge length", head + one() + keyZero + strings.Repeat("\xff", 8) + data0, "elements, want 6"},
		{"short data", head + one() + keyZero + sixElements + data0[1:], "23 are left"},
		{"no data", head + one() + keyZero, "missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.data))
			checkError(t, err, c.words)
		})
	}
}

func FuzzLegacy(f *testing.F) {
	for _, name := range []string{"small-legacy.bin", "wrapped-module.bin", "refused/os-system-legacy.bin", "refused/tar.bin"} {
		f.Add(read(f, name))
	}
	f.Add([]byte(magicPickle + versionOne + littleFacts + one() + keyZero + sixElements + data0))
	f.Fuzz(parseAny)
}
