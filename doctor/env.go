package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/doctor/nvidia"
	"github.com/gptctl/gptctl/fetch"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/machine"
)

// Instruments measure what files do not tell. Each that is nil is the real one.
type Instruments struct {
	GPUs       func(context.Context) nvidia.Inventory
	GPUWork    func(context.Context, nvidia.Inventory, nvidia.WorkOptions) nvidia.WorkResult
	Limits     func(context.Context) (kernel.Limits, error)                              // of the CPU
	WriteSpeed func(ctx context.Context, dir string) (bytesPerSecond float64, err error) // with fsync
	FileTraits func(ctx context.Context, dir string) (FileTraits, error)                 // of the file system
	CUDA       func(context.Context) nvidia.WorkResult                                   // libcuda, and what it shows
	Listen     func(addr string) error                                                   // can it be listened on
	HTTP       *http.Client                                                              // must not follow redirects
	Now        func() time.Time
}

// Env is what the probes of one run share. What is read by several of them is
// read once.
type Env struct {
	Host *machine.Host
	Need Thresholds

	options Options
	work    *Work
	tools   Instruments

	gpus      func() gpus
	packages  func() (map[string]machine.Package, error)
	mounts    func() ([]machine.Mount, error)
	pythons   func() []machine.Python
	memory    func() (machine.Memory, error)
	cgroup    func() machine.Cgroup
	limits    func() (kernel.Limits, error)
	hub       func() hubAnswer
	modelsDir string
}

// gpus is the inventory, and whether the PCI bus could be seen at all.
type gpus struct {
	nvidia.Inventory
	devices    []machine.Device
	pciUnknown error
}

func (g gpus) present() bool { return len(g.GPUs) > 0 || len(g.devices) > 0 || len(g.PCI) > 0 }

func newEnv(ctx context.Context, o Options) (*Env, error) {
	e := &Env{Host: o.Host, options: o, work: o.Work, tools: o.Instruments}
	if e.Host == nil {
		e.Host = machine.Local()
	}
	if o.Work != nil {
		w := *o.Work
		w.Threads, w.Kernels, w.Program = o.Threads, o.Kernels, o.Program
		e.work = &w
	}
	profile := o.Profile
	if profile == nil {
		p, err := BuiltinProfile(Reference)
		if err != nil {
			return nil, err
		}
		profile = p
	}
	e.Need = profile.Thresholds
	e.options.Profile = profile
	e.modelsDir = o.ModelsDir
	if e.modelsDir == "" {
		dir, err := fetch.CacheDir(e.Host.Getenv)
		if err == nil {
			e.modelsDir = dir
		}
	}
	if e.options.Devices == nil {
		e.options.Devices = []fit.Device{fit.CPU}
	}
	if o.Model == "" && o.Work != nil {
		e.options.Model = o.Work.Model
	}
	e.options.Addr = cmp.Or(o.Addr, "127.0.0.1:8080")
	e.realTools()
	// A fact is read for all probes that want it, so not under the deadline of
	// the one that came first.
	ctx = context.WithoutCancel(ctx)
	timed := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(ctx, d)
		time.AfterFunc(d+time.Second, cancel) // later, for the error to be that time is up
		return ctx
	}
	e.gpus = sync.OnceValue(func() gpus {
		g := gpus{}
		g.devices, g.pciUnknown = e.Host.NVIDIADevices()
		g.Inventory = e.tools.GPUs(timed(probeTimeout - 200*time.Millisecond))
		return g
	})
	e.packages = sync.OnceValues(func() (map[string]machine.Package, error) { return e.Host.Packages(timed(probeTimeout)) })
	e.mounts = sync.OnceValues(e.Host.Mounts)
	e.pythons = sync.OnceValue(func() []machine.Python { return e.Host.Pythons(timed(probeTimeout)) })
	e.memory = sync.OnceValues(func() (machine.Memory, error) { return e.Host.Memory(timed(probeTimeout)) })
	e.cgroup = sync.OnceValue(e.Host.Cgroup)
	e.limits = sync.OnceValues(func() (kernel.Limits, error) { return e.tools.Limits(timed(probeTimeout)) })
	e.hub = sync.OnceValue(func() hubAnswer { return e.askHub(timed(netTimeout - time.Second)) })
	return e, nil
}

