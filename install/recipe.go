package install

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/gptctl/gptctl/internal/machine"
)

//go:embed recipes/*.toml
var recipeFiles embed.FS

// recipe is one distribution.
type recipe struct {
	Name      string
	IDs       []string // as os-release has them
	Manager   string
	Headers   []string // packages; {kernel} is uname -r
	Driver    []string
	DriverOld []string `toml:"driver_old"` // for GPUs without open modules: branch 580
	// DriverNote is for the reader of a plan that installs the driver.
	DriverNote string   `toml:"driver_note"`
	WSL        string   // NVIDIA's repository under WSL2
	WSLKeys    []string `toml:"wsl_keys"`
	Release    []release
}

// release is one version of a distribution.
type release struct {
	Version    string            // VERSION_ID, whole or up to the dot
	NVIDIA     string            // folder of NVIDIA's repository, "" if it has none
	NVIDIAByID map[string]string `toml:"nvidia_by_id"`
	Keys       []string          // the first that the repository offers is taken
	CUDAMost   string            `toml:"cuda_most"`  // newest toolkit there, "" is any
	CUDALeast  string            `toml:"cuda_least"` // oldest toolkit there
	ByHand     string            `toml:"by_hand"`    // what to do where NVIDIA's repository cannot be added
	Kernel     string            // the kernel that the release came with: 6.8
	Branch     string            // a driver branch that its driver packages are not below, "" is 580
	// Signed is the distribution's own driver, signed for Secure Boot; {kernel}
	// is uname -r, {flavour} its end. SignedOld is for GPUs without open modules.
	Signed      []string
	SignedOld   []string `toml:"signed_old"`
	SignedFirst bool     `toml:"signed_first"` // it is taken without Secure Boot, too, on top of NVIDIA's repository …
	SignedAfter string   `toml:"signed_after"` // … which has these, of the same version

	EPEL            string     // the URL of epel-release, which dkms comes from
	DriverBefore    [][]string `toml:"driver_before"`
	DriverOld       []string   `toml:"driver_old"` // in place of the distribution's
	DriverOldPin    []string   `toml:"driver_old_pin"`
	DriverOldBefore [][]string `toml:"driver_old_before"`
	Python          pythonRecipe
	Newer           pythonRecipe // a newer Python beside it
}

type pythonRecipe struct {
	Version  string
	Packages []string
}

// interpreter is where the packages put it.
func (p pythonRecipe) interpreter(newer bool) string {
	if newer {
		return "/usr/bin/python" + p.Version
	}
	return "/usr/bin/python3"
}

// manager is how one package manager is driven; see recipes/managers.toml.
type manager struct {
	Refresh, Install, Remove, Installed, Download, Import []string
	SimulateInstall                                       []string `toml:"simulate_install"`
	Adds                                                  string   // what a line of SimulateInstall begins with, before a package
	SimulateRemove                                        []string `toml:"simulate_remove"`
	Removes                                               []string
	Repair                                                [][]string
	Lists                                                 string
	Waits                                                 string // what it prints while it waits for another one by itself
	Locked                                                []string
	Needs                                                 []string
	KeyFile                                               string `toml:"key_file"`
	RepoFile                                              string `toml:"repo_file"`
	Repo                                                  string
	RepoPin                                               string `toml:"repo_pin"`
	PinFile                                               string `toml:"pin_file"`
	Pin                                                   string
}

type nvidiaRecipe struct {
	Repository string
	Keys       map[string]string
	Toolkit    []struct{ Driver, CUDA string }
}

type torchRecipe struct {
	Index   string
	Python  string
	Wheels  map[string]wheels
	Default struct {
		Index          string
		Download, Disk int64
		OldDriver      string   `toml:"old_driver"`
		OldTorch       string   `toml:"old_torch"`
		OldGenerations []string `toml:"old_generations"`
	}
	Older []struct{ Python, Torch string }
}

type wheels struct {
	Driver         string
	Generations    []string
	Torch          string // a bound on the version
	First, Last    string // the oldest and the newest torch there; "" is of all
	Download, Disk int64  // MB
}

type recipes struct {
	distributions []recipe
	managers      map[string]manager
	nvidia        nvidiaRecipe
	torch         torchRecipe
}

// readRecipes reads the embedded files; an error is a mistake in them.
func readRecipes() (*recipes, error) {
	names, err := fs.Glob(recipeFiles, "recipes/*.toml")
	if err != nil {
		return nil, err
	}
	var r recipes
	for _, name := range names {
		var d recipe
		var into any
		switch path.Base(name) {
		case "managers.toml":
			into = &r.managers
		case "nvidia.toml":
			into = &r.nvidia
		case "torch.toml":
			into = &r.torch
		default:
			into = &d
		}
		data, err := recipeFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		dec := toml.NewDecoder(strings.NewReader(string(data)))
		if err := dec.DisallowUnknownFields().Decode(into); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if into == &d {
			r.distributions = append(r.distributions, d)
		}
	}
	return &r, nil
}

// find returns the recipe of a distribution and of its release.
func (r *recipes) find(os machine.OS) (*recipe, *release, bool) {
	for i := range r.distributions {
		d := &r.distributions[i]
		if !slices.Contains(d.IDs, os.ID) {
			continue
		}
		for _, version := range []string{os.VersionID, os.Major(), ""} {
			for j := range d.Release {
				if d.Release[j].Version == version {
					rel := d.Release[j]
					if own, ok := rel.NVIDIAByID[os.ID]; ok {
						rel.NVIDIA = own
					}
					return d, &rel, true
				}
			}
		}
	}
	return nil, nil, false
}

// known lists the distributions and releases, for people.
func (r *recipes) known() []string {
	var names []string
	for _, d := range r.distributions {
		var versions []string
		for _, rel := range d.Release {
			if rel.Version != "" {
				versions = append(versions, rel.Version)
			}
		}
		names = append(names, strings.TrimSpace(d.Name+" "+strings.Join(versions, ", ")))
	}
	return names
}

// fill replaces "{key}" in each word; a word that is "{packages}" becomes the
// names themselves.
func fill(template []string, packages []string, pairs ...string) []string {
	var words []string
	replace := strings.NewReplacer(pairs...)
	for _, w := range template {
		if w == "{packages}" {
			words = append(words, packages...)
		} else {
			words = append(words, replace.Replace(w))
		}
	}
	return words
}
