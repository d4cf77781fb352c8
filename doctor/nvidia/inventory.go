package nvidia

import (
	"fmt"
	"strings"
	"time"
)

// State says how far a probe came, for the whole machine or for one GPU.
type State string

const (
	StateOK        State = "ok"
	StateNoLibrary State = "no-library"       // no NVML library and no nvidia-smi: no driver is installed
	StateNoDriver  State = "no-driver"        // the library is there, the kernel driver is not loaded
	StateMismatch  State = "version-mismatch" // library and loaded kernel module differ: usually a reboot is due
	StateNoAccess  State = "no-permission"    // device nodes may not be opened by this user or in this container
	StateNoDevice  State = "no-device"        // the driver runs and has no GPU to show
	StateLost      State = "gpu-lost"         // fell off the bus, or needs a reset
	StateTimeout   State = "timeout"          // no answer in time: the driver hangs
	StateFailed    State = "failed"           // anything else, Detail has the words
)

// Where an Inventory comes from.
const (
	SourceNVML = "nvml"
	SourceSMI  = "nvidia-smi"
	SourceNone = "none"
)

// Inventory is what a probe found.
type Inventory struct {
	State  State
	Detail string // what the library or program said when State is not StateOK; one line
	Source string // SourceNVML, SourceSMI or SourceNone

	Driver  Version // driver version as the library tells it; zero if unknown
	Library Version // version of the user-space library, known only with StateMismatch
	CUDA    Version // highest CUDA version this driver supports (major.minor), not an installed toolkit

	// These come from /sys and /proc and are set whatever the state.
	KernelModule Version     // of the loaded nvidia module; zero if none is loaded
	OpenModule   *bool       // whether that module is the open flavour
	PCI          []PCIDevice // NVIDIA display controllers on the PCI bus, with or without a driver

	GPUs []GPU // in NVML's order, which is nvidia-smi's; not CUDA's unless CUDA_DEVICE_ORDER=PCI_BUS_ID
}

// PCIDevice is an NVIDIA display controller as the kernel lists it.
type PCIDevice struct {
	BusID    string // "0000:06:00.0"
	DeviceID uint16 // such as 0x2330
	Driver   string // kernel driver bound to it: nvidia, nouveau, vfio-pci; empty if none
}

// GPU is one physical GPU. Pointers are nil where the device, the driver or
// the source does not give the value.
type GPU struct {
	Index  int
	State  State  // StateOK, StateLost, StateNoAccess or StateFailed; not OK leaves most of the rest empty
	Detail string // what was said when State is not StateOK

	Name         string
	BusID        string // as in PCIDevice
	Architecture string // "Turing", "Ampere", "Ada", "Hopper", "Blackwell" …; empty if unknown
	Capability   *Capability

	// Bytes. Used excludes Reserved (what driver and firmware keep). All nil
	// on parts that share the machine's memory (GB10, Jetson).
	MemoryTotal, MemoryReserved, MemoryUsed, MemoryFree *uint64
	BAR1Total, BAR1Used                                 *uint64

	ECC                    *bool   // current mode
	ECCPending             *bool   // mode after the next reset
	VolatileUncorrected    *uint64 // uncorrectable ECC errors since the driver was loaded
	AggregateUncorrected   *uint64 // over the life of the GPU
	Remap                  *RowRemap
	RetiredPagesPending    *bool // pages wait for a reset to be retired (before Ampere)
	MIG                    *bool // current MIG mode
	MIGPending             *bool
	MIGInstances           []MIGInstance
	ComputeMode            *ComputeMode
	Persistence            *bool
	Virtualization         string   // "none", "passthrough", "vgpu", "host-vgpu", "host-vsga"; empty if unknown
	GSPFirmware            string   // version of the firmware that runs on the GPU; empty if none does or it is unknown
	PowerDraw, PowerLimit  *float64 // watts, to 0.01; the limit is the one enforced now
	PowerDefault           *float64 // the limit that the board is made for
	Temperature            *int     // °C, of the GPU
	GraphicsClock, SMClock *uint32  // MHz
	MemoryClock            *uint32
	MaxGraphicsClock       *uint32
	MaxSMClock             *uint32
	MaxMemoryClock         *uint32
	Throttle               []ThrottleReason // active ones, in the order of the constants; see ThrottleKnown
	ThrottleKnown          bool             // false: the device does not tell, Throttle is empty
	PCIe                   PCIeLink
	UtilizationGPU         *int // percent of the last sample period
	UtilizationMemory      *int
	DisplayActive          *bool
	NUMANode               *int // of the PCI slot, from /sys

	NVLink *NVLink
	Fabric *Fabric // nil on machines without NVSwitch, as far as is known

	// UUID is "GPU-…", by which CUDA_VISIBLE_DEVICES may name it. It tells one
	// board from all others, so it must not be shown.
	UUID string `json:"-"`

	Processes      []Process // sorted by PID
	ProcessesKnown bool      // false: the device does not tell, Processes is empty
}

// NVLink counts the links that the board has, connected or not.
type NVLink struct{ Active, Inactive int }

// Fabric is how far the fabric manager has come with this GPU. CUDA does not
// start on it before FabricCompleted.
type Fabric struct {
	State  FabricState
	Failed bool // it was completed with an error
}

// FabricState is NVML's GPU_FABRIC_STATE in nvidia-smi's words.
type FabricState string

