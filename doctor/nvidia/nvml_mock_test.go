//go:build linux && cgo

package nvidia

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxb200"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh200"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/gpus"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
)

// answers makes every call of the device that go-nvml's mock leaves open give ret and a zero.
func answers(d *mock.Device, ret nvml.Return) {
	number := func() (uint32, nvml.Return) { return 0, ret }
	whole := func() (int, nvml.Return) { return 0, ret }
	state := func() (nvml.EnableState, nvml.Return) { return 0, ret }
	bits := func() (uint64, nvml.Return) { return 0, ret }
	clock := func(nvml.ClockType) (uint32, nvml.Return) { return 0, ret }
	processes := func() ([]nvml.ProcessInfo, nvml.Return) { return nil, ret }
	d.GetMemoryInfo_v2Func = func() (nvml.Memory_v2, nvml.Return) { return nvml.Memory_v2{}, ret }
	d.GetBAR1MemoryInfoFunc = func() (nvml.BAR1Memory, nvml.Return) { return nvml.BAR1Memory{}, ret }
	d.GetEccModeFunc = func() (nvml.EnableState, nvml.EnableState, nvml.Return) { return 0, 0, ret }
	d.GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) { return 0, ret }
	d.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 0, 0, false, false, ret }
	d.GetRetiredPagesPendingStatusFunc = state
	d.GetPersistenceModeFunc = state
	d.GetDisplayActiveFunc = state
	d.GetComputeModeFunc = func() (nvml.ComputeMode, nvml.Return) { return 0, ret }
	d.GetVirtualizationModeFunc = func() (nvml.GpuVirtualizationMode, nvml.Return) { return 0, ret }
	d.GetPowerUsageFunc = number
	d.GetEnforcedPowerLimitFunc = number
	d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 0, ret }
	d.GetClockInfoFunc = clock
	d.GetMaxClockInfoFunc = clock
	d.GetCurrentClocksEventReasonsFunc = bits
	d.GetCurrentClocksThrottleReasonsFunc = bits
	d.GetCurrPcieLinkGenerationFunc = whole
	d.GetMaxPcieLinkGenerationFunc = whole
	d.GetCurrPcieLinkWidthFunc = whole
	d.GetMaxPcieLinkWidthFunc = whole
	d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{}, ret }
	d.GetPowerManagementDefaultLimitFunc = number
	d.GetGspFirmwareVersionFunc = func() (string, nvml.Return) { return "", ret }
	d.GetGpuFabricInfoFunc = func() (nvml.GpuFabricInfo, nvml.Return) { return nvml.GpuFabricInfo{}, ret }
	d.GetNvLinkStateFunc = func(int) (nvml.EnableState, nvml.Return) { return 0, ret }
	d.GetUUIDFunc = func() (string, nvml.Return) { return "", ret }
	d.GetComputeRunningProcessesFunc = processes
	d.GetGraphicsRunningProcessesFunc = processes
}

func pciInfo(bus string) func() (nvml.PciInfo, nvml.Return) {
	var p nvml.PciInfo
	for i := range len(bus) {
		p.BusId[i] = int8(bus[i])
	}
	return func() (nvml.PciInfo, nvml.Return) { return p, nvml.SUCCESS }
}

