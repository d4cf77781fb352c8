package machine_test

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/machine"
	"github.com/gptctl/gptctl/internal/machine/machinetest"
)

// An Ubuntu with a loaded open driver, toolkits, cuDNN and repositories that
// are at odds.
const ubuntu = `
env LD_LIBRARY_PATH=/usr/local/cuda/lib64/stubs:/opt/x
-- etc/os-release -> ../usr/lib/os-release --
-- usr/lib/os-release --
PRETTY_NAME="Ubuntu 22.04.4 LTS"
ID=ubuntu
ID_LIKE=debian
VERSION_ID="22.04"
VERSION_CODENAME=jammy
-- proc/sys/kernel/osrelease --
5.15.0-105-generic
-- lib/modules/5.15.0-105-generic/build/Makefile --
-- proc/modules --
nvidia_uvm 1540096 2 - Live 0x0000000000000000 (POE)
nvidia 56711168 70 nvidia_uvm, Live 0x0000000000000000 (POE)
nouveau 1 0 - Unloading 0x0000000000000000
-- proc/driver/nvidia/version --
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build  (dvs-builder@U16-I1)  Thu Feb 22 01:26:31 UTC 2024
GCC version:  gcc version 11.4.0
-- usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.54.15 --
-- sys/bus/pci/devices/0000:01:00.0/vendor --
0x10de
-- sys/bus/pci/devices/0000:01:00.0/device --
0x2684
-- sys/bus/pci/devices/0000:01:00.0/class --
0x030000
-- sys/bus/pci/devices/0000:01:00.0/driver -> ../../../../bus/pci/drivers/nvidia --
-- sys/bus/pci/devices/0000:01:00.1/vendor --
0x10de
-- sys/bus/pci/devices/0000:01:00.1/device --
0x22ba
-- sys/bus/pci/devices/0000:01:00.1/class --
0x040300
-- sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c bytes --
\x06\x00\x00\x00\x01
-- usr/bin/apt-get --
-- var/lib/dpkg/status --
Package: libcudnn9-cuda-12
Status: install ok installed
Architecture: amd64
Version: 9.1.1.17-1

Package: nvidia-driver-550
Status: hold ok installed
Architecture: amd64
Version: 550.54.14-0ubuntu1

Package: libc6
Status: install ok installed
Architecture: i386
Version: 2.35
Description: text
 Package: not this

Package: gone
Status: deinstall ok config-files
Version: 1
-- etc/apt/sources.list --
# deb http://old/ x main
deb [arch=amd64 signed-by=/usr/share/keyrings/u.gpg] http://archive.ubuntu.com/ubuntu jammy main universe
-- etc/apt/sources.list.d/cuda-ubuntu2204-x86_64.list --
deb [signed-by=/usr/share/keyrings/cuda-archive-keyring.gpg] https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2204/x86_64/ /
-- etc/apt/sources.list.d/archive_uri.list --
deb https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2204/x86_64/ /
deb https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2004/x86_64/ /
-- etc/apt/sources.list.d/ppa.sources --
Types: deb
URIs: https://ppa.launchpadcontent.net/graphics-drivers/ppa/ubuntu/
Suites: jammy
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
-- etc/apt/sources.list.d/off.sources --
Types: deb
Enabled: no
URIs: https://off.example/
Suites: jammy
-- usr/local/cuda -> cuda-12.4 --
-- usr/local/cuda-12.4/version.json --
{"cuda":{"name":"CUDA SDK","version":"12.4.1"}}
-- usr/local/cuda-12.4/bin/nvcc --
-- usr/local/cuda-12.4/lib64/stubs/libcuda.so --
-- usr/local/cuda-11.8/include/cuda.h --
#define CUDA_VERSION 11080
-- usr/include/cudnn_version.h --
#define CUDNN_MAJOR 9
#define CUDNN_MINOR 1
#define CUDNN_PATCHLEVEL 1
-- usr/bin/python3 -> python3.10 --
-- usr/bin/python3.10 --
-- usr/bin/python3.12 --
-- usr/lib/python3.10/os.py --
-- usr/lib/python3.10/venv/__init__.py --
-- usr/lib/python3.12/os.py --
-- usr/lib/python3.12/venv/__init__.py --
-- usr/lib/python3.12/ensurepip/__init__.py --
-- usr/lib/python3.12/EXTERNALLY-MANAGED --
-- usr/lib/python3/dist-packages/pip/__init__.py --
-- $ python3 --version --
Python 3.10.12
-- $ python3.10 --version --
Python 3.10.12
-- venv/pyvenv.cfg --
-- venv/lib/python3.12/site-packages/torch-2.15.0+cu130.dist-info/METADATA --
-- venv/lib/python3.12/site-packages/torch/version.py --
__version__ = '2.15.0+cu130'
cuda: Optional[str] = '13.0'
-- venv/lib/python3.12/site-packages/nvidia_cudnn_cu13-9.17.0.29.dist-info/METADATA --
`

