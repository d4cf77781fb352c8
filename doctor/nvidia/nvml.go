//go:build linux && cgo

package nvidia

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	_ "github.com/gptctl/gptctl/doctor/nvidia/lazy" // or the program may not start
)

// nvmlLock lets one probe at a time into the library: go-nvml keeps state of
// its own for the whole process. A probe that hangs in the driver keeps it, so
// that later ones time out without getting stuck beside it.
var nvmlLock = make(chan struct{}, 1)

func probeNVML(ctx context.Context, opt Options) Inventory {
	select {
	case nvmlLock <- struct{}{}:
	case <-ctx.Done():
		return Inventory{State: StateTimeout, Source: SourceNVML, Detail: "an earlier call still hangs in the driver"}
	}
	defer func() { <-nvmlLock }()
	var options []nvml.LibraryOption
	name := "libnvidia-ml.so.1"
	if opt.Library != "" {
		name = opt.Library
		options = append(options, nvml.WithLibraryPath(name))
	}
	inv := readNVML(nvml.New(options...))
	if inv.State == StateNoLibrary {
		inv.Detail = name + " cannot be opened"
	}
	return inv
}

// nvmlReader asks only for functions the library has: one that an old driver
// lacks would end the whole process at its first call (lazy binding).
type nvmlReader struct {
	lib  nvml.Interface
	have func(symbols string) bool // one of those between the bars; go-nvml picks the newest version itself
}

func newNVMLReader(lib nvml.Interface) *nvmlReader {
	lookup := sync.OnceValue(lib.Extensions) // after Init, which opens the library
	return &nvmlReader{lib, func(symbols string) bool {
		for symbol := range strings.SplitSeq(symbols, "|") {
			if lookup().LookupSymbol(symbol) == nil {
				return true
			}
		}
		return false
	}}
}

func readNVML(lib nvml.Interface) Inventory {
	r := newNVMLReader(lib)
	inv := Inventory{Source: SourceNVML}
	if ret := lib.Init(); ret != nvml.SUCCESS {
		inv.State, inv.Detail = nvmlState(ret), nvmlWords(ret)
		if inv.State == StateMismatch && r.have("nvmlSystemGetNVMLVersion") {
			if text, ret := lib.SystemGetNVMLVersion(); ret == nvml.SUCCESS {
				inv.Library = libraryVersion(text)
			}
		}
		return inv
	}
	defer lib.Shutdown()
	if r.have("nvmlSystemGetDriverVersion") {
		if text, ret := lib.SystemGetDriverVersion(); ret == nvml.SUCCESS {
			inv.Driver, _ = ParseVersion(text)
		}
	}
	if r.have("nvmlSystemGetCudaDriverVersion") {
		if n, ret := lib.SystemGetCudaDriverVersion(); ret == nvml.SUCCESS && n > 0 {
			inv.CUDA, _ = ParseVersion(fmt.Sprintf("%d.%d", n/1000, n%1000/10))
		}
	}
	count, ret := lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		inv.State, inv.Detail = nvmlState(ret), nvmlWords(ret)
		return inv
	}
	for i := range min(count, 1024) {
		inv.GPUs = append(inv.GPUs, r.gpu(i))
	}
	inv.settle()
	return inv
}

// libraryVersion takes the CUDA version off the front of NVML's: 12.535.183.01 is driver 535.183.01.
func libraryVersion(text string) Version {
	v, _ := ParseVersion(text)
	if v.Major() < 100 && v.Minor() >= 100 {
		_, text, _ = strings.Cut(text, ".")
		v, _ = ParseVersion(text)
	}
	return v
}

// nvmlGPU gathers the answers of one device and what went wrong among them.
type nvmlGPU struct {
	*nvmlReader
	dev  nvml.Device
	lost nvml.Return // SUCCESS, or why the device must not be asked any more
}

// ask calls for one value; nil if the library, driver or device does not give it.
func ask[T any](d *nvmlGPU, symbol string, call func() (T, nvml.Return)) *T {
	if d.lost != nvml.SUCCESS || !d.have(symbol) {
		return nil
	}
	v, ret := call()
	switch ret {
	case nvml.SUCCESS:
		return &v
	case nvml.ERROR_GPU_IS_LOST, nvml.ERROR_RESET_REQUIRED:
		d.lost = ret
	}
	return nil
}

