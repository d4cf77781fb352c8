package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/doctor/nvidia"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/machine/machinetest"
)

var update = flag.Bool("update", false, "write the golden files")

// A healthy Debian without a GPU.
const debian = `
env HOME=/home/alice
env USER=alice
-- etc/os-release --
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
ID=debian
VERSION_ID="12"
-- proc/sys/kernel/osrelease --
6.1.0-20-amd64
-- proc/modules --
ext4 1 1 - Live 0x0
-- proc/cpuinfo --
processor : 0
model name : Test CPU
flags : avx2 fma f16c avx512f
processor : 1
-- proc/self/cgroup --
0::/
-- proc/self/limits --
Limit                     Soft Limit           Hard Limit           Units     
Max processes             100000               100000               processes 
Max open files            1024                 524288               files     
Max locked memory         8388608              8388608              bytes     
Max address space         unlimited            unlimited            bytes     
-- proc/self/mountinfo --
22 1 8:2 / / rw - ext4 /dev/sda2 rw
-- sys/dev/block/8:2 -> ../../devices/block/sda/sda2 --
-- sys/devices/block/sda/queue/rotational --
0
-- sys/bus/pci/devices/0000:00:01.0/vendor --
0x1234
-- sys/devices/system/node/node0/cpulist --
0-1
-- sys/firmware/acpi/x --
-- dev/shm/x --
-- tmp/x --
-- home/alice/.cache/huggingface/hub/version.txt --
-- usr/bin/apt-get --
-- var/lib/dpkg/status --
Package: bash
Status: install ok installed
Version: 5
-- usr/bin/python3 -> python3.11 --
-- usr/bin/python3.11 --
-- usr/lib/python3.11/os.py --
-- usr/lib/python3.11/venv/__init__.py --
-- usr/lib/python3.11/ensurepip/__init__.py --
-- usr/lib/python3.11/EXTERNALLY-MANAGED --
-- usr/lib/python3/dist-packages/pip/__init__.py --
-- $ python3 --version --
Python 3.11.2
-- etc/ssl/certs/ca-certificates.crt --
`

// withGPU is what a loaded driver leaves in files.
const withGPU = debian + `
-- sys/bus/pci/devices/0000:01:00.0/vendor --
0x10de
-- sys/bus/pci/devices/0000:01:00.0/device --
0x2684
-- sys/bus/pci/devices/0000:01:00.0/class --
0x030000
-- proc/driver/nvidia/version --
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build
-- usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.65.06 --
-- proc/modules --
nvidia 1 1 - Live 0x0
nvidia_uvm 1 1 - Live 0x0
-- dev/nvidiactl --
-- dev/nvidia-uvm --
`

