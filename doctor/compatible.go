package doctor

import (
	"slices"

	"github.com/gptctl/gptctl/doctor/nvidia"
	"github.com/gptctl/gptctl/internal/machine"
)

// conflicts are what the tables of package nvidia know against the parts of
// this machine, of those that are about part. Each GPU is judged; equal
// conflicts are told once.
func (e *Env) conflicts(part string) []nvidia.Conflict {
	g := e.gpus()
	s := nvidia.Setup{OS: e.Host.GOOS, Driver: g.Driver, OpenModule: g.OpenModule, Toolkit: asVersion(newestToolkit(e.Host.Toolkits()))}
	if all := e.cudnns(); len(all) > 0 {
		s.CUDNN, s.CUDNNCUDA = asVersion(all[0].Version), asVersion(all[0].CUDA)
		for _, c := range all { // one for the toolkit's CUDA is enough
			if c.CUDA != "" && c.CUDA == major(s.Toolkit.String()) {
				s.CUDNN, s.CUDNNCUDA = asVersion(c.Version), asVersion(c.CUDA)
				break
			}
		}
		if s.CUDNN.Minor() == 0 { // a library's name tells the major number only
			s.CUDNN = nvidia.Version{}
		}
	}
	if site := e.sitePackages(); site != "" {
		if t, ok := e.Host.Torch(site); ok {
			s.TorchCUDA = asVersion(t.CUDA)
		}
	}
	var found []nvidia.Conflict
	for _, d := range g.GPUs {
		s.Capability = d.Capability
		for _, c := range nvidia.Compatible(s) {
			if slices.Contains(c.Between[:], part) && !slices.Contains(found, c) {
				found = append(found, c)
			}
		}
	}
	return found
}

// asVersion is the zero Version for what is no version.
func asVersion(s string) nvidia.Version {
	v, err := nvidia.ParseVersion(s)
	if err != nil {
		return nvidia.Version{}
	}
	return v
}

// newestToolkit is the version of the toolkit that nvcc is of, or else of the
// newest.
func newestToolkit(all []machine.Toolkit) string {
	newest := ""
	for _, t := range all {
		if t.Active && t.Version != "" {
			return t.Version
		}
		if machine.CompareVersions(t.Version, newest) > 0 {
			newest = t.Version
		}
	}
	return newest
}

// conflicting is a warning of the first conflict; false if there is none.
func (e *Env) conflicting(part, component, advice string) (Finding, bool) {
	found := e.conflicts(part)
	if len(found) == 0 {
		return Finding{}, false
	}
	f := warned("%s", found[0].Why).needs("versions that fit together")
	if !found[0].Need.IsZero() {
		f = f.needs("%s %s", found[0].Between[0], found[0].Need)
	}
	return f.install(component, "%s", advice), true
}
