package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/run"
)

// A family that the system refuses is done without; one that the machine does not have
// is a mistake.
func TestAllowedFamily(t *testing.T) {
	check := func(name string) error {
		switch name {
		case "amx":
			return &run.RefusedError{Family: name, Err: errors.New("the system refuses AMX: operation not permitted")}
		case "avx512":
			return nil
		}
		return errors.New("this machine has avx512")
	}
	for _, c := range []struct{ name, family, note, err string }{
		{name: ""},
		{name: "avx512", family: "avx512"},
		{name: " AVX512", family: "avx512"},
		{name: "amx", note: `GPTCTL_CPU="amx" in the environment: the system refuses AMX`},
		{name: "neon", err: `GPTCTL_CPU="neon" in the environment: this machine has avx512`},
	} {
		family, note, err := allowedFamily(c.name, check)
		if family != c.family || !strings.HasPrefix(note, c.note) || (note == "") != (c.note == "") ||
			(err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%q: %q, %q, %v", c.name, family, note, err)
		}
	}
}
