package doctor

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
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
		Overcommit  Verdict `toml:"overcommit"` // of a kernel that counts memory which is only reserved
		HugePages   Verdict `toml:"huge_pages"` // of a kernel that gives none by itself
	} `toml:"ram"`
	CPU struct {
		Cores           int     `toml:"cores"`
		TokensPerSecond float64 `toml:"tokens_per_second"` // of a 124M model in float32
		Governor        Verdict `toml:"governor"`          // of one that keeps the clocks low
	} `toml:"cpu"`
	Disk struct {
		FreeGB   float64 `toml:"free_gb"`
		Inodes   uint64  `toml:"inodes"`
		HDD      Verdict `toml:"hdd"` // of a spinning disk
		WriteMBs float64 `toml:"write_mb_s"`
		WheelsGB float64 `toml:"wheels_gb"` // of torch and what it brings
		Locks    Verdict `toml:"locks"`     // of a file system without flock
		Links    Verdict `toml:"links"`     // of one without symbolic links
	} `toml:"disk"`
	Python struct {
		Version string  `toml:"version"`
		Torch   string  `toml:"torch"` // the Python that the torch to be installed needs
		GLibC   string  `toml:"glibc"` // of the wheels' tag, manylinux_2_28
		Missing Verdict `toml:"missing"`
	} `toml:"python"`
	GPU struct {
		Missing  Verdict `toml:"missing"`
		MemoryGB float64 `toml:"memory_gb"`
		Link     Verdict `toml:"link"`          // of a PCIe link that is slow under load
		Power    float64 `toml:"power_percent"` // of its own limit that a board must be allowed
		BAR1     float64 `toml:"bar1_percent"`  // of the window that may be taken
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

// Override changes the thresholds that the table [doctor.thresholds] of a
// settings file sets, which has the form of a profile. What else the file has
// is not looked at. A mistake is an error with its line and column.
func (p *Profile) Override(name string, data []byte) error {
	var file struct {
		Doctor struct {
			Thresholds *Thresholds `toml:"thresholds"`
		} `toml:"doctor"`
	}
	file.Doctor.Thresholds = &p.Thresholds
	return p.lay(name, data, &file, "doctor", "thresholds")
}

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
	return p.lay(name, data, &p.Thresholds)
}

// lay decodes the table of that key, and knows where in the file a mistake is.
func (p *Profile) lay(name string, data []byte, into any, table ...string) error {
	err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(into)
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		err = nil
		for _, e := range unknown.Errors {
			key := []string(e.Key())
			if len(key) <= len(table) || !slices.Equal(key[:len(table)], table) {
				continue // another verb's
			}
			row, col := e.Position()
			word := strings.Join(key[len(table):], ".")
			text := fmt.Sprintf("%s:%d:%d: there is no threshold %q", name, row, col, word)
			// In a profile the tables have no prefix, in gptctl.toml they have.
			bare := strings.TrimPrefix(strings.TrimPrefix(word, "doctor."), "thresholds.")
			if near := nearest(bare, thresholdKeys()); near != "" {
				text += fmt.Sprintf(": did you mean %s?", near)
			}
			return errors.New(text)
		}
	}
	var syntax *toml.DecodeError
	if errors.As(err, &syntax) {
		row, col := syntax.Position()
		return fmt.Errorf("%s:%d:%d: %s", name, row, col, strings.TrimPrefix(syntax.Error(), "toml: "))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if key, text := p.check(); text != "" {
		if row, col, ok := tomlPosition(data, append(table, strings.Split(key, ".")...)); ok {
			name = fmt.Sprintf("%s:%d:%d", name, row, col)
		}
		return fmt.Errorf("%s: %s", name, text)
	}
	return nil
}

// thresholdKeys lists all thresholds: "ram.total_gb".
func thresholdKeys() []string {
	var keys []string
	t := reflect.TypeFor[Thresholds]()
	for group := range t.Fields() {
		for key := range group.Type.Fields() {
			keys = append(keys, group.Tag.Get("toml")+"."+key.Tag.Get("toml"))
		}
	}
	return keys
}

