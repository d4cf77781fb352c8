//go:build linux && cgo

package nvidia

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func probeLibrary(t *testing.T, library, state string) Inventory {
	t.Helper()
	t.Setenv("FAKE_NVML", state)
	return Probe(t.Context(), Options{Source: SourceNVML, Library: library, Root: t.TempDir(), Timeout: time.Minute})
}

func TestLibraryStates(t *testing.T) {
	library := buildLibrary(t, "testdata/fakenvml.c", "libnvidia-ml.so.1")
	for name, want := range map[string]State{
		"no-driver": StateNoDriver, "mismatch": StateMismatch, "no-permission": StateNoAccess,
		"container": StateFailed, "no-device": StateNoDevice, "lost": StateLost, "": StateOK,
	} {
		inv := probeLibrary(t, library, name)
		if inv.State != want || (want == StateOK) != (inv.Detail == "") || inv.Source != SourceNVML {
			t.Errorf("%s: got %s from %s (%s), want %s", name, inv.State, inv.Source, inv.Detail, want)
		}
		switch name {
		case "mismatch": // as nvidia-smi tells it
			if inv.Library.String() != "535.183" {
				t.Errorf("library: got %q", inv.Library)
			}
		case "lost":
			if len(inv.GPUs) != 2 || inv.GPUs[0].State != StateOK || inv.GPUs[1].State != StateLost {
				t.Errorf("lost: got %+v", inv.GPUs)
			}
		}
	}
	if inv := probeLibrary(t, filepath.Join(t.TempDir(), "libnvidia-ml.so.1"), ""); inv.State != StateNoLibrary || inv.Source != SourceNone {
		t.Errorf("no library: got %+v", inv)
	}
}

// The same card through the library and through nvidia-smi.
func TestLibraryEqualsSMI(t *testing.T) {
	library := buildLibrary(t, "testdata/fakenvml.c", "libnvidia-ml.so.1")
	compare(t, probeLibrary(t, library, ""), fromNVML(probeFile(t, "small-v11.xml", "00000000:01:00.0, 6.1")))
	compare(t, probeLibrary(t, library, "unsupported"), fromNVML(probeFile(t, "unsupported-v11.xml", "")))

	inv := probeLibrary(t, library, "mig")
	compare(t, inv.GPUs[0].MIGInstances, []MIGInstance{{
		Index: 1, GPUInstance: 5, Multiprocessors: new(14), MemoryTotal: new(uint64(1024 << 20)), MemoryFree: new(uint64(1000 << 20)),
	}})
}

// Without the library nvidia-smi is asked.
func TestLibraryFallsBack(t *testing.T) {
	smi := fakeSMI(t, "cat '"+smiFile(t, "h100-v12.xml")+"'", "echo 00000000:19:00.0, 9.0")
	inv := Probe(t.Context(), Options{Library: filepath.Join(t.TempDir(), "absent.so"), SMI: smi, Root: t.TempDir(), Timeout: time.Minute})
	compare(t, inv, h100(t))
}

// A driver that hangs gives a timeout, twice, and lets the program end.
func TestLibraryHangs(t *testing.T) {
	const library = "FAKE_NVML_LIBRARY"
	if path := os.Getenv(library); path != "" {
		for range 2 {
			inv := Probe(context.Background(), Options{Source: SourceNVML, Library: path, Timeout: 100 * time.Millisecond})
			if inv.State != StateTimeout {
				t.Errorf("got %s (%s)", inv.State, inv.Detail)
			}
		}
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestLibraryHangs$", "-test.v")
	cmd.Env = append(os.Environ(), "FAKE_NVML=hang", library+"="+buildLibrary(t, "testdata/fakenvml.c", "libnvidia-ml.so.1"))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}
