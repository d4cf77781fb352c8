package nvidia

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// smiLog is the part of nvidia-smi -q -x that is read. The elements are those
// of the document types nvsmi_device_v10 to v13; where a later one renamed an
// element both names are here and only one is ever filled. Everything is text:
// what a device cannot tell reads "N/A", "[Not Supported]", "Requested
// functionality has been deprecated", "ERR!" and the like.
type smiLog struct {
	XMLName xml.Name `xml:"nvidia_smi_log"`
	Driver  string   `xml:"driver_version"`
	KMD     string   `xml:"kmd_version"` // seen with CUDA 13.1 and later: kernel-mode driver
	CUDA    string   `xml:"cuda_version"`
	UMD     string   `xml:"cuda_umd_version"` // likewise: CUDA's user-mode driver
	GPUs    []smiGPU `xml:"gpu"`
}

type smiGPU struct {
	ID           string `xml:"id,attr"`
	Name         string `xml:"product_name"`
	Architecture string `xml:"product_architecture"`
	Display      string `xml:"display_active"`
	Persistence  string `xml:"persistence_mode"`
	UUID         string `xml:"uuid"`
	GSP          string `xml:"gsp_firmware_version"`
	Fabric       struct {
		State  string `xml:"state"`
		Status string `xml:"status"`
	} `xml:"fabric"`
	MIG        string `xml:"mig_mode>current_mig"`
	MIGPending string `xml:"mig_mode>pending_mig"`
	MIGDevices []struct {
		Index           string    `xml:"index"`
		GPUInstance     string    `xml:"gpu_instance_id"`
		ComputeInstance string    `xml:"compute_instance_id"`
		Multiprocessors string    `xml:"device_attributes>shared>multiprocessor_count"`
		Memory          smiMemory `xml:"fb_memory_usage"`
	} `xml:"mig_devices>mig_device"`
	Virtualization string      `xml:"gpu_virtualization_mode>virtualization_mode"`
	LinkGen        string      `xml:"pci>pci_gpu_link_info>pcie_gen>current_link_gen"`
	MaxLinkGen     string      `xml:"pci>pci_gpu_link_info>pcie_gen>max_link_gen"`
	LinkWidth      string      `xml:"pci>pci_gpu_link_info>link_widths>current_link_width"`
	MaxLinkWidth   string      `xml:"pci>pci_gpu_link_info>link_widths>max_link_width"`
	Events         *smiReasons `xml:"clocks_event_reasons"`    // since driver 535
	Throttle       *smiReasons `xml:"clocks_throttle_reasons"` // before
	Memory         smiMemory   `xml:"fb_memory_usage"`
	BAR1           smiMemory   `xml:"bar1_memory_usage"`
	ComputeMode    string      `xml:"compute_mode"`
	UtilGPU        string      `xml:"utilization>gpu_util"`
	UtilMemory     string      `xml:"utilization>memory_util"`
	ECC            string      `xml:"ecc_mode>current_ecc"`
	ECCPending     string      `xml:"ecc_mode>pending_ecc"`
	Volatile       smiECC      `xml:"ecc_errors>volatile"`
	Aggregate      smiECC      `xml:"ecc_errors>aggregate"`
	Retirement     string      `xml:"retired_pages>pending_retirement"`
	Blacklist      string      `xml:"retired_pages>pending_blacklist"` // its name before
	RemapCorr      string      `xml:"remapped_rows>remapped_row_corr"`
	RemapUnc       string      `xml:"remapped_rows>remapped_row_unc"`
	RemapPending   string      `xml:"remapped_rows>remapped_row_pending"`
	RemapFailure   string      `xml:"remapped_rows>remapped_row_failure"`
	Temperature    string      `xml:"temperature>gpu_temp"`
	Power          smiPower    `xml:"gpu_power_readings"` // since driver 535
	OldPower       smiPower    `xml:"power_readings"`     // before
	Clocks         smiClocks   `xml:"clocks"`
	MaxClocks      smiClocks   `xml:"max_clocks"`
	Processes      *struct {
		Text string `xml:",chardata"` // "None", "N/A" or white space around children
		Info []struct {
			PID    string `xml:"pid"`
			Type   string `xml:"type"`
			Memory string `xml:"used_memory"`
		} `xml:"process_info"`
	} `xml:"processes"`
}

