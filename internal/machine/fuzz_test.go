package machine

import (
	"strings"
	"testing"
)

// The parsers of outside text must neither fail badly nor give what is not
// there, whatever they read.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"ID=debian\nVERSION_ID=\"12\"\nNAME='a\\b'",
		"Package: a\nStatus: hold ok installed\nArchitecture: i386\n\n",
		"a\t1-2\tx86_64\n",
		"deb [signed-by=/k.gpg] https://x/ / main\ndeb [broken",
		"Types: deb\nURIs: https://a/ https://b/\nSuites: x y\n",
		"[a]\nbaseurl=https://x/\nenabled=1\n",
		"22 1 8:2 / /a\\040b rw shared:1 - ext4 /dev/sda2 rw\n",
		"0::/a\n4:memory:/\n",
		"Max open files            1024                 524288               files     \n",
		"processor : 0\nmodel name : x\nflags : b a\n",
		"nvidia 1 2 - Live 0x0\n",
		"NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun",
		`{"cuda":{"version":"12.4.1"}}`,
		"#define CUDNN_MAJOR 9\n#define CUDNN_MINOR 1\n#define CUDNN_PATCHLEVEL 1\n",
		"Python 3.13.0rc1",
		"[1.0] NVRM: Xid (PCI:0000:01:00): 79, pid=7, name=x\n",
		"Disk quotas for user a (uid 1000): \n /dev/sda1 12* 10 20 0 1 0 0 0\n",
		"0-3,8,70000-80000",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if o := ParseOSRelease(data); o.ID == "" {
			t.Error("an empty ID")
		}
		for name, p := range ParseDpkgStatus(data, "amd64") {
			if p.Name == "" || !strings.HasPrefix(name, p.Name) {
				t.Errorf("package %q as %q", p.Name, name)
			}
		}
		for _, x := range ParseXids(data) {
			if x.Count < 1 || x.Code < 0 || x.Code > 9999 || x.BusID == "" {
				t.Errorf("%+v", x)
			}
		}
		if q, ok := ParseQuota(data, "/dev/sda1"); !ok && q != (Quota{}) {
			t.Errorf("%+v", q)
		}
		for cpu := range cpuList(string(data)) {
			if cpu < 0 || cpu > 1<<16 {
				t.Errorf("processor %d", cpu)
			}
		}
		for name, p := range ParseRPMList(data) {
			if name == "" || p.Name != name {
				t.Errorf("package %q as %q", p.Name, name)
			}
		}
		var repos []Repository
		repos = append(repos, ParseAptList("f", data)...)
		repos = append(repos, ParseAptSources("f", data)...)
		repos = append(repos, ParseRepoFile("f", data)...)
		for _, r := range repos {
			if r.URL == "" {
				t.Errorf("a repository without URL: %+v", r)
			}
			r.CUDADistro()
		}
		NVIDIAConflicts(repos, "ubuntu2204")
		for _, m := range ParseMountInfo(data) {
			if !strings.HasPrefix(m.Target, "/") {
				t.Errorf("mounted at %q", m.Target)
			}
		}
		for _, l := range parseCgroup(data) {
			if !strings.HasPrefix(l.path, "/") {
				t.Errorf("a group at %q", l.path)
			}
		}
		for name, n := range ParseLimits(data) {
			if n < -1 {
				t.Errorf("%s: %d", name, n)
			}
		}
		ParseCPUInfo(data)
		ParseModules(data)
		if v, _ := ParseDriverVersion(data); v != "" && version(v) == "" {
			t.Errorf("driver %q", v)
		}
		if v := ParseToolkitVersion(data); v != "" && version(v) == "" {
			t.Errorf("toolkit %q", v)
		}
		ParseCuDNNHeader(data)
		lockedName(string(data))
		minorOf(parsePythonVersion(string(data)))
		if CompareVersions(string(data), string(data)) != 0 {
			t.Error("a version differs from itself")
		}
	})
}