func TestUbuntu(t *testing.T) {
	h := machinetest.Host(t, ubuntu)
	ctx := context.Background()
	check := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
		}
	}
	o, err := h.OSRelease()
	check("os-release", o, machine.OS{ID: "ubuntu", IDLike: []string{"debian"}, VersionID: "22.04", Codename: "jammy", Name: "Ubuntu 22.04.4 LTS"})
	check("error", err, nil)
	check("headers", h.KernelHeaders(), true)
	modules, _ := h.Modules()
	check("modules", modules, map[string]bool{"nvidia": true, "nvidia_uvm": true})
	check("driver", h.Driver(), machine.Driver{Version: "550.54.14", Open: true, Library: "550.54.15"})
	devices, err := h.NVIDIADevices()
	check("devices", devices, []machine.Device{{Slot: "0000:01:00.0", ID: 0x2684, Class: 0x030000, Driver: "nvidia"}})
	check("error", err, nil)
	check("generation", devices[0].Generation(), "ada")
	check("open modules", devices[0].OpenModules(), true)
	check("secure boot", h.SecureBoot(), machine.SecureBootOn)
	check("package manager", h.PackageManager(), "apt")
	packages, err := h.Packages(ctx)
	check("error", err, nil)
	check("packages", packages, map[string]machine.Package{
		"libcudnn9-cuda-12": {Name: "libcudnn9-cuda-12", Version: "9.1.1.17-1", Arch: "amd64", Installed: true},
		"nvidia-driver-550": {Name: "nvidia-driver-550", Version: "550.54.14-0ubuntu1", Arch: "amd64", Installed: true, Held: true},
		"libc6:i386":        {Name: "libc6", Version: "2.35", Arch: "i386", Installed: true},
		"gone":              {Name: "gone", Version: "1"},
	})
	repos := h.Repositories()
	check("repositories", len(repos), 5)
	var why []string
	for _, c := range machine.NVIDIAConflicts(repos, "ubuntu2204") {
		why = append(why, c.Why)
	}
	if len(why) != 3 || !strings.Contains(why[0], "ubuntu2004") || !strings.Contains(why[1], "listed twice") || !strings.Contains(why[2], "more than one supplier: nvidia, graphics-drivers") {
		t.Errorf("conflicts: %q", why)
	}
	check("toolkits", h.Toolkits(), []machine.Toolkit{
		{Dir: "/usr/local/cuda-12.4", Version: "12.4.1", NVCC: "/usr/local/cuda-12.4/bin/nvcc"},
		{Dir: "/usr/local/cuda-11.8", Version: "11.8"},
	})
	check("stubs", h.StubsOnLibraryPath(), []string{"/usr/local/cuda/lib64/stubs"})
	env, _ := h.Environment("/venv")
	check("environment", env, machine.Environment{Dir: "/venv", SitePackages: "/venv/lib/python3.12/site-packages"})
	torch, _ := h.Torch(env.SitePackages)
	check("torch", torch, machine.Torch{Version: "2.15.0+cu130", CUDA: "13.0"})
	check("cuDNN", h.CuDNNs(packages, env.SitePackages), []machine.CuDNN{
		{Version: "9.1.1", Path: "libcudnn9-cuda-12", CUDA: "12"},
		{Version: "9.17.0", Path: "/venv/lib/python3.12/site-packages/nvidia_cudnn_cu13-9.17.0.29.dist-info", CUDA: "13"},
	})
	check("pythons", h.Pythons(ctx), []machine.Python{
		{Path: "/usr/bin/python3", Version: "3.10.12", Pip: true},
		{Path: "/usr/bin/python3.12", Version: "3.12", Venv: true, Pip: true, ExternallyManaged: true},
	})
}

func TestNothing(t *testing.T) {
	h := machinetest.Host(t, "")
	ctx := context.Background()
	if o, err := h.OSRelease(); err != nil || o.ID != "" {
		t.Error(o, err)
	}
	if p, err := h.Packages(ctx); err != nil || len(p) != 0 {
		t.Error(p, err)
	}
	if d, err := h.NVIDIADevices(); err == nil {
		t.Error("a bus that cannot be seen is no answer, got", d)
	}
	if m, err := h.Mounts(); err != nil || m != nil {
		t.Error(m, err)
	}
	if m, err := h.Modules(); err != nil || m != nil {
		t.Error(m, err)
	}
	if got := h.SecureBoot(); got != machine.SecureBootUnknown {
		t.Error(got)
	}
	if len(h.Pythons(ctx)) != 0 || len(h.Toolkits()) != 0 || len(h.CuDNNs(nil)) != 0 || h.Driver() != (machine.Driver{}) ||
		h.WSL() != 0 || h.Container() != "" || h.Cgroup() != (machine.Cgroup{}) || h.PackageManager() != "" || h.NUMANodes() != 0 {
		t.Error("found something on an empty machine")
	}
	if _, err := h.Run(ctx, "nvidia-smi"); !machine.MissingCommand(err) {
		t.Error(err)
	}
}