type smiMemory struct {
	Total    string `xml:"total"`
	Reserved string `xml:"reserved"`
	Used     string `xml:"used"`
	Free     string `xml:"free"`
}

type smiECC struct {
	SRAM        string `xml:"sram_uncorrectable"`        // Ampere, Turing
	SRAMParity  string `xml:"sram_uncorrectable_parity"` // since Hopper, for newer drivers
	SRAMSecded  string `xml:"sram_uncorrectable_secded"`
	DRAM        string `xml:"dram_uncorrectable"`
	DoubleTotal string `xml:"double_bit>total"` // Volta and older
}

type smiPower struct {
	Draw     string `xml:"power_draw"`
	Average  string `xml:"average_power_draw"` // what NVML's power usage is, where both are given
	Instant  string `xml:"instant_power_draw"`
	Current  string `xml:"current_power_limit"`
	Enforced string `xml:"enforced_power_limit"`
	Default  string `xml:"default_power_limit"`
}

type smiClocks struct {
	Graphics string `xml:"graphics_clock"`
	SM       string `xml:"sm_clock"`
	Memory   string `xml:"mem_clock"`
}

// smiReasons holds clocks_event_reason_X or clocks_throttle_reason_X elements.
type smiReasons struct {
	All []struct {
		XMLName xml.Name
		Value   string `xml:",chardata"`
	} `xml:",any"`
}

func parseSMI(body []byte) (*smiLog, error) {
	var log smiLog
	d := xml.NewDecoder(bytes.NewReader(body))
	d.Strict = false // a process name may hold a bare &
	if err := d.Decode(&log); err != nil {
		var syntax *xml.SyntaxError
		if errors.Is(err, io.EOF) || errors.As(err, &syntax) && syntax.Msg == "unexpected EOF" {
			return nil, errors.New("the XML ends early")
		}
		return nil, fmt.Errorf("read XML: %w", err)
	}
	return &log, nil
}

func (l *smiLog) inventory() Inventory {
	inv := Inventory{Source: SourceSMI}
	inv.Driver, inv.CUDA = smiVersion(l.Driver, l.KMD), smiVersion(l.CUDA, l.UMD)
	for i := range l.GPUs {
		inv.GPUs = append(inv.GPUs, l.GPUs[i].gpu(i))
	}
	return inv
}