// full gives a device the values of testdata/smi/h100-v12.xml.
func full(d *server.Device) {
	answers(&d.Device, nvml.ERROR_NOT_SUPPORTED)
	d.GetPciInfoFunc = pciInfo("00000000:19:00.0")
	d.GetMemoryInfo_v2Func = func() (nvml.Memory_v2, nvml.Return) {
		return nvml.Memory_v2{Total: 81559 << 20, Reserved: 477 << 20, Used: 20000 << 20, Free: 61082 << 20}, nvml.SUCCESS
	}
	d.GetBAR1MemoryInfoFunc = func() (nvml.BAR1Memory, nvml.Return) {
		return nvml.BAR1Memory{Bar1Total: 131072 << 20, Bar1Free: 131069 << 20, Bar1Used: 3 << 20}, nvml.SUCCESS
	}
	d.GetEccModeFunc = func() (nvml.EnableState, nvml.EnableState, nvml.Return) {
		return nvml.FEATURE_ENABLED, nvml.FEATURE_DISABLED, nvml.SUCCESS
	}
	d.GetTotalEccErrorsFunc = func(kind nvml.MemoryErrorType, counter nvml.EccCounterType) (uint64, nvml.Return) {
		if kind != nvml.MEMORY_ERROR_TYPE_UNCORRECTED {
			return 18, nvml.SUCCESS
		}
		return map[nvml.EccCounterType]uint64{nvml.VOLATILE_ECC: 7, nvml.AGGREGATE_ECC: 24}[counter], nvml.SUCCESS
	}
	d.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 1, 2, true, false, nvml.SUCCESS }
	d.GetPersistenceModeFunc = func() (nvml.EnableState, nvml.Return) { return nvml.FEATURE_ENABLED, nvml.SUCCESS }
	d.GetDisplayActiveFunc = func() (nvml.EnableState, nvml.Return) { return nvml.FEATURE_DISABLED, nvml.SUCCESS }
	d.GetComputeModeFunc = func() (nvml.ComputeMode, nvml.Return) { return nvml.COMPUTEMODE_EXCLUSIVE_PROCESS, nvml.SUCCESS }
	d.GetVirtualizationModeFunc = func() (nvml.GpuVirtualizationMode, nvml.Return) {
		return nvml.GPU_VIRTUALIZATION_MODE_NONE, nvml.SUCCESS
	}
	d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 650121, nvml.SUCCESS }
	d.GetEnforcedPowerLimitFunc = func() (uint32, nvml.Return) { return 700000, nvml.SUCCESS }
	d.GetPowerManagementDefaultLimitFunc = d.GetEnforcedPowerLimitFunc
	d.GetGspFirmwareVersionFunc = func() (string, nvml.Return) { return "550.54.15", nvml.SUCCESS }
	d.GetGpuFabricInfoFunc = func() (nvml.GpuFabricInfo, nvml.Return) {
		return nvml.GpuFabricInfo{State: nvml.GPU_FABRIC_STATE_COMPLETED}, nvml.SUCCESS
	}
	d.GetNvLinkStateFunc = func(i int) (nvml.EnableState, nvml.Return) {
		switch {
		case i < 17:
			return nvml.FEATURE_ENABLED, nvml.SUCCESS
		case i == 17:
			return nvml.FEATURE_DISABLED, nvml.SUCCESS
		}
		return 0, nvml.ERROR_INVALID_ARGUMENT
	}
	d.GetUUIDFunc = func() (string, nvml.Return) { return "GPU-00000000-0000-0000-0000-000000000000", nvml.SUCCESS }
	d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 71, nvml.SUCCESS }
	clocks := func(values ...uint32) func(nvml.ClockType) (uint32, nvml.Return) {
		return func(c nvml.ClockType) (uint32, nvml.Return) { return values[c], nvml.SUCCESS }
	}
	d.GetClockInfoFunc, d.GetMaxClockInfoFunc = clocks(1700, 1695, 2619), clocks(1980, 1975, 2620)
	d.GetCurrentClocksEventReasonsFunc = func() (uint64, nvml.Return) {
		return nvml.ClocksEventReasonSwPowerCap | nvml.ClocksThrottleReasonHwThermalSlowdown, nvml.SUCCESS
	}
	d.GetCurrPcieLinkGenerationFunc = func() (int, nvml.Return) { return 4, nvml.SUCCESS }
	d.GetMaxPcieLinkGenerationFunc = func() (int, nvml.Return) { return 5, nvml.SUCCESS }
	d.GetCurrPcieLinkWidthFunc = func() (int, nvml.Return) { return 8, nvml.SUCCESS }
	d.GetMaxPcieLinkWidthFunc = func() (int, nvml.Return) { return 16, nvml.SUCCESS }
	d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 87, Memory: 41}, nvml.SUCCESS }
	d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
		return []nvml.ProcessInfo{{Pid: 4242, UsedGpuMemory: 19000 << 20}}, nvml.SUCCESS
	}
	d.GetGraphicsRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
		return []nvml.ProcessInfo{{Pid: 17, UsedGpuMemory: ^uint64(0)}}, nvml.SUCCESS
	}
}