const (
	FabricNotStarted FabricState = "Not Started"
	FabricInProgress FabricState = "In Progress"
	FabricCompleted  FabricState = "Completed"
)

// RowRemap is the state of row remapping (Ampere and newer).
type RowRemap struct {
	Correctable, Uncorrectable int  // rows remapped because of such errors
	Pending                    bool // a reset is needed to finish
	Failed                     bool // no spare rows were left: replace the GPU
}

// MIGInstance is one MIG device.
type MIGInstance struct {
	Index           int // among the MIG devices of this GPU
	GPUInstance     int
	ComputeInstance int
	MemoryTotal     *uint64 // bytes
	MemoryFree      *uint64
	Multiprocessors *int
}

// PCIeLink is the PCI Express link; an idle GPU lowers it.
type PCIeLink struct {
	Generation, MaxGeneration *int // the maximum of GPU and slot together
	Width, MaxWidth           *int // lanes
}

// Process is a process that holds GPU memory.
type Process struct {
	PID               int     // in the host's namespace, which in a container is not the one seen inside
	Compute, Graphics bool    // one of them or both
	Memory            *uint64 // bytes
}

// ComputeMode says who may create a CUDA context.
type ComputeMode string

const (
	ComputeDefault          ComputeMode = "default"
	ComputeExclusiveThread  ComputeMode = "exclusive-thread"
	ComputeExclusiveProcess ComputeMode = "exclusive-process"
	ComputeProhibited       ComputeMode = "prohibited"
)

// ThrottleReason is a cause for clocks below the maximum.
type ThrottleReason string

// In the order of NVML's bits.
const (
	ThrottleIdle              ThrottleReason = "idle"
	ThrottleApplicationClocks ThrottleReason = "application-clocks"
	ThrottleSWPowerCap        ThrottleReason = "sw-power-cap"
	ThrottleHWSlowdown        ThrottleReason = "hw-slowdown"
	ThrottleSyncBoost         ThrottleReason = "sync-boost"
	ThrottleSWThermal         ThrottleReason = "sw-thermal"
	ThrottleHWThermal         ThrottleReason = "hw-thermal"
	ThrottleHWPowerBrake      ThrottleReason = "hw-power-brake"
	ThrottleDisplayClocks     ThrottleReason = "display-clocks"
)

// Harmful reports whether the reason takes speed away from running work:
// heat or power, rather than idleness or a setting.
func (r ThrottleReason) Harmful() bool {
	switch r {
	case ThrottleSWPowerCap, ThrottleHWSlowdown, ThrottleSWThermal, ThrottleHWThermal, ThrottleHWPowerBrake:
		return true
	}
	return false
}

// Capability is a CUDA compute capability such as 8.6.
type Capability struct{ Major, Minor int }

func (c Capability) String() string { return fmt.Sprintf("%d.%d", c.Major, c.Minor) }

// AtLeast reports whether c is major.minor or newer.
func (c Capability) AtLeast(major, minor int) bool {
	return c.Major > major || c.Major == major && c.Minor >= minor
}

// Version is a dotted version of up to four numbers, such as 535.183.01 or
// 12.4. It keeps the text it was read from; the zero Version means unknown.
type Version struct {
	text string
	part [4]int
}

// ParseVersion reads digits and dots. Leading zeros are kept in the text and
// ignored in comparisons (525.60.13, 535.183.01).
func ParseVersion(s string) (Version, error) {
	v := Version{text: s}
	for i, p := range strings.Split(s, ".") {
		if i == len(v.part) || p == "" || len(p) > 8 {
			return Version{}, fmt.Errorf("version %.40q: want up to four numbers with dots between them", s)
		}
		for _, c := range []byte(p) {
			if c < '0' || c > '9' {
				return Version{}, fmt.Errorf("version %.40q: want up to four numbers with dots between them", s)
			}
			v.part[i] = v.part[i]*10 + int(c-'0')
		}
	}
	return v, nil
}

func (v Version) String() string { return v.text }

// IsZero reports whether the version is unknown.
func (v Version) IsZero() bool { return v.text == "" }

// Major is the first number: for a driver its branch, such as 580.
func (v Version) Major() int { return v.part[0] }

// Minor is the second number.
func (v Version) Minor() int { return v.part[1] }

// Compare orders versions number by number; missing numbers count as zero.
func (v Version) Compare(w Version) int {
	for i := range v.part {
		if v.part[i] != w.part[i] {
			if v.part[i] < w.part[i] {
				return -1
			}
			return 1
		}
	}
	return 0
}

// AtLeast reports whether v is w or newer. An unknown version is at least nothing.
func (v Version) AtLeast(w Version) bool { return !v.IsZero() && v.Compare(w) >= 0 }

// MarshalText gives the version's text, so that JSON shows "580.65.06".
func (v Version) MarshalText() ([]byte, error) { return []byte(v.text), nil }

// Options directs a probe. The zero value is right for real use.
type Options struct {
	Timeout time.Duration // for the whole probe, 5 s if zero; ctx may end it sooner
	Source  string        // SourceNVML or SourceSMI to use only that; empty: NVML, then nvidia-smi

	// For tests and unusual systems.
	Root    string // stands before /sys and /proc; empty: the real ones
	Library string // instead of libnvidia-ml.so.1
	SMI     string // path of nvidia-smi; empty: PATH, then its usual places
}