// both is an answer of two values.
type both[T any] struct{ now, other T }

func pair[T any](a, b T, ret nvml.Return) (both[T], nvml.Return) { return both[T]{a, b}, ret }

func (r *nvmlReader) gpu(index int) GPU {
	g := GPU{Index: index, State: StateOK}
	dev, ret := r.lib.DeviceGetHandleByIndex(index)
	if ret != nvml.SUCCESS {
		g.State, g.Detail = nvmlState(ret), nvmlWords(ret)
		if ret == nvml.ERROR_UNKNOWN { // what a GPU off the bus answers in practice
			g.State = StateLost
		}
		return g
	}
	d := &nvmlGPU{nvmlReader: r, dev: dev}
	if p := ask(d, "nvmlDeviceGetPciInfo_v3|nvmlDeviceGetPciInfo_v2|nvmlDeviceGetPciInfo", dev.GetPciInfo); p != nil {
		g.BusID = busID(cText(p.BusId[:]))
	}
	if name := ask(d, "nvmlDeviceGetName", dev.GetName); name != nil {
		g.Name = smiName(*name)
	}
	if a := ask(d, "nvmlDeviceGetArchitecture", dev.GetArchitecture); a != nil {
		g.Architecture = nvmlArchitectures[*a]
	}
	if c := ask(d, "nvmlDeviceGetCudaComputeCapability", func() (both[int], nvml.Return) { return pair(dev.GetCudaComputeCapability()) }); c != nil && c.now > 0 {
		g.Capability = &Capability{c.now, c.other}
	}
	if id := ask(d, "nvmlDeviceGetUUID", dev.GetUUID); id != nil {
		g.UUID = smiName(*id)
	}
	d.memory(&g)
	d.health(&g)
	d.links(&g)
	d.modes(&g)
	d.mig(&g)
	d.speed(&g)
	d.processes(&g)
	if d.lost != nvml.SUCCESS {
		g = GPU{Index: index, State: StateLost, Detail: nvmlWords(d.lost), BusID: g.BusID, Name: g.Name}
	}
	return g
}

func (d *nvmlGPU) memory(g *GPU) {
	if m := ask(d, "nvmlDeviceGetMemoryInfo_v2", d.dev.GetMemoryInfo_v2); m != nil {
		g.MemoryTotal, g.MemoryReserved, g.MemoryUsed, g.MemoryFree = &m.Total, &m.Reserved, &m.Used, &m.Free
	} else if m := ask(d, "nvmlDeviceGetMemoryInfo", d.dev.GetMemoryInfo); m != nil {
		g.MemoryTotal, g.MemoryUsed, g.MemoryFree = &m.Total, &m.Used, &m.Free
	}
	if b := ask(d, "nvmlDeviceGetBAR1MemoryInfo", d.dev.GetBAR1MemoryInfo); b != nil {
		g.BAR1Total, g.BAR1Used = &b.Bar1Total, &b.Bar1Used
	}
}

func (d *nvmlGPU) health(g *GPU) {
	if e := ask(d, "nvmlDeviceGetEccMode", func() (both[nvml.EnableState], nvml.Return) { return pair(d.dev.GetEccMode()) }); e != nil {
		g.ECC, g.ECCPending = new(e.now == nvml.FEATURE_ENABLED), new(e.other == nvml.FEATURE_ENABLED)
	}
	errors := func(counter nvml.EccCounterType) *uint64 {
		return ask(d, "nvmlDeviceGetTotalEccErrors", func() (uint64, nvml.Return) {
			return d.dev.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, counter)
		})
	}
	g.VolatileUncorrected, g.AggregateUncorrected = errors(nvml.VOLATILE_ECC), errors(nvml.AGGREGATE_ECC)
	g.Remap = ask(d, "nvmlDeviceGetRemappedRows", func() (RowRemap, nvml.Return) {
		corr, unc, pending, failed, ret := d.dev.GetRemappedRows()
		return RowRemap{corr, unc, pending, failed}, ret
	})
	g.RetiredPagesPending = d.enabled("nvmlDeviceGetRetiredPagesPendingStatus", d.dev.GetRetiredPagesPendingStatus)
}