func (s *smiGPU) gpu(index int) GPU {
	g := GPU{
		Index: index, State: StateOK,
		Name:           smiName(s.Name),
		BusID:          busID(s.ID),
		Architecture:   smiArchitecture(s.Architecture),
		MemoryTotal:    mib(s.Memory.Total),
		MemoryReserved: mib(s.Memory.Reserved),
		MemoryUsed:     mib(s.Memory.Used),
		MemoryFree:     mib(s.Memory.Free),
		BAR1Total:      mib(s.BAR1.Total),
		BAR1Used:       mib(s.BAR1.Used),

		ECC: enabled(s.ECC), ECCPending: enabled(s.ECCPending),
		VolatileUncorrected:  s.Volatile.uncorrected(),
		AggregateUncorrected: s.Aggregate.uncorrected(),
		RetiredPagesPending:  enabled(s.Retirement),
		MIG:                  enabled(s.MIG), MIGPending: enabled(s.MIGPending),
		Persistence:       enabled(s.Persistence),
		DisplayActive:     enabled(s.Display),
		Temperature:       smiInt(s.Temperature, "C"),
		GraphicsClock:     mhz(s.Clocks.Graphics),
		SMClock:           mhz(s.Clocks.SM),
		MemoryClock:       mhz(s.Clocks.Memory),
		MaxGraphicsClock:  mhz(s.MaxClocks.Graphics),
		MaxSMClock:        mhz(s.MaxClocks.SM),
		MaxMemoryClock:    mhz(s.MaxClocks.Memory),
		UtilizationGPU:    smiInt(s.UtilGPU, "%"),
		UtilizationMemory: smiInt(s.UtilMemory, "%"),
		PCIe: PCIeLink{
			Generation: smiInt(s.LinkGen, ""), MaxGeneration: smiInt(s.MaxLinkGen, ""),
			Width: lanes(s.LinkWidth), MaxWidth: lanes(s.MaxLinkWidth),
		},
		PowerDraw:  watts(s.Power.Draw, s.Power.Average, s.Power.Instant, s.OldPower.Draw),
		PowerLimit: watts(s.Power.Current, s.Power.Enforced, s.OldPower.Enforced),

		PowerDefault: watts(s.Power.Default, s.OldPower.Default),
		GSPFirmware:  smiName(s.GSP),
		UUID:         smiName(s.UUID),
	}
	switch state := FabricState(strings.TrimSpace(s.Fabric.State)); state {
	case FabricNotStarted, FabricInProgress:
		g.Fabric = &Fabric{State: state}
	case FabricCompleted:
		g.Fabric = &Fabric{state, !slices.Contains([]string{"Success", "N/A", ""}, strings.TrimSpace(s.Fabric.Status))}
	}
	if g.RetiredPagesPending == nil {
		g.RetiredPagesPending = enabled(s.Blacklist)
	}
	switch strings.TrimSpace(s.ComputeMode) {
	case "Default":
		g.ComputeMode = new(ComputeDefault)
	case "Exclusive_Thread":
		g.ComputeMode = new(ComputeExclusiveThread)
	case "Exclusive_Process":
		g.ComputeMode = new(ComputeExclusiveProcess)
	case "Prohibited":
		g.ComputeMode = new(ComputeProhibited)
	}
	switch strings.TrimSpace(s.Virtualization) {
	case "None":
		g.Virtualization = "none"
	case "Pass-Through":
		g.Virtualization = "passthrough"
	case "VGPU":
		g.Virtualization = "vgpu"
	case "Host VGPU":
		g.Virtualization = "host-vgpu"
	case "Host VSGA":
		g.Virtualization = "host-vsga"
	}
	corr, unc := smiInt(s.RemapCorr, ""), smiInt(s.RemapUnc, "")
	pending, failed := enabled(s.RemapPending), enabled(s.RemapFailure)
	if corr != nil && unc != nil && pending != nil && failed != nil {
		g.Remap = &RowRemap{*corr, *unc, *pending, *failed}
	}
	if s.Events != nil {
		g.Throttle, g.ThrottleKnown = s.Events.active()
	} else if s.Throttle != nil {
		g.Throttle, g.ThrottleKnown = s.Throttle.active()
	}
	for _, m := range s.MIGDevices {
		at, gi, ci := smiInt(m.Index, ""), smiInt(m.GPUInstance, ""), smiInt(m.ComputeInstance, "")
		if at == nil || gi == nil || ci == nil {
			continue
		}
		g.MIGInstances = append(g.MIGInstances, MIGInstance{
			Index: *at, GPUInstance: *gi, ComputeInstance: *ci,
			MemoryTotal: mib(m.Memory.Total), MemoryFree: mib(m.Memory.Free),
			Multiprocessors: smiInt(m.Multiprocessors, ""),
		})
	}
	if s.Processes != nil {
		text := strings.TrimSpace(s.Processes.Text)
		g.ProcessesKnown = text == "" || text == "None"
		for _, p := range s.Processes.Info {
			if pid := smiInt(p.PID, ""); pid != nil {
				g.addProcess(Process{
					PID: *pid, Memory: mib(p.Memory),
					Compute: strings.Contains(p.Type, "C"), Graphics: strings.Contains(p.Type, "G"),
				})
			}
		}
	}
	return g
}