func device(s *server.Server, i int) *server.Device { return s.Devices[i].(*server.Device) }

// fromNVML is an nvidia-smi inventory as NVML should give it.
func fromNVML(inv Inventory) Inventory { inv.Source = SourceNVML; return inv }

func TestNVMLEqualsSMI(t *testing.T) {
	s := dgxh100.NewWithGPUs(gpus.H100_SXM5_80GB)
	full(device(s, 0))
	compare(t, readNVML(s), fromNVML(h100(t)))
	compare(t, readNVML(s), fromNVML(probeFile(t, "h100-v12.xml", "00000000:19:00.0, 9.0")))

	withMIG(device(s, 0))
	compare(t, readNVML(s), fromNVML(probeFile(t, "mig-v12.xml", "00000000:19:00.0, 9.0")))
}

// Links, firmware and power in other states than the healthy one.
func TestNVMLLinksEqualSMI(t *testing.T) {
	text, err := os.ReadFile("testdata/smi/h100-v12.xml")
	if err != nil {
		t.Fatal(err)
	}
	const completed = "<state>Completed</state>\n\t\t\t<status>Success</status>"
	for _, test := range []struct {
		name, old, new string
		change         func(d *server.Device)
	}{
		{"not started", completed, "<state>Not Started</state><status>N/A</status>", func(d *server.Device) {
			d.GetGpuFabricInfoFunc = func() (nvml.GpuFabricInfo, nvml.Return) {
				return nvml.GpuFabricInfo{State: nvml.GPU_FABRIC_STATE_NOT_STARTED}, nvml.SUCCESS
			}
		}},
		{"in progress", completed, "<state>In Progress</state><status>N/A</status>", func(d *server.Device) {
			d.GetGpuFabricInfoFunc = func() (nvml.GpuFabricInfo, nvml.Return) {
				return nvml.GpuFabricInfo{State: nvml.GPU_FABRIC_STATE_IN_PROGRESS}, nvml.SUCCESS
			}
		}},
		{"failed", completed, "<state>Completed</state><status>Unknown Error</status>", func(d *server.Device) {
			d.GetGpuFabricInfoFunc = func() (nvml.GpuFabricInfo, nvml.Return) {
				return nvml.GpuFabricInfo{State: nvml.GPU_FABRIC_STATE_COMPLETED, Status: uint32(nvml.ERROR_UNKNOWN)}, nvml.SUCCESS
			}
		}},
		{"no fabric", completed, "<state>N/A</state><status>N/A</status>", func(d *server.Device) {
			d.GetGpuFabricInfoFunc = func() (nvml.GpuFabricInfo, nvml.Return) {
				return nvml.GpuFabricInfo{State: nvml.GPU_FABRIC_STATE_NOT_SUPPORTED}, nvml.SUCCESS
			}
		}},
		{"no firmware", "<gsp_firmware_version>550.54.15", "<gsp_firmware_version>N/A", func(d *server.Device) {
			d.GetGspFirmwareVersionFunc = func() (string, nvml.Return) { return "", nvml.ERROR_NOT_SUPPORTED }
		}},
		{"a virtual GPU", "<virtualization_mode>None", "<virtualization_mode>VGPU", func(d *server.Device) {
			d.GetVirtualizationModeFunc = func() (nvml.GpuVirtualizationMode, nvml.Return) {
				return nvml.GPU_VIRTUALIZATION_MODE_VGPU, nvml.SUCCESS
			}
		}},
		{"power capped", "<current_power_limit>700.00 W", "<current_power_limit>400.00 W", func(d *server.Device) {
			d.GetEnforcedPowerLimitFunc = func() (uint32, nvml.Return) { return 400000, nvml.SUCCESS }
		}},
		{"link idle", "<current_link_gen>4", "<current_link_gen>1", func(d *server.Device) {
			d.GetCurrPcieLinkGenerationFunc = func() (int, nvml.Return) { return 1, nvml.SUCCESS }
		}},
		{"window full", "<used>3 MiB", "<used>131000 MiB", func(d *server.Device) {
			d.GetBAR1MemoryInfoFunc = func() (nvml.BAR1Memory, nvml.Return) {
				return nvml.BAR1Memory{Bar1Total: 131072 << 20, Bar1Used: 131000 << 20}, nvml.SUCCESS
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !strings.Contains(string(text), test.old) {
				t.Fatalf("no %q in the file", test.old)
			}
			xml := filepath.Join(t.TempDir(), "h100-v12.xml")
			if err := os.WriteFile(xml, []byte(strings.Replace(string(text), test.old, test.new, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			smi := Probe(t.Context(), Options{Source: SourceSMI, SMI: fakeSMI(t, "cat '"+xml+"'", "echo 00000000:19:00.0, 9.0"), Root: t.TempDir(), Timeout: time.Minute})
			s := dgxh100.NewWithGPUs(gpus.H100_SXM5_80GB)
			full(device(s, 0))
			test.change(device(s, 0))
			compare(t, readNVML(s), fromNVML(smi))
		})
	}
}

func withMIG(d *server.Device) {
	d.MigMode = nvml.DEVICE_MIG_ENABLE
	d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{}, nvml.ERROR_NOT_SUPPORTED }
	none := func() ([]nvml.ProcessInfo, nvml.Return) { return nil, nvml.SUCCESS }
	d.GetComputeRunningProcessesFunc, d.GetGraphicsRunningProcessesFunc = none, none
	d.GetMaxMigDeviceCountFunc = func() (int, nvml.Return) { return 7, nvml.SUCCESS }
	d.GetMigDeviceHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		part := func(gi, ci int, sms uint32, total, free uint64) (nvml.Device, nvml.Return) {
			var d mock.Device
			answers(&d, nvml.ERROR_NOT_SUPPORTED)
			d.GetGpuInstanceIdFunc = func() (int, nvml.Return) { return gi, nvml.SUCCESS }
			d.GetComputeInstanceIdFunc = func() (int, nvml.Return) { return ci, nvml.SUCCESS }
			d.GetAttributesFunc = func() (nvml.DeviceAttributes, nvml.Return) {
				return nvml.DeviceAttributes{MultiprocessorCount: sms}, nvml.SUCCESS
			}
			d.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) {
				return nvml.Memory{Total: total << 20, Free: free << 20, Used: (total - free) << 20}, nvml.SUCCESS
			}
			return &d, nvml.SUCCESS
		}
		switch i {
		case 0:
			return part(1, 0, 60, 40448, 40151)
		case 2:
			return part(9, 0, 16, 9984, 9971)
		}
		return nil, nvml.ERROR_NOT_FOUND
	}
}

func TestNVMLUnsupported(t *testing.T) {
	s := dgxh100.NewWithGPUs(gpus.H100_SXM5_80GB)
	d := device(s, 0)
	answers(&d.Device, nvml.ERROR_NOT_SUPPORTED)
	s.DriverVersion, s.CudaDriverVersion = "470.256.02", 11040
	d.GetPciInfoFunc = pciInfo("00000000:01:00.0")
	d.GetNameFunc = func() (string, nvml.Return) { return "NVIDIA GB10", nvml.SUCCESS }
	d.GetArchitectureFunc = func() (nvml.DeviceArchitecture, nvml.Return) { return nvml.DEVICE_ARCH_BLACKWELL, nvml.SUCCESS }
	d.GetCudaComputeCapabilityFunc = func() (int, int, nvml.Return) { return 0, 0, nvml.ERROR_NOT_SUPPORTED }
	d.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, nvml.ERROR_NOT_SUPPORTED }
	d.GetMigModeFunc = func() (int, int, nvml.Return) { return 0, 0, nvml.ERROR_NOT_SUPPORTED }
	compare(t, readNVML(s), fromNVML(probeFile(t, "unsupported-v11.xml", "")))
}