func (e *Env) realTools() {
	t := &e.tools
	if t.GPUs == nil {
		t.GPUs = func(ctx context.Context) nvidia.Inventory {
			return nvidia.Probe(ctx, nvidia.Options{Timeout: probeTimeout - 300*time.Millisecond})
		}
	}
	if t.GPUWork == nil {
		t.GPUWork = nvidia.Work
	}
	if t.Limits == nil {
		t.Limits = measureLimits
	}
	if t.WriteSpeed == nil {
		t.WriteSpeed = writeSpeed
	}
	if t.FileTraits == nil {
		t.FileTraits = tryFileTraits
	}
	if t.CUDA == nil {
		t.CUDA = func(ctx context.Context) nvidia.WorkResult {
			return nvidia.Library(ctx, nvidia.WorkOptions{Timeout: probeTimeout - 300*time.Millisecond})
		}
	}
	if t.Listen == nil {
		t.Listen = func(addr string) error {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return err
			}
			return l.Close()
		}
	}
	if t.HTTP == nil {
		t.HTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if t.Now == nil {
		t.Now = time.Now
	}
}

func measureLimits(ctx context.Context) (kernel.Limits, error) {
	cpu, err := kernel.New(kernel.Options{})
	if err != nil {
		return kernel.Limits{}, err
	}
	defer cpu.Close()
	return cpu.MeasureLimits(ctx)
}

// existing is the nearest folder above p that is there.
func (e *Env) existing(p string) string {
	for !e.Host.Exists(filepath.ToSlash(p)) && p != filepath.Dir(p) {
		p = filepath.Dir(p)
	}
	return p
}

// freeMemory is what a process may still take: the machine's and the cgroup's.
func (e *Env) freeMemory() (free uint64, limited bool, err error) {
	m, err := e.memory()
	if err != nil {
		return 0, false, err
	}
	free = m.Available
	if c := e.cgroup(); c.MemoryLimit > 0 {
		if left := c.MemoryLimit - min(c.MemoryUsed, c.MemoryLimit); left < free {
			return left, true, nil
		}
	}
	return free, false, nil
}

var homes = regexp.MustCompile(`(/home|/Users)/[^/\s:,;"']+`)

// redact takes names of users out of what is said, so that a report can be
// shown to others.
func (e *Env) redact(f *Finding) {
	for _, s := range []*string{&f.Found, &f.Needed, &f.Why} {
		*s = e.anonymous(*s)
	}
	if f.Remedy != nil {
		f.Remedy.Text, f.Remedy.Command = e.anonymous(f.Remedy.Text), e.anonymous(f.Remedy.Command)
	}
}

func (e *Env) anonymous(s string) string {
	if home := filepath.Clean(e.Host.Getenv("HOME")); len(home) > 2 {
		for i := 0; ; {
			at := strings.Index(s[i:], home)
			if at < 0 {
				break
			}
			at += i
			end := at + len(home)
			if end == len(s) || strings.ContainsRune("/ :,;)\"'", rune(s[end])) { // not /root of /rootfs
				s = s[:at] + "~" + s[end:]
			}
			i = at + 1
		}
	}
	s = homes.ReplaceAllString(s, "$1/USER")
	for _, name := range []string{e.Host.Getenv("USER"), e.Host.Getenv("LOGNAME")} {
		if len(name) > 2 && name != "root" {
			s = regexp.MustCompile(`(^|[^\w.-])`+regexp.QuoteMeta(name)+`($|[^\w.-])`).ReplaceAllString(s, "${1}USER${2}")
		}
	}
	return s
}

// gb writes bytes as vendors count them.
func gb(n uint64) string {
	switch {
	case n >= 100e9:
		return fmt.Sprintf("%.0f GB", float64(n)/1e9)
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}
