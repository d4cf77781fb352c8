package amx

import (
	"errors"
	"strings"
	"syscall"
	"testing"
)

// sapphireRapids is what a machine says that lends its tiles.
func sapphireRapids() machine {
	return machine{
		maxLeaf: 0x20, edx7: amxBF16 | amxTile | amxInt8 | 0x100, osxsave: true, xcr0: 0x602e7,
		palette: [3]uint32{0x04002000, 0x00080040, 0x10}, tmul: 0x4010, bf16: true,
		request: func() error { return nil },
	}
}

func TestCheck(t *testing.T) {
	asked := 0
	refuse := func(errno syscall.Errno) func(*machine) {
		return func(m *machine) { m.request = func() error { return errno } }
	}
	for _, c := range []struct {
		name   string
		change func(*machine)
		want   string // "" for none
	}{
		{"all there", func(m *machine) {}, ""},
		{"another processor", func(m *machine) { m.edx7 = 0x100 }, "has no AMX"},
		{"an old processor", func(m *machine) { m.maxLeaf = 0xd }, "has no AMX"},
		{"no bf16", func(m *machine) { m.edx7 &^= amxBF16 }, "only a part"},
		{"no int8", func(m *machine) { m.edx7 &^= amxInt8 }, "only a part"},
		{"no conversions", func(m *machine) { m.bf16 = false }, "AVX512_BF16"},
		{"no xsave", func(m *machine) { m.osxsave, m.xcr0 = false, 0 }, "does not save"},
		{"tile data not enabled", func(m *machine) { m.xcr0 &^= 1 << 18 }, "does not save"},
		{"tile configuration not enabled", func(m *machine) { m.xcr0 &^= 1 << 17 }, "does not save"},
		{"other tiles", func(m *machine) { m.palette[2] = 8 }, "unknown form"},
		{"no palette", func(m *machine) { m.palette = [3]uint32{} }, "unknown form"},
		{"small products", func(m *machine) { m.tmul = 0x2008 }, "limited to 8 rows of 32 bytes"},
		{"an old kernel", refuse(syscall.EINVAL), "invalid argument"},
		{"no such call", refuse(syscall.ENOSYS), "not implemented"},
		{"a sandbox", refuse(syscall.EPERM), "not permitted"},
		{"a small signal stack", refuse(syscall.ENOSPC), "no space"},
	} {
		m := sapphireRapids()
		c.change(&m)
		request := m.request
		asked = 0
		m.request = func() error { asked++; return request() }
		err := m.check()
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		case c.want == "has no AMX" && !errors.Is(err, ErrNone):
			t.Errorf("%s: %v is not ErrNone", c.name, err)
		}
		if wantAsked := c.want == "" || request() != nil; (asked == 1) != wantAsked {
			t.Errorf("%s: the system was asked %d times", c.name, asked)
		}
	}
}

// The real machine answers without a crash, and always the same.
func TestAvailable(t *testing.T) {
	first := Available()
	t.Logf("this machine: %v", first)
	if again := Available(); !errors.Is(again, first) {
		t.Errorf("asked again: %v", again)
	}
}