// go-nvml's machines: what they tell arrives, what they leave open is absent.
func TestNVMLMocks(t *testing.T) {
	tests := []struct {
		name       string
		server     *server.Server
		gpu, arch  string
		capability Capability
		memory     uint64
	}{
		{"A100", dgxa100.New(), "Mock NVIDIA A100-SXM4-40GB", "Ampere", Capability{8, 0}, 40960 << 20},
		{"H100", dgxh100.New(), "NVIDIA H100 80GB HBM3", "Hopper", Capability{9, 0}, 81920 << 20},
		{"H200", dgxh200.New(), "NVIDIA H200 141GB HBM3e", "Hopper", Capability{9, 0}, 144384 << 20},
		{"B200", dgxb200.New(), "NVIDIA B200 180GB HBM3e", "Blackwell", Capability{10, 0}, 184320 << 20},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for i := range test.server.Devices {
				answers(&device(test.server, i).Device, nvml.ERROR_NOT_SUPPORTED)
			}
			inv := readNVML(test.server)
			if inv.State != StateOK || len(inv.GPUs) != 8 || inv.Driver.IsZero() || inv.CUDA.IsZero() {
				t.Fatalf("got %+v", inv)
			}
			for i, g := range inv.GPUs {
				if g.Index != i || g.Name != test.gpu || g.Architecture != test.arch || *g.Capability != test.capability || *g.MemoryTotal != test.memory || g.Temperature != nil || g.ProcessesKnown {
					t.Errorf("GPU %d: got %+v (memory %d)", i, g, *g.MemoryTotal>>20)
				}
			}
		})
	}
}

