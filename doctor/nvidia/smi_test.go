package nvidia

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// fakeSMI writes an nvidia-smi whose -q -x runs the shell commands of query.
func fakeSMI(t *testing.T, query, capabilities string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the fake nvidia-smi is a shell script")
	}
	path := filepath.Join(t.TempDir(), "nvidia-smi")
	links := "exit 3" // an old driver that does not know the question
	if strings.Contains(query, "-v12.xml") || strings.Contains(query, "-v13.xml") {
		links = "cat '" + smiFile(t, "nvlink.txt") + "'"
	}
	script := fmt.Sprintf("#!/bin/sh\ncase \"$1\" in\n-q)\n%s\n;;\n--query-gpu=pci.bus_id,compute_cap)\n%s\n;;\nnvlink)\n%s\n;;\nesac\n", query, capabilities, links)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// What is not on the PATH is looked for where drivers put it.
func TestFindSMI(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("these are folders of Linux")
	}
	t.Setenv("PATH", "")
	for _, dir := range []string{"usr/bin", "usr/local/nvidia/bin", "usr/lib/wsl/lib"} {
		root := t.TempDir()
		path := filepath.Join(root, dir, "nvidia-smi")
		if _, err := findSMI(Options{Root: root}); err == nil {
			t.Error("found in an empty folder")
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if got, err := findSMI(Options{Root: root}); got != path || err != nil {
			t.Errorf("found %q, %v, want %s", got, err, path)
		}
	}
}

func smiFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", "smi", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// probeFile asks a fake nvidia-smi that prints a file, on a machine with nothing in /sys and /proc.
func probeFile(t *testing.T, name, capabilities string) Inventory {
	t.Helper()
	smi := fakeSMI(t, "cat '"+smiFile(t, name)+"'", "echo '"+capabilities+"'")
	return Probe(t.Context(), Options{Source: SourceSMI, SMI: smi, Root: t.TempDir(), Timeout: time.Minute})
}