func TestContainerAndWSL(t *testing.T) {
	for _, c := range []struct {
		name, archive, container string
		wsl                      int
	}{
		{"docker", "-- .dockerenv --\n", "docker", 0},
		{"podman", "-- run/.containerenv --\n", "podman", 0},
		{"kubernetes", "env KUBERNETES_SERVICE_HOST=10.0.0.1\n-- .dockerenv --\n", "kubernetes", 0},
		{"lxc", "-- run/systemd/container --\nlxc\n", "lxc", 0},
		{"cgroup", "-- proc/1/cgroup --\n12:memory:/docker/0123\n", "docker", 0},
		{"nspawn", "env container=systemd-nspawn\n", "systemd-nspawn", 0},
		{"wsl2", "-- proc/sys/kernel/osrelease --\n5.15.153.1-microsoft-standard-WSL2\n", "", 2},
		{"wsl1", "-- proc/sys/kernel/osrelease --\n4.4.0-19041-Microsoft\n", "", 1},
	} {
		h := machinetest.Host(t, c.archive)
		if got := h.Container(); got != c.container {
			t.Errorf("%s: container %q, want %q", c.name, got, c.container)
		}
		if got := h.WSL(); got != c.wsl {
			t.Errorf("%s: WSL %d, want %d", c.name, got, c.wsl)
		}
	}
}