func TestNVMLDeviceFailures(t *testing.T) {
	s := dgxh100.NewWithGPUs(gpus.Multiple(4, gpus.H100_SXM5_80GB)...)
	for i := range s.Devices {
		full(device(s, i))
	}
	device(s, 2).GetPowerUsageFunc = func() (uint32, nvml.Return) { return 0, nvml.ERROR_GPU_IS_LOST } // while it is asked
	handle := s.DeviceGetHandleByIndexFunc
	s.DeviceGetHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		switch i {
		case 1:
			return nil, nvml.ERROR_UNKNOWN
		case 3:
			return nil, nvml.ERROR_NO_PERMISSION
		}
		return handle(i)
	}
	inv := readNVML(s)
	var states []State
	for _, g := range inv.GPUs {
		states = append(states, g.State)
	}
	compare(t, states, []State{StateOK, StateLost, StateLost, StateNoAccess})
	if inv.State != StateLost || inv.GPUs[2].PowerDraw != nil || inv.GPUs[2].MemoryTotal != nil {
		t.Errorf("got %s, %+v", inv.State, inv.GPUs[2])
	}

	s.DeviceGetHandleByIndexFunc = func(int) (nvml.Device, nvml.Return) { return nil, nvml.ERROR_NO_PERMISSION }
	if inv := readNVML(s); inv.State != StateNoAccess {
		t.Errorf("no GPU may be opened: got %s", inv.State)
	}
	s.DeviceGetHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		if i == 0 {
			return handle(i)
		}
		return nil, nvml.ERROR_NO_PERMISSION
	}
	if inv := readNVML(s); inv.State != StateOK { // a container that was given one of them
		t.Errorf("one GPU may be opened: got %s", inv.State)
	}
}