// tomlPosition finds where the value of a key begins, counted from 1. Of a file
// that was decoded already.
func tomlPosition(data []byte, key []string) (row, col int, ok bool) {
	var parser unstable.Parser
	parser.Reset(data)
	names := func(n *unstable.Node) (parts []string) {
		for it := n.Key(); it.Next(); {
			parts = append(parts, string(it.Node().Data))
		}
		return parts
	}
	var find func(n *unstable.Node, path []string) *unstable.Node
	find = func(n *unstable.Node, path []string) *unstable.Node {
		path = append(slices.Clone(path), names(n)...)
		if slices.Equal(path, key) {
			return n.Value()
		}
		if n.Value().Kind == unstable.InlineTable {
			for it := n.Value().Children(); it.Next(); {
				if found := find(it.Node(), path); found != nil {
					return found
				}
			}
		}
		return nil
	}
	var table []string
	for parser.NextExpression() {
		switch n := parser.Expression(); n.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = names(n)
		case unstable.KeyValue:
			if v := find(n, table); v != nil {
				at := parser.Shape(v.Raw).Start
				return at.Line, at.Column, true
			}
		}
	}
	return 0, 0, false
}

// check names the first threshold that makes no sense, and says why.
func (p *Profile) check() (key, text string) {
	for _, n := range []struct {
		key   string
		value float64
		most  float64
	}{
		{"ram.total_gb", p.RAM.TotalGB, 1e9}, {"ram.available_gb", p.RAM.AvailableGB, 1e9}, {"ram.shm_mb", p.RAM.ShmMB, 1e9},
		{"cpu.cores", float64(p.CPU.Cores), 1e9}, {"cpu.tokens_per_second", p.CPU.TokensPerSecond, 1e9},
		{"disk.free_gb", p.Disk.FreeGB, 1e9}, {"disk.write_mb_s", p.Disk.WriteMBs, 1e9}, {"disk.wheels_gb", p.Disk.WheelsGB, 1e9},
		{"gpu.memory_gb", p.GPU.MemoryGB, 1e9}, {"gpu.power_percent", p.GPU.Power, 100}, {"gpu.bar1_percent", p.GPU.BAR1, 100},
	} {
		if !(n.value >= 0 && n.value <= n.most) {
			return n.key, fmt.Sprintf("%s = %v: want a number from 0 to %g", n.key, n.value, n.most)
		}
	}
	for _, v := range []struct {
		key   string
		value Verdict
	}{
		{"ram.overcommit", p.RAM.Overcommit}, {"ram.huge_pages", p.RAM.HugePages}, {"cpu.governor", p.CPU.Governor},
		{"disk.hdd", p.Disk.HDD}, {"disk.locks", p.Disk.Locks}, {"disk.links", p.Disk.Links}, {"python.missing", p.Python.Missing},
		{"gpu.missing", p.GPU.Missing}, {"gpu.link", p.GPU.Link}, {"cuda.missing", p.CUDA.Missing}, {"cudnn.missing", p.CuDNN.Missing},
	} {
		if v.value != Warn && v.value != Fail && v.value != Skip {
			return v.key, fmt.Sprintf("%s = %q: want warn, fail or skip", v.key, v.value)
		}
	}
	for _, v := range []struct{ key, value string }{
		{"os.ubuntu", p.OS.Ubuntu}, {"os.debian", p.OS.Debian}, {"os.rhel", p.OS.RHEL}, {"os.fedora", p.OS.Fedora},
		{"os.suse", p.OS.SUSE}, {"os.amazon", p.OS.Amazon}, {"python.version", p.Python.Version},
		{"python.torch", p.Python.Torch}, {"python.glibc", p.Python.GLibC}, {"cuda.version", p.CUDA.Version},
	} {
		if v.value == "" || strings.Trim(v.value, "0123456789.") != "" {
			return v.key, fmt.Sprintf("%s = %q: want a version such as \"3.11\"", v.key, v.value)
		}
	}
	return "", ""
}

func (t Thresholds) vram() uint64 { return uint64(t.GPU.MemoryGB * 1e9) }

// nearest is the name most like word, "" if none is like it: at most a third of
// its letters differ (Levenshtein's distance), or it is the end of one.
func nearest(word string, names []string) string {
	best, least := "", min(len(word), max(2, len(word)/3)+1)
	for _, name := range names {
		d := distance(strings.ToLower(word), strings.ToLower(name))
		if _, last, ok := strings.Cut(name, "."); ok && strings.EqualFold(last, word) {
			d = 0
		}
		if d < least {
			best, least = name, d
		}
	}
	return best
}

func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