// addProcess keeps the list sorted, one entry for a process.
func (g *GPU) addProcess(p Process) {
	at, found := slices.BinarySearchFunc(g.Processes, p.PID, func(q Process, pid int) int { return q.PID - pid })
	if !found {
		g.Processes = slices.Insert(g.Processes, at, p)
		return
	}
	q := &g.Processes[at]
	q.Compute, q.Graphics = q.Compute || p.Compute, q.Graphics || p.Graphics
	if p.Memory != nil && (q.Memory == nil || *q.Memory < *p.Memory) {
		q.Memory = p.Memory // the same memory, told once per list
	}
}

var throttleWords = []struct {
	reason ThrottleReason
	suffix string
}{ // in the order of NVML's bits
	{ThrottleIdle, "gpu_idle"},
	{ThrottleApplicationClocks, "applications_clocks_setting"},
	{ThrottleSWPowerCap, "sw_power_cap"},
	{ThrottleHWSlowdown, "hw_slowdown"},
	{ThrottleSyncBoost, "sync_boost"},
	{ThrottleSWThermal, "sw_thermal_slowdown"},
	{ThrottleHWThermal, "hw_thermal_slowdown"},
	{ThrottleHWPowerBrake, "hw_power_brake_slowdown"},
	{ThrottleDisplayClocks, "display_clocks_setting"},
}

func (r *smiReasons) active() (active []ThrottleReason, known bool) {
	state := make(map[string]string)
	for _, e := range r.All {
		_, suffix, _ := strings.Cut(e.XMLName.Local, "_reason_")
		state[suffix] = strings.TrimSpace(e.Value)
	}
	for _, w := range throttleWords {
		switch state[w.suffix] {
		case "Active":
			active, known = append(active, w.reason), true
		case "Not Active":
			known = true
		}
	}
	return active, known
}

func (e smiECC) uncorrected() *uint64 {
	if n := smiUint(e.DoubleTotal, ""); n != nil {
		return n
	}
	var sum *uint64
	for _, s := range []string{e.SRAM, e.SRAMParity, e.SRAMSecded, e.DRAM} {
		if n := smiUint(s, ""); n != nil {
			if sum == nil {
				sum = new(uint64)
			}
			if *sum += *n; *sum < *n {
				*sum = math.MaxUint64
			}
		}
	}
	return sum
}

// smiVersion reads the first of several texts that holds a version.
func smiVersion(texts ...string) Version {
	for _, s := range texts {
		if v, err := ParseVersion(strings.TrimSpace(s)); err == nil {
			return v
		}
	}
	return Version{}
}

func smiName(s string) string {
	if s = oneLine(s); unknownWord(s) {
		return ""
	}
	return s
}

func unknownWord(s string) bool {
	switch strings.Trim(s, "[]") {
	case "", "N/A", "Not Supported", "Unknown", "Unknown Error", "GPU is lost", "ERR!", "Insufficient Permissions", "Requested functionality has been deprecated":
		return true
	}
	return false
}

// smiArchitecture gives the first word: nvidia-smi says "Ada Lovelace", NVML has a number.
func smiArchitecture(s string) string {
	if s = oneLine(s); unknownWord(s) {
		return ""
	}
	return strings.Fields(s)[0]
}

func enabled(s string) *bool {
	switch strings.TrimSpace(s) {
	case "Enabled", "Yes":
		return new(true)
	case "Disabled", "No":
		return new(false)
	}
	return nil
}

// smiUint reads "12 unit".
func smiUint(s, unit string) *uint64 {
	digits, ok := strings.CutSuffix(strings.TrimSpace(s), unit)
	n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 64)
	if !ok || err != nil {
		return nil
	}
	return &n
}

