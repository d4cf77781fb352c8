package machine

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Repository is one source of packages that is switched on.
type Repository struct {
	File     string // where it is written
	ID       string // of a dnf or zypper repository
	URL      string
	Suite    string // apt's; "/" for a flat repository
	SignedBy string // apt's key file, "" if none is named
}

// Repositories reads apt's, dnf's and zypper's sources that are switched on.
func (h *Host) Repositories() []Repository {
	var found []Repository
	for _, file := range append([]string{"/etc/apt/sources.list"}, h.glob("/etc/apt/sources.list.d/*")...) {
		b, err := h.ReadFile(file)
		if err != nil {
			continue
		}
		switch path.Ext(file) {
		case ".list":
			found = append(found, ParseAptList(file, b)...)
		case ".sources":
			found = append(found, ParseAptSources(file, b)...)
		}
	}
	for _, dir := range []string{"/etc/yum.repos.d", "/etc/zypp/repos.d"} {
		for _, file := range h.glob(dir + "/*.repo") {
			if b, err := h.ReadFile(file); err == nil {
				found = append(found, ParseRepoFile(file, b)...)
			}
		}
	}
	return found
}

// ParseAptList reads the one-line format of sources.list(5).
func ParseAptList(file string, data []byte) []Repository {
	var found []Repository
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		kind, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || kind != "deb" {
			continue
		}
		r := Repository{File: file}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			options, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				continue
			}
			for _, o := range strings.Fields(options) {
				if key, value, _ := strings.Cut(o, "="); strings.EqualFold(key, "signed-by") {
					r.SignedBy = value
				}
			}
			rest = after
		}
		if f := strings.Fields(rest); len(f) >= 2 {
			r.URL, r.Suite = f[0], f[1]
			found = append(found, r)
		}
	}
	return found
}

// ParseAptSources reads the deb822 format of sources.list(5).
func ParseAptSources(file string, data []byte) []Repository {
	var found []Repository
	fields := map[string]string{}
	last := ""
	add := func() {
		if slices.Contains(strings.Fields(fields["types"]), "deb") && !strings.EqualFold(fields["enabled"], "no") {
			signed := fields["signed-by"]
			if strings.Contains(signed, "BEGIN PGP") {
				signed = "a key in the file itself"
			}
			for _, u := range strings.Fields(fields["uris"]) {
				for _, s := range strings.Fields(fields["suites"]) {
					found = append(found, Repository{File: file, URL: u, Suite: s, SignedBy: signed})
				}
			}
		}
		clear(fields)
	}
	for line := range strings.Lines(string(data)) {
		switch {
		case strings.TrimSpace(line) == "":
			add()
		case strings.HasPrefix(line, "#"):
		case line[0] == ' ' || line[0] == '\t':
			fields[last] += " " + strings.TrimSpace(line)
		default:
			key, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(key))
			fields[last] = strings.TrimSpace(value)
		}
	}
	add()
	return found
}

// ParseRepoFile reads the ini format of dnf.conf(5), which zypper shares.
func ParseRepoFile(file string, data []byte) []Repository {
	var found []Repository
	var r Repository
	enabled := true
	add := func() {
		if r.ID != "" && r.URL != "" && enabled {
			found = append(found, r)
		}
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			add()
			r, enabled = Repository{File: file, ID: line[1 : len(line)-1]}, true
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "baseurl", "metalink", "mirrorlist":
			if first := strings.Fields(value); r.URL == "" && len(first) > 0 {
				r.URL = first[0]
			}
		case "enabled":
			enabled = value != "0" && !strings.EqualFold(value, "false") && !strings.EqualFold(value, "no")
		}
	}
	add()
	return found
}

// NVIDIA names who offers NVIDIA's driver in this repository: "nvidia" itself,
// "graphics-drivers" (Ubuntu's PPA), "rpmfusion", "negativo17" or, for a
// repository that has none of its own, "".
func (r Repository) NVIDIA() string {
	u := strings.ToLower(r.URL)
	switch {
	case strings.Contains(u, "developer.download.nvidia.") && strings.Contains(u, "/compute/cuda/repos/"):
		return "nvidia"
	case strings.Contains(u, "/graphics-drivers/"):
		return "graphics-drivers"
	case strings.Contains(u, "negativo17") && strings.Contains(u, "nvidia"):
		return "negativo17"
	case strings.Contains(strings.ToLower(r.ID), "rpmfusion-nonfree"):
		return "rpmfusion"
	}
	return ""
}

// CUDADistro is the distribution that NVIDIA's repository is for, in NVIDIA's
// words: ubuntu2204, debian12, rhel9; "" for any other repository.
func (r Repository) CUDADistro() string {
	u, err := url.Parse(r.URL)
	if err != nil || r.NVIDIA() != "nvidia" {
		return ""
	}
	_, rest, _ := strings.Cut(u.Path, "/compute/cuda/repos/")
	distro, _, _ := strings.Cut(rest, "/")
	return distro
}

// Conflict is a set of package sources that will not work together.
type Conflict struct {
	Why   string
	Files []string
}

// NVIDIAConflicts finds what keeps NVIDIA's packages from being installed:
// two suppliers of one driver, one repository with two keys (apt then refuses
// to work at all), or one made for another distribution. distro is this
// machine's in NVIDIA's words, "" if NVIDIA has none.
func NVIDIAConflicts(repos []Repository, distro string) []Conflict {
	var found []Conflict
	first := map[string]Repository{} // by supplier
	byURL := map[string]Repository{}
	var suppliers []string
	for _, r := range repos {
		who := r.NVIDIA()
		if who == "" {
			continue
		}
		if _, ok := first[who]; !ok {
			first[who] = r
			suppliers = append(suppliers, who)
		}
		if who != "nvidia" {
			continue
		}
		at := strings.TrimSuffix(r.URL, "/") + " " + r.Suite
		if other, ok := byURL[at]; ok && other.SignedBy != r.SignedBy {
			found = append(found, Conflict{
				Why:   fmt.Sprintf("%s is listed twice, signed by %s and by %s: apt refuses both", r.URL, keyName(other), keyName(r)),
				Files: distinct(other.File, r.File),
			})
		} else {
			byURL[at] = r
		}
		if d := r.CUDADistro(); d != "" && distro != "" && d != distro {
			found = append(found, Conflict{Why: fmt.Sprintf("NVIDIA's repository is for %s, this machine is %s", d, distro), Files: []string{r.File}})
		}
	}
	if len(suppliers) > 1 {
		c := Conflict{Why: "NVIDIA's driver comes from more than one supplier: " + strings.Join(suppliers, ", ")}
		for _, s := range suppliers {
			c.Files = distinct(append(c.Files, first[s].File)...)
		}
		found = append(found, c)
	}
	return found
}

func keyName(r Repository) string {
	if r.SignedBy == "" {
		return "any trusted key"
	}
	return r.SignedBy
}

func distinct(s ...string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}