func (d *nvmlGPU) enabled(symbol string, call func() (nvml.EnableState, nvml.Return)) *bool {
	if s := ask(d, symbol, call); s != nil {
		return new(*s == nvml.FEATURE_ENABLED)
	}
	return nil
}

func (d *nvmlGPU) modes(g *GPU) {
	g.Persistence = d.enabled("nvmlDeviceGetPersistenceMode", d.dev.GetPersistenceMode)
	g.DisplayActive = d.enabled("nvmlDeviceGetDisplayActive", d.dev.GetDisplayActive)
	if m := ask(d, "nvmlDeviceGetComputeMode", d.dev.GetComputeMode); m != nil {
		switch *m {
		case nvml.COMPUTEMODE_DEFAULT:
			g.ComputeMode = new(ComputeDefault)
		case nvml.COMPUTEMODE_EXCLUSIVE_THREAD:
			g.ComputeMode = new(ComputeExclusiveThread)
		case nvml.COMPUTEMODE_EXCLUSIVE_PROCESS:
			g.ComputeMode = new(ComputeExclusiveProcess)
		case nvml.COMPUTEMODE_PROHIBITED:
			g.ComputeMode = new(ComputeProhibited)
		}
	}
	if v := ask(d, "nvmlDeviceGetVirtualizationMode", d.dev.GetVirtualizationMode); v != nil {
		switch *v {
		case nvml.GPU_VIRTUALIZATION_MODE_NONE:
			g.Virtualization = "none"
		case nvml.GPU_VIRTUALIZATION_MODE_PASSTHROUGH:
			g.Virtualization = "passthrough"
		case nvml.GPU_VIRTUALIZATION_MODE_VGPU:
			g.Virtualization = "vgpu"
		case nvml.GPU_VIRTUALIZATION_MODE_HOST_VGPU:
			g.Virtualization = "host-vgpu"
		case nvml.GPU_VIRTUALIZATION_MODE_HOST_VSGA:
			g.Virtualization = "host-vsga"
		}
	}
}

func (d *nvmlGPU) mig(g *GPU) {
	m := ask(d, "nvmlDeviceGetMigMode", func() (both[int], nvml.Return) { return pair(d.dev.GetMigMode()) })
	if m == nil {
		return
	}
	g.MIG, g.MIGPending = new(m.now == nvml.DEVICE_MIG_ENABLE), new(m.other == nvml.DEVICE_MIG_ENABLE)
	if !*g.MIG || !d.have("nvmlDeviceGetMigDeviceHandleByIndex") {
		return
	}
	slots := ask(d, "nvmlDeviceGetMaxMigDeviceCount", d.dev.GetMaxMigDeviceCount)
	if slots == nil {
		return
	}
	for i := range min(*slots, 64) {
		dev, ret := d.dev.GetMigDeviceHandleByIndex(i)
		if ret != nvml.SUCCESS {
			continue // an empty slot
		}
		part := &nvmlGPU{nvmlReader: d.nvmlReader, dev: dev}
		gi := ask(part, "nvmlDeviceGetGpuInstanceId", dev.GetGpuInstanceId)
		ci := ask(part, "nvmlDeviceGetComputeInstanceId", dev.GetComputeInstanceId)
		if gi == nil || ci == nil {
			continue
		}
		instance := MIGInstance{Index: i, GPUInstance: *gi, ComputeInstance: *ci}
		if a := ask(part, "nvmlDeviceGetAttributes_v2|nvmlDeviceGetAttributes", dev.GetAttributes); a != nil {
			instance.Multiprocessors = new(int(a.MultiprocessorCount))
		}
		var memory GPU
		part.memory(&memory)
		instance.MemoryTotal, instance.MemoryFree = memory.MemoryTotal, memory.MemoryFree
		g.MIGInstances = append(g.MIGInstances, instance)
	}
}

