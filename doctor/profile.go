package doctor

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Reference is the profile of the reference requirements.
const Reference = "reference"

// Thresholds are what the checks measure by. Memory and disk are in GB of 10⁹
// bytes, as vendors count, so that a card sold as 8 GB has 8.
type Thresholds struct {
	OS struct {
		Ubuntu string `toml:"ubuntu"` // oldest release of each family
		Debian string `toml:"debian"`
		RHEL   string `toml:"rhel"`
		Fedora string `toml:"fedora"`
		SUSE   string `toml:"suse"`
		Amazon string `toml:"amazon"`
	} `toml:"os"`
	RAM struct {
		TotalGB     float64 `toml:"total_gb"`
		AvailableGB float64 `toml:"available_gb"`
		ShmMB       float64 `toml:"shm_mb"`
	} `toml:"ram"`
	CPU struct {
		Cores           int     `toml:"cores"`
		TokensPerSecond float64 `toml:"tokens_per_second"` // of a 124M model in float32
	} `toml:"cpu"`
	Disk struct {
		FreeGB   float64 `toml:"free_gb"`
		Inodes   uint64  `toml:"inodes"`
		HDD      Verdict `toml:"hdd"` // of a spinning disk
		WriteMBs float64 `toml:"write_mb_s"`
	} `toml:"disk"`
	Python struct {
		Version string  `toml:"version"`
		Torch   string  `toml:"torch"` // the Python that the torch to be installed needs
		Missing Verdict `toml:"missing"`
	} `toml:"python"`
	GPU struct {
		Missing  Verdict `toml:"missing"`
		MemoryGB float64 `toml:"memory_gb"`
	} `toml:"gpu"`
	CUDA struct {
		Version string  `toml:"version"`
		Missing Verdict `toml:"missing"` // of the toolkit
	} `toml:"cuda"`
	CuDNN struct {
		Missing Verdict `toml:"missing"`
	} `toml:"cudnn"`
}

// Profile is a named set of thresholds.
type Profile struct {
	Name string
	Thresholds
}

//go:embed profiles/*.toml
var profiles embed.FS

// Profiles lists the names of the profiles that come with the program.
func Profiles() []string {
	entries, err := profiles.ReadDir("profiles")
	if err != nil {
		panic(err) // embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".toml"))
	}
	slices.Sort(names)
	return names
}

// BuiltinProfile returns a profile by its name.
func BuiltinProfile(name string) (*Profile, error) {
	p := &Profile{Name: name}
	for _, file := range []string{Reference, name} { // the others tell the difference
		data, err := profiles.ReadFile(path.Join("profiles", file+".toml"))
		if errors.Is(err, fs.ErrNotExist) || err != nil && !fs.ValidPath(name) {
			return nil, fmt.Errorf("there is no profile %q: want %s, or a file", name, strings.Join(Profiles(), ", "))
		}
		if err != nil {
			return nil, err
		}
		if err := p.decode("profile "+file, data); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// LoadProfile returns the profile of a name, or else of a TOML file, which
// tells the difference to the reference. A mistake in it is an error with its
// line and column.
func LoadProfile(nameOrFile string) (*Profile, error) {
	if slices.Contains(Profiles(), nameOrFile) {
		return BuiltinProfile(nameOrFile)
	}
	data, err := os.ReadFile(nameOrFile)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(nameOrFile, `./\`) {
		return BuiltinProfile(nameOrFile) // says which there are
	}
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	return ParseProfile(nameOrFile, data)
}

// Override changes the thresholds that data, TOML in the form of a profile,
// sets. A mistake in it is an error with its line and column in data.
func (p *Profile) Override(name string, data []byte) error { return p.decode(name, data) }

// ParseProfile is LoadProfile of the contents of a file.
func ParseProfile(name string, data []byte) (*Profile, error) {
	p, err := BuiltinProfile(Reference)
	if err != nil {
		return nil, err
	}
	p.Name = name
	return p, p.decode(name, data)
}

// decode lays the file over the thresholds that p has.
func (p *Profile) decode(name string, data []byte) error {
	err := toml.NewDecoder(strings.NewReader(string(data))).DisallowUnknownFields().Decode(&p.Thresholds)
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		row, col := unknown.Errors[0].Position()
		return fmt.Errorf("%s:%d:%d: there is no threshold %q", name, row, col, strings.Join(unknown.Errors[0].Key(), "."))
	}
	var syntax *toml.DecodeError
	if errors.As(err, &syntax) {
		row, col := syntax.Position()
		return fmt.Errorf("%s:%d:%d: %s", name, row, col, strings.TrimPrefix(syntax.Error(), "toml: "))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return p.check(name)
}

func (p *Profile) check(name string) error {
	for _, n := range []struct {
		key   string
		value float64
	}{
		{"ram.total_gb", p.RAM.TotalGB}, {"ram.available_gb", p.RAM.AvailableGB}, {"ram.shm_mb", p.RAM.ShmMB},
		{"cpu.cores", float64(p.CPU.Cores)}, {"cpu.tokens_per_second", p.CPU.TokensPerSecond},
		{"disk.free_gb", p.Disk.FreeGB}, {"disk.write_mb_s", p.Disk.WriteMBs}, {"gpu.memory_gb", p.GPU.MemoryGB},
	} {
		if !(n.value >= 0 && n.value <= 1e9) {
			return fmt.Errorf("%s: %s = %v: want a number from 0 to 1e9", name, n.key, n.value)
		}
	}
	for _, v := range []struct {
		key   string
		value Verdict
	}{{"disk.hdd", p.Disk.HDD}, {"python.missing", p.Python.Missing}, {"gpu.missing", p.GPU.Missing}, {"cuda.missing", p.CUDA.Missing}, {"cudnn.missing", p.CuDNN.Missing}} {
		if v.value != Warn && v.value != Fail && v.value != Skip {
			return fmt.Errorf("%s: %s = %q: want warn, fail or skip", name, v.key, v.value)
		}
	}
	for _, v := range []struct{ key, value string }{
		{"os.ubuntu", p.OS.Ubuntu}, {"os.debian", p.OS.Debian}, {"os.rhel", p.OS.RHEL}, {"os.fedora", p.OS.Fedora},
		{"os.suse", p.OS.SUSE}, {"os.amazon", p.OS.Amazon}, {"python.version", p.Python.Version},
		{"python.torch", p.Python.Torch}, {"cuda.version", p.CUDA.Version},
	} {
		if v.value == "" || strings.Trim(v.value, "0123456789.") != "" {
			return fmt.Errorf("%s: %s = %q: want a version such as \"3.11\"", name, v.key, v.value)
		}
	}
	return nil
}

func (t Thresholds) vram() uint64 { return uint64(t.GPU.MemoryGB * 1e9) }