func smiInt(s, unit string) *int {
	n := smiUint(s, unit)
	if n == nil || *n > math.MaxInt32 {
		return nil
	}
	return new(int(*n))
}

func mib(s string) *uint64 {
	n := smiUint(s, "MiB")
	if n == nil || *n > math.MaxUint64>>20 {
		return nil
	}
	return new(*n << 20)
}

func mhz(s string) *uint32 {
	n := smiInt(s, "MHz")
	if n == nil {
		return nil
	}
	return new(uint32(*n))
}

func lanes(s string) *int { return smiInt(s, "x") }

// watts reads the first of several texts that holds a value.
func watts(texts ...string) *float64 {
	for _, s := range texts {
		digits, ok := strings.CutSuffix(strings.TrimSpace(s), "W")
		w, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if ok && err == nil && w >= 0 && w < 1e6 {
			return new(roundWatts(w))
		}
	}
	return nil
}

func roundWatts(w float64) float64 { return math.Round(w*100) / 100 }

// parseCapabilities reads lines of "00000000:01:00.0, 8.6".
func parseCapabilities(out []byte) map[string]Capability {
	found := make(map[string]Capability)
	for line := range strings.Lines(string(out)) {
		bus, version, ok := strings.Cut(line, ",")
		v, err := ParseVersion(strings.TrimSpace(version))
		if id := busID(bus); ok && err == nil && id != "" && v.Major() > 0 {
			found[id] = Capability{v.Major(), v.Minor()}
		}
	}
	return found
}

var (
	smiLinkGPU = regexp.MustCompile(`^GPU ([0-9]{1,3}):`)
	smiLink    = regexp.MustCompile(`^\s+Link [0-9]+: (<inactive>|[0-9.]+ [GM]B/s)\s*$`)
)

// parseLinks reads nvidia-smi nvlink --status by the index of the GPU.
func parseLinks(out []byte) map[int]NVLink {
	found := make(map[int]NVLink)
	at := -1
	for line := range strings.Lines(string(out)) {
		if m := smiLinkGPU.FindStringSubmatch(line); m != nil {
			at, _ = strconv.Atoi(m[1])
		} else if m := smiLink.FindStringSubmatch(line); m != nil && at >= 0 {
			n := found[at]
			if m[1] == "<inactive>" {
				n.Inactive++
			} else {
				n.Active++
			}
			found[at] = n
		}
	}
	return found
}

// nvidia-smi names a GPU it cannot open before its other output, in one of
// these forms: "… for GPU 0000:0A:00.0: GPU is lost.", "… for GPU1: 0000:34:00.0: Unknown Error",
// "… for GPU0000:CB:00.0: Unknown Error".
var lostLine = regexp.MustCompile(`Unable to determine the device handle for [Gg][Pp][Uu] ?(?:(\d{1,3}): ?)?([0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f])?:? ?([^\n]*)`)

func lostGPUs(words string) []GPU {
	var lost []GPU
	for _, m := range lostLine.FindAllStringSubmatch(words, 256) {
		g := GPU{Index: -1, State: StateLost, BusID: busID(m[2]), Detail: oneLine(m[3])}
		if strings.Contains(m[3], "Insufficient Permissions") {
			g.State = StateNoAccess
		}
		if m[1] != "" {
			g.Index, _ = strconv.Atoi(m[1])
		}
		lost = append(lost, g)
	}
	return lost
}

// insert puts a GPU that the XML leaves out at its index or, without one, in
// the order of the bus, which is NVML's.
func (inv *Inventory) insert(g GPU) {
	at := g.Index
	if at < 0 {
		at = len(inv.GPUs)
		for i, other := range inv.GPUs {
			if g.BusID != "" && g.BusID < other.BusID {
				at = i
				break
			}
		}
	}
	inv.GPUs = slices.Insert(inv.GPUs, min(at, len(inv.GPUs)), g)
	for i := range inv.GPUs {
		inv.GPUs[i].Index = i
	}
}
