package machine

import (
	"slices"
	"strings"
)

// Processor is what the kernel tells of the CPU.
type Processor struct {
	Model   string
	Logical int      // processors that are online
	Flags   []string // x86's flags or ARM's features, sorted
}

// Processor reads /proc/cpuinfo; the zero Processor where there is none.
func (h *Host) Processor() Processor {
	b, err := h.ReadFile("/proc/cpuinfo")
	if err != nil {
		return Processor{}
	}
	return ParseCPUInfo(b)
}

// ParseCPUInfo takes the model and the flags of the first processor.
func ParseCPUInfo(data []byte) Processor {
	var p Processor
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "processor":
			p.Logical++
		case "model name":
			if p.Model == "" {
				p.Model = value
			}
		case "flags", "Features":
			if p.Flags == nil {
				p.Flags = strings.Fields(value)
				slices.Sort(p.Flags)
			}
		}
	}
	return p
}

// Has tells whether the processor has all these instruction sets.
func (p Processor) Has(flags ...string) bool {
	for _, f := range flags {
		if _, ok := slices.BinarySearch(p.Flags, f); !ok {
			return false
		}
	}
	return true
}

// NUMANodes counts the memory nodes, 0 if the kernel does not tell.
func (h *Host) NUMANodes() int {
	n := 0
	for _, name := range h.names("/sys/devices/system/node") {
		if digits, ok := strings.CutPrefix(name, "node"); ok && digits != "" && strings.Trim(digits, "0123456789") == "" {
			n++
		}
	}
	return n
}