func version(t *testing.T, s string) Version {
	t.Helper()
	v, err := ParseVersion(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// h100 is what h100-v12.xml and the full mock both show.
func h100(t *testing.T) Inventory {
	return Inventory{
		State: StateOK, Source: SourceSMI, Driver: version(t, "550.54.15"), CUDA: version(t, "12.4"),
		GPUs: []GPU{{
			State: StateOK, Name: "NVIDIA H100 80GB HBM3", BusID: "0000:19:00.0", Architecture: "Hopper",
			Capability:  &Capability{9, 0},
			MemoryTotal: new(uint64(81559 << 20)), MemoryReserved: new(uint64(477 << 20)),
			MemoryUsed: new(uint64(20000 << 20)), MemoryFree: new(uint64(61082 << 20)),
			BAR1Total: new(uint64(131072 << 20)), BAR1Used: new(uint64(3 << 20)),
			ECC: new(true), ECCPending: new(false), VolatileUncorrected: new(uint64(7)), AggregateUncorrected: new(uint64(24)),
			Remap: &RowRemap{Correctable: 1, Uncorrectable: 2, Pending: true},
			MIG:   new(false), MIGPending: new(false),
			ComputeMode: new(ComputeExclusiveProcess), Persistence: new(true), Virtualization: "none",
			PowerDraw: new(650.12), PowerLimit: new(700.0), PowerDefault: new(700.0), Temperature: new(71),
			GSPFirmware: "550.54.15", Fabric: &Fabric{State: FabricCompleted}, NVLink: &NVLink{17, 1},
			UUID:          "GPU-00000000-0000-0000-0000-000000000000",
			GraphicsClock: new(uint32(1700)), SMClock: new(uint32(1695)), MemoryClock: new(uint32(2619)),
			MaxGraphicsClock: new(uint32(1980)), MaxSMClock: new(uint32(1975)), MaxMemoryClock: new(uint32(2620)),
			Throttle: []ThrottleReason{ThrottleSWPowerCap, ThrottleHWThermal}, ThrottleKnown: true,
			PCIe:           PCIeLink{Generation: new(4), MaxGeneration: new(5), Width: new(8), MaxWidth: new(16)},
			UtilizationGPU: new(87), UtilizationMemory: new(41), DisplayActive: new(false),
			Processes:      []Process{{PID: 17, Graphics: true}, {PID: 4242, Compute: true, Memory: new(uint64(19000 << 20))}},
			ProcessesKnown: true,
		}},
	}
}

func compare(t *testing.T, got, want any) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	g, _ := json.MarshalIndent(got, "", " ")
	w, _ := json.MarshalIndent(want, "", " ")
	gl, wl := strings.Split(string(g), "\n"), strings.Split(string(w), "\n")
	for i := range min(len(gl), len(wl)) {
		if gl[i] != wl[i] {
			t.Fatalf("line %d: got %s, want %s\n%s", i, gl[i], wl[i], g)
		}
	}
	t.Fatalf("got %s\nwant %s", g, w)
}

func TestSMIInventory(t *testing.T) {
	compare(t, probeFile(t, "h100-v12.xml", "00000000:19:00.0, 9.0"), h100(t))

	newer := h100(t)
	newer.Driver, newer.CUDA = version(t, "590.44.01"), version(t, "13.1")
	g := &newer.GPUs[0]
	g.BusID, g.Name, g.Architecture = "0000:61:00.0", "NVIDIA RTX PRO 6000 Blackwell", "Ada"
	g.PowerDraw, g.Capability = new(3.97), &Capability{12, 0}
	compare(t, probeFile(t, "new-v13.xml", "00000000:61:00.0, 12.0"), newer)
}

func TestSMIVersions(t *testing.T) {
	for text, want := range map[string]string{
		"<driver_version>550.54.15</driver_version><cuda_version>12.4</cuda_version>":      "550.54.15 12.4",
		"<kmd_version>610.57.04</kmd_version><cuda_umd_version>13.3</cuda_umd_version>":    "610.57.04 13.3",
		"<driver_version>550.54.15</driver_version><cuda_version>N/A</cuda_version>":       "550.54.15 ",
		"<driver_version>[Unknown]</driver_version><cuda_version>ERR! 12.4</cuda_version>": " ",
	} {
		inv := readSMI([]byte("<?xml version=\"1.0\" ?><nvidia_smi_log>"+text+"</nvidia_smi_log>"), nil)
		if got := inv.Driver.String() + " " + inv.CUDA.String(); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestSMIVolta(t *testing.T) {
	inv := probeFile(t, "volta-v11.xml", `Field "compute_cap" is not a valid field to query.`)
	g := inv.GPUs[0]
	if inv.State != StateOK || g.Capability != nil || *g.VolatileUncorrected != 5 || g.AggregateUncorrected != nil || !*g.RetiredPagesPending || g.Remap != nil {
		t.Errorf("got %+v", inv)
	}
}

// Whatever the device does not support is absent.
func TestSMIUnsupported(t *testing.T) {
	compare(t, probeFile(t, "unsupported-v11.xml", "00000000:01:00.0, [N/A]"), Inventory{
		State: StateOK, Source: SourceSMI, Driver: version(t, "470.256.02"), CUDA: version(t, "11.4"),
		GPUs: []GPU{{State: StateOK, Name: "NVIDIA GB10", Architecture: "Blackwell", BusID: "0000:01:00.0"}},
	})
}

// The words and codes are nvidia-smi's.
func TestSMIStates(t *testing.T) {
	mismatch := "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535.183\n"
	tests := []struct {
		name, query string
		state       State
		detail      string
	}{
		{"no driver", `echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running."; exit 9`,
			StateNoDriver, "NVIDIA-SMI has failed"},
		{"no driver by code", "exit 9", StateNoDriver, "exit status 9"},
		{"mismatch", "printf '" + strings.ReplaceAll(mismatch, "\n", `\n`) + "'; exit 18", StateMismatch, "version mismatch"},
		{"no permission", `echo "Failed to initialize NVML: Insufficient Permissions"; exit 4`, StateNoAccess, "Insufficient"},
		{"no library", `echo "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system." >&2; exit 12`, StateNoLibrary, "libnvidia-ml"},
		{"no device", `echo "No devices were found"; exit 6`, StateNoDevice, "No devices"},
		{"lost", `echo "Unable to determine the device handle for GPU 0000:0A:00.0: GPU is lost.  Reboot the system to recover this GPU"; exit 15`, StateLost, "GPU is lost"},
		{"container", `echo "Failed to initialize NVML: Unknown Error"; exit 255`, StateFailed, "Unknown Error"},
		{"silent", "exit 0", StateFailed, "printed nothing"},
		{"silent failure", "exit 3", StateFailed, "exit status 3"},
		{"truncated", `echo '<?xml version="1.0" ?><nvidia_smi_log><gpu id="a"><product_name>x'`, StateFailed, "ends early"},
		{"other XML", `echo '<?xml version="1.0" ?><html></html>'`, StateFailed, "nvidia_smi_log"},
		{"no GPUs", `echo '<?xml version="1.0" ?><nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>'`, StateNoDevice, "no GPU"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			smi := fakeSMI(t, test.query, "exit 9")
			inv := Probe(t.Context(), Options{Source: SourceSMI, SMI: smi, Root: t.TempDir(), Timeout: time.Minute})
			if inv.State != test.state || !strings.Contains(inv.Detail, test.detail) {
				t.Errorf("got %s (%s), want %s (%s)", inv.State, inv.Detail, test.state, test.detail)
			}
			if test.state == StateMismatch && inv.Library.String() != "535.183" {
				t.Errorf("library: got %q", inv.Library)
			}
			if test.state == StateLost && (len(inv.GPUs) != 1 || inv.GPUs[0].BusID != "0000:0a:00.0") {
				t.Errorf("GPUs: got %+v", inv.GPUs)
			}
		})
	}
	inv := Probe(t.Context(), Options{Source: SourceSMI, SMI: filepath.Join(t.TempDir(), "absent"), Root: t.TempDir()})
	if inv.State != StateNoLibrary || inv.Source != SourceNone {
		t.Errorf("no nvidia-smi: got %+v", inv)
	}
	if inv := Probe(t.Context(), Options{Source: "rocm-smi", Root: t.TempDir()}); inv.State != StateFailed {
		t.Errorf("unknown source: got %+v", inv)
	}
}

func TestSMILost(t *testing.T) {
	inv := probeFile(t, "lost-v12.xml", "00000000:19:00.0, 9.0")
	want := h100(t)
	want.State, want.Detail = StateLost, "GPU 1: Unknown Error"
	want.GPUs = append(want.GPUs, GPU{Index: 1, State: StateLost, BusID: "0000:34:00.0", Detail: "Unknown Error"})
	compare(t, inv, want)
}

func TestLostGPUsKeepTheirPlace(t *testing.T) {
	for words, want := range map[string]string{
		"Unable to determine the device handle for GPU0: 0000:09:00.0: Unknown Error":   "0000:09:00.0 0000:10:00.0 0000:20:00.0",
		"Unable to determine the device handle for GPU0000:15:00.0: Unknown Error":      "0000:10:00.0 0000:15:00.0 0000:20:00.0",
		"Unable to determine the device handle for GPU 0000:21:00.0: GPU is lost.":      "0000:10:00.0 0000:20:00.0 0000:21:00.0",
		"Unable to determine the device handle for gpu 00000000:0A:00.0: Unknown Error": "0000:0a:00.0 0000:10:00.0 0000:20:00.0",
	} {
		inv := readSMI([]byte(words+"\n"+`<?xml version="1.0" ?><nvidia_smi_log><gpu id="00000000:10:00.0"/><gpu id="00000000:20:00.0"/></nvidia_smi_log>`), nil)
		var got []string
		for i, g := range inv.GPUs {
			got = append(got, g.BusID)
			if g.Index != i {
				t.Errorf("%s: GPU %d has index %d", words, i, g.Index)
			}
		}
		if strings.Join(got, " ") != want || inv.State != StateLost {
			t.Errorf("%s: got %v %s, want %s", words, got, inv.State, want)
		}
	}
}

// A hanging nvidia-smi, even one whose child keeps the pipe open, does not hold the probe up.
func TestSMIHangs(t *testing.T) {
	for _, query := range []string{"exec sleep 30", "sleep 30 & wait"} {
		start := time.Now()
		inv := Probe(t.Context(), Options{Source: SourceSMI, SMI: fakeSMI(t, query, "exec sleep 30"), Root: t.TempDir(), Timeout: 300 * time.Millisecond})
		if inv.State != StateTimeout || time.Since(start) > 20*time.Second {
			t.Errorf("%s: got %s (%s) after %s", query, inv.State, inv.Detail, time.Since(start))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if inv := Probe(ctx, Options{Source: SourceSMI, SMI: fakeSMI(t, "exec sleep 30", ""), Root: t.TempDir()}); inv.State != StateTimeout {
		t.Errorf("cancelled: got %s", inv.State)
	}
}

// What cannot be known is never claimed, whatever the text.
func FuzzReadSMI(f *testing.F) {
	files, err := filepath.Glob("testdata/smi/*.xml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(text[:len(text)/2])
	}
	f.Add([]byte("Unable to determine the device handle for GPU999: 0000:34:00.0: x\n<?xml ?><nvidia_smi_log><gpu/></nvidia_smi_log>"))
	f.Add([]byte("<?xml ?><nvidia_smi_log><gpu><fb_memory_usage><total>18446744073709551615 MiB</total></fb_memory_usage></gpu></nvidia_smi_log>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		inv := readSMI(text, nil)
		if inv.State == "" || inv.Source != SourceSMI {
			t.Fatalf("no state: %+v", inv)
		}
		if inv.State != StateOK && inv.Detail == "" {
			t.Fatalf("%s without a reason", inv.State)
		}
		if strings.ContainsAny(inv.Detail, "\n\x1b") {
			t.Fatalf("detail %q", inv.Detail)
		}
		for _, g := range inv.GPUs {
			if strings.ContainsAny(g.Name+g.Detail, "\n\x1b") || g.State == "" {
				t.Fatalf("GPU %+v", g)
			}
			for i := 1; i < len(g.Processes); i++ {
				if g.Processes[i-1].PID >= g.Processes[i].PID {
					t.Fatal("processes are not sorted")
				}
			}
		}
	})
}

func TestParseLinks(t *testing.T) {
	const said = "GPU 0: A (UUID: GPU-1)\n\t Link 0: 25 GB/s\n\t Link 1: <inactive>\nGPU 1: B (UUID: GPU-2)\nGPU 2: C\n\t Link 0: 26.562 GB/s\n\t Link 1: 26.562 GB/s\nLink 9: 1 GB/s\n"
	compare(t, parseLinks([]byte(said)), map[int]NVLink{0: {1, 1}, 2: {2, 0}})
	if got := parseLinks([]byte("\t Link 0: 25 GB/s\nNVML: Unable to retrieve NVLink information as all links are inActive\n")); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func FuzzParseLinks(f *testing.F) {
	f.Add([]byte("GPU 0: A\n\t Link 0: 25 GB/s\n\t Link 1: <inactive>\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		for i, n := range parseLinks(out) {
			if i < 0 || i > 999 || n.Active+n.Inactive < 1 {
				t.Errorf("GPU %d: %+v", i, n)
			}
		}
	})
}
