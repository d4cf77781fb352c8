package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/doctor/nvidia"
)

// bare is a machine of its own, not virtual, with two memory nodes.
const bare = withGPU + `
-- sys/devices/system/node/node1/cpulist --
2-3
-- proc/self/status --
Cpus_allowed_list:	0-1
`

const (
	switches = "-- sys/bus/pci/devices/0000:05:00.0/vendor --\n0x10de\n-- sys/bus/pci/devices/0000:05:00.0/class --\n0x068000\n-- sys/bus/pci/devices/0000:05:00.0/device --\n0x22a3\n"
	dkms     = "-- var/lib/dkms/nvidia/580.65.06/6.1.0-19-amd64/x86_64/module/nvidia.ko --\n-- var/lib/dkms/nvidia/580.65.06/build/make.log --\n"
	noModule = "-- proc/driver/nvidia/version --\n"
	toolkit  = "-- usr/bin/nvidia-ctk --\n-- dev/nvidia0 --\n"
	docker   = "-- .dockerenv --\n"
	compat   = "env LD_LIBRARY_PATH=/usr/local/cuda/compat\n" + withGPU
)

func TestHealth(t *testing.T) {
	gpu := func(change func(*nvidia.GPU)) func(*nvidia.Inventory) {
		return func(inv *nvidia.Inventory) { change(&inv.GPUs[0]) }
	}
	link := func(gen, width, load int) func(*nvidia.Inventory) {
		return gpu(func(d *nvidia.GPU) {
			d.PCIe = nvidia.PCIeLink{Generation: new(gen), MaxGeneration: new(4), Width: new(width), MaxWidth: new(16)}
			if load >= 0 {
				d.UtilizationGPU = new(load)
			}
		})
	}
	fabric := func(s nvidia.FabricState, bad bool) func(*nvidia.Inventory) {
		return gpu(func(d *nvidia.GPU) { d.Fabric = &nvidia.Fabric{State: s, Failed: bad} })
	}
	virtual := func(s string) func(*nvidia.Inventory) { return gpu(func(d *nvidia.GPU) { d.Virtualization = s }) }
	links := func(active ...int) func(*nvidia.Inventory) {
		return func(inv *nvidia.Inventory) {
			first := inv.GPUs[0]
			inv.GPUs = nil
			for i, n := range active {
				first.Index, first.NVLink = i, &nvidia.NVLink{Active: n, Inactive: 18 - n}
				inv.GPUs = append(inv.GPUs, first)
			}
		}
	}
	state := func(s nvidia.State) func(*nvidia.Inventory) {
		return func(inv *nvidia.Inventory) { inv.State, inv.GPUs, inv.Detail = s, nil, "Unknown Error" }
	}
	uuids := func(inv *nvidia.Inventory) {
		first := inv.GPUs[0]
		first.UUID = "GPU-aaaa1111-0"
		second := first
		second.Index, second.UUID = 1, "GPU-aaaa2222-0"
		inv.GPUs = []nvidia.GPU{first, second}
	}
	cuda := func(s nvidia.WorkState, detail string) func(*Options) {
		return func(o *Options) {
			o.Instruments.CUDA = func(context.Context) nvidia.WorkResult {
				return nvidia.WorkResult{State: s, Detail: detail, Devices: 1, CUDA: nvidia.Version{}}
			}
		}
	}
	traits := func(lock, link, err error) func(*Options) {
		return func(o *Options) {
			o.Instruments.FileTraits = func(context.Context, string) (FileTraits, error) { return FileTraits{lock, link}, err }
		}
	}
	with := func(name string) func(*Options) { return func(o *Options) { o.Profile = profile(t, name) } }
	quota := func(limit string) string {
		return "-- proc/self/mountinfo --\n22 1 8:2 / / rw - ext4 /dev/sda2 rw,usrquota\n-- $ quota -w -p --\nDisk quotas for user alice (uid 1000): \n" +
			"     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n      /dev/sda2  1000000  0  " + limit + "  0  10  0  0  0\n"
	}
	finetune := func(o *Options) { o.Work = &Work{Work: fit.Work{Purpose: fit.Finetune, Model: "gpt2"}} }
	mounts := "-- proc/self/mountinfo --\n22 1 8:2 / / rw - ext4 /dev/sda2 rw\n23 1 8:3 / /work rw - ext4 /dev/sda3 rw\n"

	for _, c := range []struct {
		id, name, archive string
		inv               func(*nvidia.Inventory)
		change            func(*Options)
		want              Verdict
		says              string
	}{
		{"gpu.pcie", "full", bare, link(4, 16, 0), nil, Pass, "generation 4 of 4, 16 of 16 lanes"},
		{"gpu.pcie", "idle", bare, link(1, 16, 3), nil, Skip, "idle"},
		{"gpu.pcie", "slow under load", bare, link(4, 8, 90), nil, Warn, "8 of 16 lanes, at 90 % load"},
		{"gpu.pcie", "load unknown", bare, link(1, 16, -1), nil, Skip, "not told"},
		{"gpu.pcie", "unknown", bare, nil, nil, Skip, "does not tell"},
		{"gpu.bar1", "free", bare, gpu(func(d *nvidia.GPU) { d.BAR1Total, d.BAR1Used = new(uint64(256<<20)), new(uint64(2<<20)) }), nil, Pass, "268 MB, 2 MB used"},
		{"gpu.bar1", "full", bare, gpu(func(d *nvidia.GPU) { d.BAR1Total, d.BAR1Used = new(uint64(256<<20)), new(uint64(250<<20)) }), nil, Warn, "262 MB used"},
		{"gpu.bar1", "unknown", bare, nil, nil, Skip, "does not tell"},
		{"gpu.power", "full", bare, gpu(func(d *nvidia.GPU) { d.PowerLimit, d.PowerDefault, d.PowerDraw = new(450.0), new(450.0), new(30.0) }), nil, Pass, "450 W of 450 W, 30 W drawn"},
		{"gpu.power", "capped", bare, gpu(func(d *nvidia.GPU) { d.PowerLimit, d.PowerDefault = new(250.0), new(450.0) }), nil, Warn, "250 W of 450 W"},
		{"gpu.power", "default unknown", bare, gpu(func(d *nvidia.GPU) { d.PowerLimit = new(250.0) }), nil, Pass, "250 W"},
		{"gpu.power", "unknown", bare, nil, nil, Skip, "does not tell"},
		{"gpu.virtualization", "none", bare, virtual("none"), nil, Pass, "none"},
		{"gpu.virtualization", "whole", bare, virtual("passthrough"), nil, Pass, "as a whole"},
		{"gpu.virtualization", "vGPU", bare, virtual("vgpu"), nil, Warn, "a virtual GPU"},
		{"gpu.virtualization", "host", bare, virtual("host-vgpu"), nil, Fail, "host-vgpu"},
		{"gpu.virtualization", "unknown", bare, nil, nil, Skip, "does not tell"},
		{"gpu.numa", "one", withGPU, nil, nil, Pass, "there is one"},
		{"gpu.numa", "near", bare, gpu(func(d *nvidia.GPU) { d.NUMANode = new(0) }), nil, Pass, "0"},
		{"gpu.numa", "far", bare, gpu(func(d *nvidia.GPU) { d.NUMANode = new(1) }), nil, Warn, "may not run there"},
		{"gpu.numa", "unknown", bare, nil, nil, Skip, "does not tell"},
		{"gpu.gsp", "same", bare, gpu(func(d *nvidia.GPU) { d.GSPFirmware = "580.65.06" }), nil, Pass, "580.65.06"},
		{"gpu.gsp", "other", bare, gpu(func(d *nvidia.GPU) { d.GSPFirmware = "570.1" }), nil, Warn, "570.1, driver 580.65.06"},
		{"gpu.gsp", "none", bare, nil, nil, Skip, "none runs"},
		{"gpu.nvlink", "alike", bare, links(18, 18), nil, Pass, "18 links up"},
		{"gpu.nvlink", "one down", bare, links(18, 17), nil, Warn, "GPU 1: 17 links up"},
		{"gpu.nvlink", "not connected", bare, links(0, 0), nil, Pass, "not connected"},
		{"gpu.nvlink", "unknown", bare, nil, nil, Skip, "does not tell"},
		{"gpu.fabric", "no switch", bare, nil, nil, Skip, "no NVSwitch"},
		{"gpu.fabric", "set up", bare, fabric(nvidia.FabricCompleted, false), nil, Pass, "set up"},
		{"gpu.fabric", "not started", bare, fabric(nvidia.FabricNotStarted, false), nil, Fail, "GPU 0: not started"},
		{"gpu.fabric", "in progress, run", bare, fabric(nvidia.FabricInProgress, false), func(o *Options) { o.Work = &Work{Work: fit.Work{Purpose: fit.Run, Model: "gpt2"}} }, Warn, "in progress"},
		{"gpu.fabric", "failed", bare, fabric(nvidia.FabricCompleted, true), nil, Fail, "with an error"},
		{"gpu.fabric", "A100, active", bare + switches + "-- $ systemctl is-active nvidia-fabricmanager --\nactive\n", nil, nil, Pass, "1 NVSwitches, the fabric manager runs"},
		{"gpu.fabric", "A100, inactive", bare + switches + "-- $ systemctl is-active nvidia-fabricmanager ! exit status 3 --\ninactive\n", nil, nil, Fail, "is inactive"},
		{"gpu.fabric", "A100, no systemd", bare + switches, nil, nil, Skip, "not told"},
		{"gpu.fabric", "A100, container", bare + switches + docker, nil, nil, Skip, "on the host"},
		{"gpu.xid", "none", bare + "-- $ dmesg --\n[1.0] usb\n", nil, nil, Pass, "none"},
		{"gpu.xid", "not permitted", bare + "-- $ dmesg ! Operation not permitted --\n-- $ journalctl -k -b -q -o cat --no-pager --\n", nil, nil, Skip, "not permitted"},
		{"gpu.xid", "no tools", bare, nil, nil, Skip, "not permitted"},
		{"gpu.xid", "a program's, from the journal", bare + "-- $ dmesg ! x --\n-- $ journalctl -k -b -q -o cat --no-pager --\nNVRM: Xid (PCI:0000:01:00): 31, pid=7\nNVRM: Xid (PCI:0000:01:00): 31, pid=8\n", nil, nil, Warn, "Xid 31 2 times on 0000:01:00"},
		{"gpu.xid", "off the bus", bare + "-- $ dmesg --\n[9.1] NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n", nil, nil, Fail, "Xid 79 (fell off the bus)"},
		{"gpu.dkms", "not used", bare, nil, nil, Skip, "DKMS does not"},
		{"gpu.dkms", "built", bare + dkms + "-- var/lib/dkms/nvidia/580.65.06/6.1.0-20-amd64/x86_64/module/nvidia.ko.xz --\n", nil, nil, Pass, "nvidia 580.65.06 is built for 6.1.0-20-amd64"},
		{"gpu.dkms", "not built, loaded from elsewhere", bare + dkms, nil, nil, Warn, "not built for 6.1.0-20-amd64"},
		{"gpu.dkms", "not built", bare + dkms + noModule, nil, nil, Fail, "not built"},
		{"gpu.dkms", "container", bare + dkms + docker, nil, nil, Skip, "no module"},
		{"gpu.charlinks", "no containers", bare, nil, nil, Skip, "Toolkit is not installed"},
		{"gpu.charlinks", "missing", bare + toolkit, nil, nil, Warn, "none for /dev/nvidia0, /dev/nvidiactl"},
		{"gpu.charlinks", "there", bare + toolkit + "-- dev/char/195:0 -> ../nvidia0 --\n-- dev/char/195:255 -> ../nvidiactl --\n", nil, nil, Pass, "1 GPUs"},
		{"gpu.charlinks", "container that lost it", bare + toolkit + docker, state(nvidia.StateFailed), nil, Fail, "Unknown Error"},
		{"gpu.charlinks", "container", bare + toolkit + docker, nil, nil, Skip, "the host's"},
		{"cuda.library", "works", bare, nil, nil, Pass, "shows 1, CUDA up to 13.0"},
		{"cuda.library", "works without NVML", bare, state(nvidia.StateFailed), cuda(nvidia.WorkOK, ""), Pass, "CUDA does"},
		{"cuda.library", "none", bare, nil, cuda(nvidia.WorkNoLibrary, ""), Fail, "not found"},
		{"cuda.library", "stub", bare, nil, cuda(nvidia.WorkStub, ""), Fail, "stub"},
		{"cuda.library", "hides", bare, nil, cuda(nvidia.WorkNoDevice, ""), Fail, "no GPU"},
		{"cuda.library", "fabric", bare, nil, cuda(nvidia.WorkFailed, "cuInit: CUDA error 802"), Fail, "802"},
		{"cuda.library", "run without it", bare, nil, func(o *Options) {
			cuda(nvidia.WorkFailed, "x")(o)
			o.Work = &Work{Work: fit.Work{Purpose: fit.Run, Model: "gpt2"}}
		}, Warn, "x"},
		{"cuda.library", "cannot be opened", bare, nil, cuda(nvidia.WorkUnsupported, ""), Skip, "unsupported"},
		{"cuda.library", "hangs", bare, nil, cuda(nvidia.WorkTimeout, "gave no answer"), Skip, "no answer"},
		{"cuda.compat", "none", bare, nil, nil, Pass, "none"},
		{"cuda.compat", "older than the module", compat + "-- usr/local/cuda/compat/libcuda.so.550.54.15 --\n", nil, nil, Fail, "libcuda 550.54.15"},
		{"cuda.compat", "newer, GeForce", compat + "-- usr/local/cuda/compat/libcuda.so.590.10 --\n", nil, nil, Fail, "GeForce"},
		{"cuda.compat", "newer, data centre", compat + "-- usr/local/cuda/compat/libcuda.so.590.10 --\n", gpu(func(d *nvidia.GPU) { d.Name = "NVIDIA H100" }), nil, Pass, "590.10"},
		{"cuda.compat", "by ld.so.conf", withGPU + "-- etc/ld.so.conf.d/000.conf --\n/opt/compat\n-- opt/compat/libcuda.so.580.82.07 --\n", nil, nil, Pass, "branch"},
		{"cuda.compat", "module unknown", compat + noModule + "-- usr/local/cuda/compat/libcuda.so.590.10 --\n", nil, nil, Skip, "not to be seen"},

		{"gpu.visible", "empty", "env CUDA_VISIBLE_DEVICES=\n" + bare, nil, nil, Fail, "hides all"},
		{"gpu.visible", "empty, run", "env CUDA_VISIBLE_DEVICES=\n" + bare, nil, func(o *Options) { o.Work = &Work{Work: fit.Work{Purpose: fit.Run, Model: "gpt2"}} }, Warn, "hides all"},
		{"gpu.visible", "unset", bare, nil, nil, Pass, "not set"},
		{"gpu.visible", "all", "env CUDA_VISIBLE_DEVICES=1,0\n" + bare, uuids, nil, Pass, "GPU 1, 0 of 2"},
		{"gpu.visible", "minus one", "env CUDA_VISIBLE_DEVICES=-1\n" + bare, uuids, nil, Fail, "hides all"},
		{"gpu.visible", "ended", "env CUDA_VISIBLE_DEVICES=0,-1,1\n" + bare, uuids, nil, Pass, "GPU 0 of 2"},
		{"gpu.visible", "beyond", "env CUDA_VISIBLE_DEVICES=0,2\n" + bare, uuids, nil, Warn, "no GPU 2, of 2"},
		{"gpu.visible", "all beyond", "env CUDA_VISIBLE_DEVICES=7\n" + bare, uuids, nil, Fail, "no GPU 7"},
		{"gpu.visible", "twice", "env CUDA_VISIBLE_DEVICES=1,1\n" + bare, uuids, nil, Fail, "GPU 1 twice"},
		{"gpu.visible", "UUID", "env CUDA_VISIBLE_DEVICES=GPU-aaaa2\n" + bare, uuids, nil, Pass, "GPU 1 of 2"},
		{"gpu.visible", "UUID of none", "env CUDA_VISIBLE_DEVICES=GPU-bbbb\n" + bare, uuids, nil, Fail, "no GPU here has that UUID"},
		{"gpu.visible", "UUID of two", "env CUDA_VISIBLE_DEVICES=GPU-aaaa\n" + bare, uuids, nil, Fail, "more than one"},
		{"gpu.visible", "same by UUID", "env CUDA_VISIBLE_DEVICES=0,GPU-aaaa1\n" + bare, uuids, nil, Fail, "GPU 0 twice"},
		{"gpu.visible", "UUIDs unknown", "env CUDA_VISIBLE_DEVICES=GPU-aaaa1\n" + bare, nil, nil, Skip, "UUID"},
		{"gpu.visible", "slice", "env CUDA_VISIBLE_DEVICES=MIG-1234\n" + bare, uuids, nil, Skip, "slice"},
		{"gpu.visible", "words", "env CUDA_VISIBLE_DEVICES=all\n" + bare, uuids, nil, Fail, "is no GPU"},

		{"ram.overcommit", "judged", debian + "-- proc/sys/vm/overcommit_memory --\n0\n", nil, nil, Pass, "reason"},
		{"ram.overcommit", "strict", debian + "-- proc/sys/vm/overcommit_memory --\n2\n-- proc/meminfo --\nCommitLimit:     8000000 kB\nCommitted_AS:    3000000 kB\n", nil, nil, Warn, "5.1 GB left"},
		{"ram.overcommit", "unknown", debian, nil, nil, Skip, "does not tell"},
		{"ram.hugepages", "asked", debian + "-- sys/kernel/mm/transparent_hugepage/enabled --\nalways [madvise] never\n", nil, nil, Pass, "ask"},
		{"ram.hugepages", "never", debian + "-- sys/kernel/mm/transparent_hugepage/enabled --\nalways madvise [never]\n", nil, nil, Skip, "never"},
		{"ram.hugepages", "never, workstation", debian + "-- sys/kernel/mm/transparent_hugepage/enabled --\nalways madvise [never]\n", nil, with("workstation"), Warn, "never"},
		{"ram.hugepages", "unknown", debian, nil, nil, Skip, "does not tell"},
		{"cpu.virtual", "unknown", debian, nil, nil, Skip, "does not tell"},
		{"cpu.virtual", "no", debian + "-- proc/cpuinfo --\nprocessor : 0\nflags : fpu avx2\n", nil, nil, Pass, "its own"},
		{"cpu.virtual", "flag", debian + "-- proc/cpuinfo --\nprocessor : 0\nflags : fpu hypervisor\n", nil, nil, Pass, "a hypervisor"},
		{"cpu.virtual", "name", debian + "-- sys/class/dmi/id/sys_vendor --\nQEMU\n", nil, nil, Pass, "under QEMU"},
		{"cpu.governor", "unknown", debian, nil, nil, Skip, "does not tell"},
		{"cpu.governor", "saves", debian + "-- sys/devices/system/cpu/cpu0/cpufreq/scaling_governor --\npowersave\n-- sys/devices/system/cpu/cpu0/cpufreq/scaling_driver --\nacpi-cpufreq\n", nil, nil, Warn, "powersave"},
		{"cpu.governor", "saves, laptop", debian + "-- sys/devices/system/cpu/cpu0/cpufreq/scaling_governor --\npowersave\n", nil, with("laptop-cpu"), Skip, "powersave"},
		{"cpu.governor", "intel", debian + "-- sys/devices/system/cpu/cpu0/cpufreq/scaling_governor --\npowersave\n-- sys/devices/system/cpu/cpu0/cpufreq/scaling_driver --\nintel_pstate\n", nil, nil, Pass, "powersave"},

		{"disk.wheels", "room", debian, nil, nil, Pass, "free for"},
		{"disk.wheels", "a small mount of its own", "env VIRTUAL_ENV=/venv\ndisk /venv 10 GiB free 3 GiB\n" + debian + "-- venv/x --\n", nil, nil, Warn, "3.2 GB free for /venv"},
		{"disk.wheels", "read-only", "env VIRTUAL_ENV=/venv\n" + debian + "-- venv/x --\n-- proc/self/mountinfo --\n22 1 8:2 / / rw - ext4 /dev/sda2 rw\n23 1 8:3 / /venv ro - ext4 /dev/sda3 ro\n", nil, nil, Warn, "read-only"},
		{"disk.wheels", "there already", "env VIRTUAL_ENV=/venv\ndisk /venv 10 GiB free 3 GiB\n" + debian + "-- venv/pyvenv.cfg --\n-- venv/lib/python3.11/site-packages/torch-2.15.0+cpu.dist-info/METADATA --\n", nil, nil, Pass, "torch 2.15.0"},
		{"disk.wheels", "no home", "env HOME=\n", nil, nil, Skip, "HOME"},
		{"disk.checkpoints", "none made", debian, nil, nil, Skip, "only fine-tuning"},
		{"disk.checkpoints", "same disk", "env PWD=/work\n" + debian + "-- work/x --\n", nil, finetune, Skip, "disk.free"},
		{"disk.checkpoints", "own disk", "env PWD=/work\n" + debian + "-- work/x --\n" + mounts, nil, finetune, Pass, "free for /work"},
		{"disk.checkpoints", "own disk, full", "env PWD=/work\ndisk /work 10 GiB free 3 GiB\n" + debian + "-- work/x --\n" + mounts, nil, finetune, Fail, "3.2 GB free"},
		{"disk.quota", "none", debian, nil, nil, Pass, "none on /"},
		{"disk.quota", "enough", debian + quota("200000000"), nil, nil, Pass, "204 GB left of 205 GB"},
		{"disk.quota", "too little", debian + quota("2000000"), nil, nil, Fail, "1.0 GB left"},
		{"disk.quota", "no limit", debian + quota("0"), nil, nil, Pass, "none for this user"},
		{"disk.quota", "not told", debian + "-- proc/self/mountinfo --\n22 1 0:5 / / rw - nfs4 server:/export rw\n", nil, nil, Skip, "not installed"},
		{"disk.locks", "work", debian, nil, nil, Pass, "works"},
		{"disk.locks", "fail", debian, nil, traits(syscall.ENOLCK, nil, nil), Warn, "flock fails"},
		{"disk.locks", "not writable", debian, nil, traits(nil, nil, fs.ErrPermission), Skip, "disk.speed"},
		{"disk.locks", "lustre", debian + "-- proc/self/mountinfo --\n22 1 0:5 / / rw - lustre a@tcp:/fs rw,localflock\n", nil, nil, Warn, "this machine only"},
		{"disk.links", "work", debian, nil, nil, Pass, "work"},
		{"disk.links", "fail", debian, nil, traits(nil, syscall.EPERM, nil), Warn, "fail"},
		{"disk.links", "unknown", debian, nil, traits(nil, nil, errors.New("odd")), Skip, "odd"},

		{"python.conda", "none", debian, nil, nil, Pass, "not active"},
		{"python.conda", "active", "env CONDA_PREFIX=/opt/conda\nenv CONDA_DEFAULT_ENV=base\n" + debian, nil, nil, Warn, "active (base)"},
		{"python.conda", "both", "env CONDA_PREFIX=/opt/conda\nenv VIRTUAL_ENV=/venv\n" + debian, nil, nil, Warn, "too"},
		{"python.glibc", "new", debian + "-- $ getconf GNU_LIBC_VERSION --\nglibc 2.36\n", nil, nil, Pass, "2.36"},
		{"python.glibc", "old", debian + "-- $ getconf GNU_LIBC_VERSION --\nglibc 2.27\n", nil, nil, Fail, "2.27"},
		{"python.glibc", "old, laptop", debian + "-- usr/lib/x86_64-linux-gnu/libc-2.27.so --\n", nil, with("laptop-cpu"), Warn, "2.27"},
		{"python.glibc", "musl", debian + "-- lib/ld-musl-x86_64.so.1 --\n", nil, nil, Fail, "musl"},
		{"python.glibc", "unknown", debian, nil, nil, Skip, "not to be seen"},
	} {
		t.Run(c.id+"/"+c.name, func(t *testing.T) {
			inv := nvidia.Inventory{}
			if strings.Contains(c.archive, "0x2684") {
				inv = card(t)
			}
			if c.inv != nil {
				c.inv(&inv)
			}
			o := options(t, c.archive, inv)
			o.Only = []string{c.id}
			if c.change != nil {
				c.change(&o)
			}
			f := finding(t, run(t, o), c.id)
			if f.Verdict != c.want || !strings.Contains(f.Found+" "+f.Why, c.says) {
				t.Errorf("got %s %q (%s), want %s with %q", f.Verdict, f.Found, f.Why, c.want, c.says)
			}
			if (f.Verdict == Warn || f.Verdict == Fail) && (f.Remedy == nil || f.Needed == "") {
				t.Errorf("nothing mends it: %+v", f)
			}
		})
	}
}

func TestFileTraits(t *testing.T) {
	dir := t.TempDir()
	got, err := tryFileTraits(t.Context(), dir)
	if err != nil || got.Link != nil && !errors.Is(got.Link, fs.ErrPermission) {
		t.Errorf("got %+v, %v", got, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Error("it left something behind")
	}
	if _, err := tryFileTraits(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