func version(t *testing.T, s string) nvidia.Version {
	t.Helper()
	v, err := nvidia.ParseVersion(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// card is an inventory of one healthy GPU.
func card(t *testing.T) nvidia.Inventory {
	return nvidia.Inventory{
		State: nvidia.StateOK, Source: nvidia.SourceNVML, Driver: version(t, "580.65.06"), CUDA: version(t, "13.0"),
		GPUs: []nvidia.GPU{{
			State: nvidia.StateOK, Name: "NVIDIA GeForce RTX 4090", Capability: &nvidia.Capability{Major: 8, Minor: 9},
			MemoryTotal: new(uint64(24 << 30)), MemoryFree: new(uint64(23 << 30)), MIG: new(false),
			ComputeMode: new(nvidia.ComputeDefault), ThrottleKnown: true, ProcessesKnown: true, Temperature: new(41),
		}},
	}
}

// options are those of a described machine, with instruments that do nothing.
func options(t *testing.T, archive string, inv nvidia.Inventory) Options {
	t.Helper()
	if inv.State == "" {
		inv.State = nvidia.StateNoLibrary
	}
	return Options{
		Host: machinetest.Host(t, archive),
		Instruments: Instruments{
			GPUs: func(context.Context) nvidia.Inventory { return inv },
			GPUWork: func(context.Context, nvidia.Inventory, nvidia.WorkOptions) nvidia.WorkResult {
				return nvidia.WorkResult{State: nvidia.WorkOK, Device: "GPU", Bytes: 256e6}
			},
			Limits:     func(context.Context) (kernel.Limits, error) { return kernel.Limits{ReadGBs: 20, F32GFLOPs: 200}, nil },
			WriteSpeed: func(context.Context, string) (float64, error) { return 500e6, nil },
			FileTraits: func(context.Context, string) (FileTraits, error) { return FileTraits{}, nil },
			CUDA: func(context.Context) nvidia.WorkResult {
				if inv.State == nvidia.StateNoLibrary {
					return nvidia.WorkResult{State: nvidia.WorkNoLibrary}
				}
				return nvidia.WorkResult{State: nvidia.WorkOK, Devices: len(inv.GPUs), CUDA: inv.CUDA}
			},
			Listen: func(string) error { return nil },
		},
	}
}

func run(t *testing.T, o Options) *Report {
	t.Helper()
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func finding(t *testing.T, r *Report, id string) Finding {
	t.Helper()
	for _, f := range r.Checks {
		if f.ID == id {
			return f
		}
	}
	t.Fatalf("no check %s", id)
	return Finding{}
}

func TestMachines(t *testing.T) {
	lost := card(t)
	lost.GPUs[0] = nvidia.GPU{State: nvidia.StateLost, Detail: "GPU is lost"}
	small := card(t)
	small.GPUs[0].MemoryTotal = new(uint64(4 << 30))
	mute := card(t)
	mute.GPUs = []nvidia.GPU{{State: nvidia.StateOK, Name: "NVIDIA GB10"}}
	mig := card(t)
	mig.GPUs[0].MIG = new(true)
	busy := card(t)
	busy.GPUs[0].Processes = []nvidia.Process{{PID: 1, Compute: true, Memory: new(uint64(5e9))}}
	old := card(t)
	old.GPUs[0].Capability = &nvidia.Capability{Major: 6, Minor: 1}
	oldDriver := card(t)
	oldDriver.Driver, oldDriver.CUDA = version(t, "535.54.03"), version(t, "12.2")

	for _, c := range []struct {
		name, archive string
		inv           nvidia.Inventory
		change        func(*Options)
		ready         bool
		want          map[string]Verdict
	}{
		{name: "no GPU", archive: debian, ready: true, want: map[string]Verdict{
			"os.release": Pass, "ram.total": Pass, "disk.free": Pass, "disk.type": Pass, "python.version": Pass, "python.torch": Pass,
			"gpu.present": Warn, "gpu.vram": Skip, "gpu.driver": Skip, "cuda.toolkit": Skip, "cudnn.version": Skip, "net.hub": Skip}},
		{name: "no GPU, strict", archive: debian, change: func(o *Options) { o.Strict = true }, want: map[string]Verdict{"gpu.present": Fail}},
		{name: "no GPU, let pass", archive: debian, ready: true, change: func(o *Options) { o.Strict = true; o.Skip = []string{"gpu.*"} },
			want: map[string]Verdict{"gpu.present": Warn}},
		{name: "GPU", archive: withGPU, inv: card(t), ready: true, want: map[string]Verdict{
			"gpu.present": Pass, "gpu.driver": Pass, "gpu.library": Pass, "gpu.vram": Pass, "gpu.work": Pass, "gpu.ecc": Skip,
			"gpu.nouveau": Pass, "gpu.uvm": Pass, "gpu.capability": Pass, "gpu.nodes": Pass,
			"cuda.toolkit": Warn, "cuda.match": Skip, "cudnn.version": Warn}},
		{name: "GPU, strict", archive: withGPU, inv: card(t), change: func(o *Options) { o.Strict = true }, want: map[string]Verdict{"cuda.toolkit": Fail}},
		{name: "small GPU", archive: withGPU, inv: small, want: map[string]Verdict{"gpu.vram": Fail}},
		{name: "unified memory", archive: withGPU, inv: mute, ready: true, want: map[string]Verdict{
			"gpu.present": Pass, "gpu.vram": Skip, "gpu.capability": Skip, "gpu.mig": Skip, "gpu.processes": Skip, "gpu.throttle": Skip}},
		{name: "lost", archive: withGPU, inv: lost, want: map[string]Verdict{"gpu.driver": Fail, "gpu.vram": Skip}},
		{name: "MIG without a slice", archive: withGPU, inv: mig, want: map[string]Verdict{"gpu.mig": Fail}},
		{name: "busy", archive: withGPU, inv: busy, ready: true, want: map[string]Verdict{"gpu.processes": Warn}},
		{name: "Pascal", archive: withGPU, inv: old, ready: true, want: map[string]Verdict{"gpu.capability": Warn}},
		{name: "mismatch", archive: strings.Replace(withGPU, "so.580.65.06", "so.580.82.07", 1),
			inv:  nvidia.Inventory{State: nvidia.StateMismatch, KernelModule: version(t, "580.65.06")},
			want: map[string]Verdict{"gpu.present": Pass, "gpu.driver": Fail, "gpu.library": Fail, "gpu.vram": Skip}},
		{name: "nouveau", archive: withGPU + "-- proc/modules --\nnouveau 1 1 - Live 0x0\n", inv: nvidia.Inventory{State: nvidia.StateNoLibrary},
			want: map[string]Verdict{"gpu.present": Pass, "gpu.driver": Fail, "gpu.nouveau": Fail, "cuda.toolkit": Warn}},
		{name: "driver hangs", archive: withGPU, inv: nvidia.Inventory{State: nvidia.StateTimeout}, ready: true,
			want: map[string]Verdict{"gpu.driver": Skip, "gpu.vram": Skip}},
		{name: "driver hangs, no PCI bus to see", archive: debian, inv: nvidia.Inventory{State: nvidia.StateTimeout}, ready: true,
			want: map[string]Verdict{"gpu.present": Skip, "gpu.driver": Skip, "gpu.vram": Skip}},
		{name: "toolkit newer than the driver", archive: withGPU + "-- usr/local/cuda-13.0/version.json --\n{\"cuda\":{\"version\":\"13.0.1\"}}\n", inv: oldDriver, ready: true,
			want: map[string]Verdict{"cuda.toolkit": Pass, "cuda.match": Warn}},
		{name: "cuDNN of another CUDA", archive: withGPU + "-- usr/local/cuda-13.0/version.json --\n{\"cuda\":{\"version\":\"13.0.1\"}}\n" +
			"-- var/lib/dpkg/status --\nPackage: libcudnn9-cuda-12\nStatus: install ok installed\nVersion: 9.1.1.17-1\n", inv: card(t), ready: true,
			want: map[string]Verdict{"cuda.match": Pass, "cudnn.version": Pass, "cudnn.match": Warn}},
		{name: "torch for the CPU", archive: "env VIRTUAL_ENV=/venv\n" + withGPU + "-- venv/pyvenv.cfg --\n-- venv/lib/python3.11/site-packages/torch-2.15.0+cpu.dist-info/METADATA --\n", inv: card(t), ready: true,
			want: map[string]Verdict{"cuda.torch": Warn, "python.torch": Pass}},
		{name: "torch of a container's image", archive: "env PATH=/venv/bin:/usr/bin\n" + withGPU + "-- venv/pyvenv.cfg --\n-- venv/bin/python3 -> ../../usr/bin/python3 --\n-- venv/lib/python3.11/site-packages/torch-2.15.0+cpu.dist-info/METADATA --\n", inv: card(t), ready: true,
			want: map[string]Verdict{"cuda.torch": Warn, "python.torch": Pass, "disk.wheels": Pass}},
		{name: "torch of conda", archive: "env CONDA_PREFIX=/opt/conda\n" + withGPU + "-- opt/conda/conda-meta/history --\n-- opt/conda/lib/python3.11/site-packages/torch-2.15.0+cpu.dist-info/METADATA --\n", inv: card(t), ready: true,
			want: map[string]Verdict{"cuda.torch": Warn, "disk.wheels": Pass}},
		{name: "torch of an environment that is not active", archive: withGPU + "-- venv/pyvenv.cfg --\n-- venv/bin/python3 -> ../../usr/bin/python3 --\n-- venv/lib/python3.11/site-packages/torch-2.15.0+cpu.dist-info/METADATA --\n", inv: card(t), ready: true,
			want: map[string]Verdict{"cuda.torch": Skip}},
		{name: "torch too new for Pascal", archive: "env VIRTUAL_ENV=/venv\n" + withGPU + "-- venv/pyvenv.cfg --\n-- venv/lib/python3.11/site-packages/torch-2.15.0.dist-info/METADATA --\n" +
			"-- venv/lib/python3.11/site-packages/torch/version.py --\ncuda = '13.0'\n", inv: old, ready: true,
			want: map[string]Verdict{"cuda.torch": Warn}},
		{name: "old toolkit", archive: withGPU + "-- usr/local/cuda/version.txt --\nCUDA Version 9.2.148\n", inv: card(t), ready: true,
			want: map[string]Verdict{"cuda.toolkit": Warn, "cuda.match": Warn}},
		{name: "stubs", archive: "env LD_LIBRARY_PATH=/opt/stubs\n" + withGPU + "-- opt/stubs/libcuda.so --\n", inv: card(t), want: map[string]Verdict{"cuda.stubs": Fail}},
		{name: "small machine", archive: "memory 8 GiB free 1 GiB\ndisk / 100 GiB free 20 GiB\n" + debian,
			want: map[string]Verdict{"ram.total": Fail, "ram.available": Warn, "disk.free": Fail}},
		{name: "small machine, laptop", archive: "memory 8 GiB free 3 GiB\ndisk / 100 GiB free 25 GiB\n" + debian, ready: true,
			change: func(o *Options) { o.Profile = profile(t, "laptop-cpu") }, want: map[string]Verdict{"gpu.present": Skip, "ram.total": Pass}},
		{name: "workstation without GPU", archive: debian, change: func(o *Options) { o.Profile = profile(t, "workstation") },
			want: map[string]Verdict{"gpu.present": Fail}},
		{name: "container limit", archive: debian + "-- proc/self/cgroup --\n0::/\n-- sys/fs/cgroup/memory.max --\n1000000000\n",
			want: map[string]Verdict{"ram.total": Fail, "ram.available": Warn, "ram.cgroup": Warn}},
		{name: "spinning disk", archive: debian + "-- sys/devices/block/sda/queue/rotational --\n1\n", want: map[string]Verdict{"disk.type": Fail}},
		{name: "old Ubuntu", archive: debian + "-- etc/os-release --\nID=ubuntu\nVERSION_ID=\"18.04\"\n", want: map[string]Verdict{"os.release": Fail}},
		{name: "unknown Linux", archive: debian + "-- etc/os-release --\nID=void\nNAME=Void\nPRETTY_NAME=Void\n", ready: true, want: map[string]Verdict{"os.release": Warn}},
		{name: "no venv", archive: strings.Replace(debian, "-- usr/lib/python3.11/ensurepip/__init__.py --\n", "", 1), want: map[string]Verdict{"python.venv": Fail}},
		{name: "nothing is known", archive: "env HOME=\n", want: map[string]Verdict{
			"os.release": Skip, "os.kernel": Skip, "disk.free": Skip, "disk.type": Skip, "cpu.model": Skip, "gpu.present": Warn, "gpu.driver": Skip}},
		{name: "run needs little", archive: "memory 4 GiB free 2 GiB\ndisk / 20 GiB free 2 GiB\n" + debian, ready: true,
			change: func(o *Options) { o.Work = &Work{Work: fit.Work{Purpose: fit.Run, Model: "gpt2"}} },
			want:   map[string]Verdict{"ram.total": Pass, "disk.free": Pass, "python.version": Skip, "gpu.present": Skip}},
		{name: "a model that is here needs no room", archive: "disk / 20 GiB free 0.1 GiB\n" + debian +
			"-- home/alice/.cache/huggingface/hub/models--openai-community--gpt2/snapshots/607a/model.safetensors --\n", ready: true,
			change: func(o *Options) { o.Work = &Work{Work: fit.Work{Purpose: fit.Run, Model: "gpt2"}} },
			want:   map[string]Verdict{"disk.free": Pass, "disk.speed": Skip}},
		{name: "fine-tune on a GPU that is not there", archive: debian,
			change: func(o *Options) {
				o.Work = &Work{Work: fit.Work{Purpose: fit.Finetune, Model: "gpt2", Batch: 1, Device: fit.CUDA}, Required: true}
			},
			want: map[string]Verdict{"gpu.present": Fail}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(t, c.archive, c.inv)
			if c.change != nil {
				c.change(&o)
			}
			r := run(t, o)
			for id, want := range c.want {
				if f := finding(t, r, id); f.Verdict != want {
					t.Errorf("%s: got %s (%s; %s), want %s", id, f.Verdict, f.Found, f.Why, want)
				}
			}
			if r.Ready != c.ready {
				t.Errorf("ready: got %v, want %v", r.Ready, c.ready)
			}
			for _, f := range r.Checks {
				switch {
				case f.Why == "" || f.Title == "" || f.Group == "":
					t.Errorf("%s lacks words: %+v", f.ID, f)
				case f.Verdict == Fail && f.Remedy == nil:
					t.Errorf("%s failed without a remedy", f.ID)
				case f.Verdict == Pass && f.Found == "":
					t.Errorf("%s passed with nothing found", f.ID)
				case len(c.inv.GPUs) == 0 && f.ID == "gpu.present" && f.Verdict == Pass && !strings.Contains(c.archive, "0x10de"):
					t.Errorf("a GPU that is not there passed")
				}
			}
			var text bytes.Buffer
			if err := WriteText(&text, r, TextOptions{All: true}); err != nil || strings.Contains(text.String(), "alice") || strings.Contains(text.String(), "\x1b") {
				t.Errorf("%v\n%s", err, text.String())
			}
		})
	}
}

func profile(t *testing.T, name string) *Profile {
	t.Helper()
	p, err := BuiltinProfile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Without a GPU all that is about GPUs is skipped, whatever else is there.
func TestNoGPU(t *testing.T) {
	for _, name := range Profiles() {
		o := options(t, debian, nvidia.Inventory{})
		o.Profile = profile(t, name)
		for _, f := range run(t, o).Checks {
			group := groupOf(f.ID)
			if f.ID == "gpu.present" && f.Verdict == Pass || f.ID != "gpu.present" && slices.Contains([]string{"gpu", "cuda", "cudnn"}, group) && f.Verdict != Skip {
				t.Errorf("%s: %s is %s", name, f.ID, f.Verdict)
			}
		}
	}
}

func TestGolden(t *testing.T) {
	o := options(t, withGPU, card(t))
	o.Network, o.Skip = false, []string{"cuda.toolkit"}
	o.Work = nil
	r := run(t, o)
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := WriteText(&text, r, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{"report.json": append(data, '\n'), "report.txt": text.Bytes()} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs (go test -update writes it):\n%s", file, got)
		}
	}
	again, err := ReadReport(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if c := Compare(again, r); len(c) != 0 {
		t.Errorf("a report differs from itself: %+v", c)
	}
}

func FuzzParseProfile(f *testing.F) {
	f.Add([]byte("[gpu]\nmemory_gb = 8\nmissing = \"warn\"\n"))
	f.Add([]byte("[ram]\ntotal_gb = nan"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseProfile("p.toml", data)
		if err == nil && (p.GPU.Missing == Pass || !(p.RAM.TotalGB >= 0)) {
			t.Errorf("%q was taken: %+v", data, p)
		}
	})
}

func FuzzReadReport(f *testing.F) {
	f.Add([]byte(`{"schema":"gptctl.doctor/1","checks":[{"id":"a","verdict":"pass"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ReadReport(bytes.NewReader(data))
		if err != nil {
			return
		}
		if err := WriteChanges(&bytes.Buffer{}, Compare(r, r), TextOptions{}); err != nil {
			t.Error(err)
		}
		if err := WriteText(&bytes.Buffer{}, r, TextOptions{All: true}); err != nil {
			t.Error(err)
		}
	})
}

func TestCompare(t *testing.T) {
	before := run(t, options(t, debian, nvidia.Inventory{}))
	after := run(t, options(t, withGPU, card(t)))
	after.Checks = slices.DeleteFunc(after.Checks, func(f Finding) bool { return f.ID == "os.kernel" })
	changes := Compare(before, after)
	ids := map[string]bool{}
	for _, c := range changes {
		ids[c.ID] = true
		if c.ID == "os.kernel" && c.After != nil {
			t.Error("os.kernel is still there")
		}
	}
	if !ids["gpu.present"] || !ids["gpu.vram"] || !ids["os.kernel"] || ids["os.release"] {
		t.Errorf("changes: %v", ids)
	}
	var b bytes.Buffer
	if err := WriteChanges(&b, changes, TextOptions{}); err != nil || !strings.Contains(b.String(), "is  not asked") {
		t.Error(err, b.String())
	}
	for _, bad := range []string{"", "{", `{"schema":"gptctl.doctor/2"}`, `{"schema":"gptctl.doctor/1","checks":[{"id":"a","verdict":"green"}]}`} {
		if _, err := ReadReport(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestOnly(t *testing.T) {
	o := options(t, debian, nvidia.Inventory{})
	o.Only = []string{"ram.total", "disk"}
	for _, f := range run(t, o).Checks {
		if f.ID != "ram.total" && groupOf(f.ID) != "disk" {
			t.Errorf("%s was asked", f.ID)
		}
	}
	for _, change := range []func(*Options){
		func(o *Options) { o.Only = []string{"gpu.size"} },
		func(o *Options) { o.Skip = []string{"g"} },
	} {
		o := options(t, debian, nvidia.Inventory{})
		change(&o)
		var unknown *UnknownCheckError
		if _, err := Run(context.Background(), o); !errors.As(err, &unknown) {
			t.Errorf("got %v", err)
		}
	}
	o = options(t, debian, nvidia.Inventory{})
	o.Work = &Work{Work: fit.Work{Purpose: fit.Run, Model: "gpt5"}}
	if _, err := Run(context.Background(), o); err == nil {
		t.Error("an unknown model was taken")
	}
}

// A probe that hangs, even one that ignores its context, is a skip.
func TestHang(t *testing.T) {
	o := options(t, debian, nvidia.Inventory{})
	release := make(chan struct{})
	defer close(release)
	o.Instruments.WriteSpeed = func(context.Context, string) (float64, error) { <-release; return 0, errors.New("late") }
	o.Instruments.Limits = func(ctx context.Context) (kernel.Limits, error) { <-ctx.Done(); return kernel.Limits{}, ctx.Err() }
	r := run(t, o)
	for _, id := range []string{"disk.speed", "cpu.speed"} {
		if f := finding(t, r, id); f.Verdict != Skip {
			t.Errorf("%s: %+v", id, f)
		}
	}
}

func TestChecks(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		if seen[c.ID] || c.Title == "" || c.Why == "" || c.Group == "" || c.Probe == nil || !strings.Contains(c.ID, ".") {
			t.Errorf("%+v", c)
		}
		seen[c.ID] = true
	}
	for _, id := range strings.Fields("os.release ram.total ram.available disk.free disk.type python.version python.venv python.pip python.torch cuda.toolkit cudnn.version gpu.present gpu.vram gpu.driver") {
		if !seen[id] {
			t.Errorf("no check %s", id)
		}
	}
}

func TestAnonymous(t *testing.T) {
	e := &Env{Host: machinetest.Host(t, "env HOME=/root\nenv USER=bob\n")}
	for in, want := range map[string]string{
		"/root/.cache":             "~/.cache",
		"/rootfs and /root":        "/rootfs and ~",
		"/home/eve/x, /Users/eve":  "/home/USER/x, /Users/USER",
		"/data/bob/models; bobcat": "/data/USER/models; bobcat",
	} {
		if got := e.anonymous(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestWriteSpeed(t *testing.T) {
	dir := t.TempDir()
	if s, err := writeSpeed(context.Background(), dir); err != nil || s <= 0 {
		t.Error(s, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Error("it left a file behind")
	}
	if _, err := writeSpeed(context.Background(), filepath.Join(dir, "none")); err == nil {
		t.Error("wrote into a folder that is not there")
	}
}