func (d *nvmlGPU) speed(g *GPU) {
	milliwatts := func(symbol string, call func() (uint32, nvml.Return)) *float64 {
		if mw := ask(d, symbol, call); mw != nil {
			return new(roundWatts(float64(*mw) / 1000))
		}
		return nil
	}
	g.PowerDraw = milliwatts("nvmlDeviceGetPowerUsage", d.dev.GetPowerUsage)
	g.PowerLimit = milliwatts("nvmlDeviceGetEnforcedPowerLimit", d.dev.GetEnforcedPowerLimit)
	g.PowerDefault = milliwatts("nvmlDeviceGetPowerManagementDefaultLimit", d.dev.GetPowerManagementDefaultLimit)
	if t := ask(d, "nvmlDeviceGetTemperature", func() (uint32, nvml.Return) { return d.dev.GetTemperature(nvml.TEMPERATURE_GPU) }); t != nil {
		g.Temperature = new(int(*t))
	}
	clock := func(symbol string, call func(nvml.ClockType) (uint32, nvml.Return), kind nvml.ClockType) *uint32 {
		return ask(d, symbol, func() (uint32, nvml.Return) { return call(kind) })
	}
	g.GraphicsClock = clock("nvmlDeviceGetClockInfo", d.dev.GetClockInfo, nvml.CLOCK_GRAPHICS)
	g.SMClock = clock("nvmlDeviceGetClockInfo", d.dev.GetClockInfo, nvml.CLOCK_SM)
	g.MemoryClock = clock("nvmlDeviceGetClockInfo", d.dev.GetClockInfo, nvml.CLOCK_MEM)
	g.MaxGraphicsClock = clock("nvmlDeviceGetMaxClockInfo", d.dev.GetMaxClockInfo, nvml.CLOCK_GRAPHICS)
	g.MaxSMClock = clock("nvmlDeviceGetMaxClockInfo", d.dev.GetMaxClockInfo, nvml.CLOCK_SM)
	g.MaxMemoryClock = clock("nvmlDeviceGetMaxClockInfo", d.dev.GetMaxClockInfo, nvml.CLOCK_MEM)

	bits := ask(d, "nvmlDeviceGetCurrentClocksEventReasons", d.dev.GetCurrentClocksEventReasons)
	if bits == nil { // its name before driver 535
		bits = ask(d, "nvmlDeviceGetCurrentClocksThrottleReasons", d.dev.GetCurrentClocksThrottleReasons)
	}
	if bits != nil {
		g.ThrottleKnown = true
		for i, w := range throttleWords {
			if *bits>>i&1 != 0 {
				g.Throttle = append(g.Throttle, w.reason)
			}
		}
	}

	g.PCIe.Generation = ask(d, "nvmlDeviceGetCurrPcieLinkGeneration", d.dev.GetCurrPcieLinkGeneration)
	g.PCIe.MaxGeneration = ask(d, "nvmlDeviceGetMaxPcieLinkGeneration", d.dev.GetMaxPcieLinkGeneration)
	g.PCIe.Width = ask(d, "nvmlDeviceGetCurrPcieLinkWidth", d.dev.GetCurrPcieLinkWidth)
	g.PCIe.MaxWidth = ask(d, "nvmlDeviceGetMaxPcieLinkWidth", d.dev.GetMaxPcieLinkWidth)
	if u := ask(d, "nvmlDeviceGetUtilizationRates", d.dev.GetUtilizationRates); u != nil {
		g.UtilizationGPU, g.UtilizationMemory = new(int(u.Gpu)), new(int(u.Memory))
	}
}

func (d *nvmlGPU) links(g *GPU) {
	if v := ask(d, "nvmlDeviceGetGspFirmwareVersion", d.dev.GetGspFirmwareVersion); v != nil {
		g.GSPFirmware = smiName(*v)
	}
	if f := ask(d, "nvmlDeviceGetGpuFabricInfo", d.dev.GetGpuFabricInfo); f != nil {
		fabric := Fabric{State: map[uint8]FabricState{
			nvml.GPU_FABRIC_STATE_NOT_STARTED: FabricNotStarted, nvml.GPU_FABRIC_STATE_IN_PROGRESS: FabricInProgress,
			nvml.GPU_FABRIC_STATE_COMPLETED: FabricCompleted,
		}[f.State]}
		fabric.Failed = fabric.State == FabricCompleted && nvml.Return(f.Status) != nvml.SUCCESS
		if fabric.State != "" {
			g.Fabric = &fabric
		}
	}
	var links NVLink
	for i := range nvml.NVLINK_MAX_LINKS {
		state := ask(d, "nvmlDeviceGetNvLinkState", func() (nvml.EnableState, nvml.Return) { return d.dev.GetNvLinkState(i) })
		switch {
		case state == nil: // beyond the last, or none at all
		case *state == nvml.FEATURE_ENABLED:
			links.Active++
		default:
			links.Inactive++
		}
		if state == nil {
			break
		}
	}
	if links != (NVLink{}) {
		g.NVLink = &links
	}
}