func TestCgroup(t *testing.T) {
	for _, c := range []struct {
		name, archive string
		want          machine.Cgroup
	}{
		{"v2, limit above", `
-- proc/self/cgroup --
0::/a/b
-- sys/fs/cgroup/a/b/memory.max --
max
-- sys/fs/cgroup/a/memory.max --
4000000000
-- sys/fs/cgroup/a/memory.current --
3000000000
-- sys/fs/cgroup/a/memory.stat --
anon 1
inactive_file 700000000
active_file 300000000
-- sys/fs/cgroup/a/b/cpu.max --
150000 100000
-- sys/fs/cgroup/a/cpu.max --
max 100000
`, machine.Cgroup{Version: 2, MemoryLimit: 4e9, MemoryUsed: 2e9, CPUs: 1.5}},
		{"v1 in docker", `
-- proc/self/cgroup --
5:cpu,cpuacct:/docker/x
4:memory:/docker/x
-- sys/fs/cgroup/memory/memory.limit_in_bytes --
2000000000
-- sys/fs/cgroup/memory/memory.usage_in_bytes --
700000000
-- sys/fs/cgroup/memory/memory.stat --
inactive_file 1
active_file 2
total_inactive_anon 3
total_inactive_file 50000000
total_active_file 150000000
-- sys/fs/cgroup/cpu/cpu.cfs_quota_us --
50000
-- sys/fs/cgroup/cpu/cpu.cfs_period_us --
100000
`, machine.Cgroup{Version: 1, MemoryLimit: 2e9, MemoryUsed: 5e8, CPUs: 0.5}},
		{"v1 without limits", `
-- proc/self/cgroup --
4:memory:/
3:cpu:/
-- sys/fs/cgroup/memory/memory.limit_in_bytes --
9223372036854771712
-- sys/fs/cgroup/cpu/cpu.cfs_quota_us --
-1
-- sys/fs/cgroup/cpu/cpu.cfs_period_us --
100000
`, machine.Cgroup{Version: 1}},
	} {
		if got := machinetest.Host(t, c.archive).Cgroup(); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestDisks(t *testing.T) {
	h := machinetest.Host(t, `
-- proc/self/mountinfo --
22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
23 22 0:40 / /home\040of/x rw - btrfs /dev/nvme0n1p1 rw
24 22 0:41 / /net ro - nfs4 server:/x rw
25 22 254:0 / /vm rw - xfs /dev/vda rw
26 22 0:42 / /net rw - tmpfs tmpfs ro
nonsense
-- sys/dev/block/8:2 -> ../../devices/pci0/block/sda/sda2 --
-- sys/devices/pci0/block/sda/sda2/partition --
2
-- sys/devices/pci0/block/sda/queue/rotational --
1
-- sys/class/block/nvme0n1p1 -> ../../devices/pci1/nvme0n1/nvme0n1p1 --
-- sys/devices/pci1/nvme0n1/queue/rotational --
0
-- sys/dev/block/254:0 -> ../../devices/virtio3/block/vda --
-- sys/devices/virtio3/block/vda/queue/rotational --
1
`)
	mounts, err := h.Mounts()
	if err != nil || len(mounts) != 5 {
		t.Fatal(mounts, err)
	}
	for _, c := range []struct {
		path, target string
		disk         machine.Disk
		known        bool
	}{
		{"/var/lib", "/", machine.Disk{Name: "sda", Rotational: true}, true},
		{"/home of/x/y", "/home of/x", machine.Disk{Name: "nvme0n1"}, true},
		{"/home of/xy", "/", machine.Disk{Name: "sda", Rotational: true}, true},
		{"/vm", "/vm", machine.Disk{Name: "vda", Rotational: true, Virtual: true}, true},
		{"/net/a", "/net", machine.Disk{}, false},
	} {
		m, ok := machine.MountOf(mounts, c.path)
		d, err := h.DiskOf(m)
		if !ok || m.Target != c.target || d != c.disk || (err == nil) != c.known {
			t.Errorf("%s: %+v %+v %v", c.path, m, d, err)
		}
	}
	if m, _ := machine.MountOf(mounts, "/net"); m.Type != "tmpfs" || !m.ReadOnly {
		t.Errorf("the last mount hides the others: %+v", m)
	}
}

func TestRPM(t *testing.T) {
	h := machinetest.Host(t, `
-- usr/bin/rpm --
-- usr/bin/dnf --
-- $ rpm -qa --queryformat %{NAME}\t%{VERSION}-%{RELEASE}\t%{ARCH}\n --
bash	5.1-9	x86_64
nvidia-driver	580.65.06-1	x86_64
broken line
-- etc/dnf/plugins/versionlock.list --
# held
nvidia-driver-3:580.65.06-1.el9.*
-- etc/yum.repos.d/cuda-rhel9.repo --
[cuda-rhel9-x86_64]
name=cuda
baseurl=https://developer.download.nvidia.com/compute/cuda/repos/rhel9/x86_64
enabled=1
[off]
baseurl=https://off.example/
enabled=0
-- etc/yum.repos.d/rpmfusion-nonfree.repo --
[rpmfusion-nonfree-updates]
metalink=https://mirrors.rpmfusion.org/metalink?repo=nonfree
`)
	p, err := h.Packages(context.Background())
	if err != nil || len(p) != 2 || !p["nvidia-driver"].Held || p["bash"].Held {
		t.Error(p, err)
	}
	repos := h.Repositories()
	if len(repos) != 2 || repos[0].CUDADistro() != "rhel9" || repos[1].NVIDIA() != "rpmfusion" {
		t.Errorf("%+v", repos)
	}
	if h.PackageManager() != "dnf" {
		t.Error(h.PackageManager())
	}
}

func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"3.9", "3.11", -1}, {"12", "12.0", 0}, {"20.04", "20.10", -1}, {"525.60.13", "525.147.05", -1},
		{"3.13.0rc1", "3.13", 0}, {"", "1", -1}, {"99999999999999999999999", "1", 1}, {"9.x", "9", 0},
	} {
		if got := machine.CompareVersions(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: got %d, want %d", c.a, c.b, got, c.want)
		}
		if got := machine.CompareVersions(c.b, c.a); got != -c.want {
			t.Errorf("%q, %q: got %d, want %d", c.b, c.a, got, -c.want)
		}
	}
}

func TestGenerations(t *testing.T) {
	for id, want := range map[uint16]string{
		0x1234: "kepler", 0x1380: "maxwell", 0x15f8: "pascal", 0x17c8: "maxwell", 0x1b80: "pascal", 0x1db4: "volta",
		0x1e07: "turing", 0x20b0: "ampere", 0x2184: "turing", 0x2204: "ampere", 0x2330: "hopper", 0x2484: "ampere",
		0x2684: "ada", 0x26b9: "ada", 0x2901: "blackwell", 0x2b85: "blackwell",
	} {
		if got := (machine.Device{ID: id}).Generation(); got != want {
			t.Errorf("%04x: got %q, want %q", id, got, want)
		}
	}
}

func TestLocal(t *testing.T) {
	h := machine.Local()
	if m, err := h.Memory(context.Background()); err != nil || m.Total == 0 {
		t.Error(m, err)
	}
	if u, err := h.Usage(t.TempDir()); err != nil || u.TotalBytes == 0 {
		t.Error(u, err)
	}
	if _, err := h.Run(context.Background(), "gptctl-no-such-command"); !machine.MissingCommand(err) {
		t.Error(err)
	}
}