func (d *nvmlGPU) processes(g *GPU) {
	compute := ask(d, "nvmlDeviceGetComputeRunningProcesses_v3|nvmlDeviceGetComputeRunningProcesses_v2|nvmlDeviceGetComputeRunningProcesses", d.dev.GetComputeRunningProcesses)
	graphics := ask(d, "nvmlDeviceGetGraphicsRunningProcesses_v3|nvmlDeviceGetGraphicsRunningProcesses_v2|nvmlDeviceGetGraphicsRunningProcesses", d.dev.GetGraphicsRunningProcesses)
	g.ProcessesKnown = compute != nil
	add := func(list *[]nvml.ProcessInfo, p Process) {
		if list == nil {
			return
		}
		for _, info := range *list {
			p := p
			p.PID = int(info.Pid)
			if info.UsedGpuMemory != ^uint64(0) { // NVML_VALUE_NOT_AVAILABLE
				p.Memory = new(info.UsedGpuMemory)
			}
			g.addProcess(p)
		}
	}
	add(compute, Process{Compute: true})
	add(graphics, Process{Graphics: true})
}

var nvmlArchitectures = map[nvml.DeviceArchitecture]string{
	nvml.DEVICE_ARCH_KEPLER: "Kepler", nvml.DEVICE_ARCH_MAXWELL: "Maxwell", nvml.DEVICE_ARCH_PASCAL: "Pascal",
	nvml.DEVICE_ARCH_VOLTA: "Volta", nvml.DEVICE_ARCH_TURING: "Turing", nvml.DEVICE_ARCH_AMPERE: "Ampere",
	nvml.DEVICE_ARCH_ADA: "Ada", nvml.DEVICE_ARCH_HOPPER: "Hopper", nvml.DEVICE_ARCH_BLACKWELL: "Blackwell",
	nvml.DEVICE_ARCH_RUBIN: "Rubin",
}

func cText(chars []int8) string {
	var b strings.Builder
	for _, c := range chars {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

func nvmlState(ret nvml.Return) State {
	switch ret {
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return StateNoLibrary
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return StateNoDriver
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return StateMismatch
	case nvml.ERROR_NO_PERMISSION:
		return StateNoAccess
	case nvml.ERROR_GPU_NOT_FOUND:
		return StateNoDevice
	case nvml.ERROR_GPU_IS_LOST, nvml.ERROR_RESET_REQUIRED:
		return StateLost
	case nvml.ERROR_TIMEOUT:
		return StateTimeout
	}
	return StateFailed
}

// nvmlWords has its own words because the library's need the library.
func nvmlWords(ret nvml.Return) string {
	switch ret {
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return "NVML library not found"
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return "the NVIDIA kernel driver is not loaded"
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return "driver/library version mismatch"
	case nvml.ERROR_NO_PERMISSION:
		return "insufficient permissions"
	case nvml.ERROR_GPU_NOT_FOUND:
		return "no GPU found"
	case nvml.ERROR_GPU_IS_LOST:
		return "GPU is lost: it fell off the bus or cannot be reached"
	case nvml.ERROR_RESET_REQUIRED:
		return "the GPU requires a reset"
	case nvml.ERROR_TIMEOUT:
		return "the driver timed out"
	case nvml.ERROR_INSUFFICIENT_POWER:
		return "external power cables are not attached"
	case nvml.ERROR_IRQ_ISSUE:
		return "the kernel reports an interrupt problem with a GPU"
	case nvml.ERROR_CORRUPTED_INFOROM:
		return "the inforom is corrupted"
	case nvml.ERROR_OPERATING_SYSTEM:
		return "the operating system or a container blocks the GPU"
	case nvml.ERROR_UNKNOWN:
		return "unknown error of the driver"
	}
	return fmt.Sprintf("NVML error %d", int(ret))
}
