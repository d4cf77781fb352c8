package nvidia

import (
	"strings"
	"testing"
)

func TestMinDriver(t *testing.T) {
	for _, test := range []struct{ cuda, goos, want string }{
		{"13.2", "linux", "580"}, {"13.0", "windows", "580"}, {"12.9", "linux", "525.60.13"}, {"12.0", "windows", "528.33"},
		{"11.8", "linux", "450.80.02"}, {"11.1", "linux", "450.80.02"}, {"11.0", "linux", "450.36.06"}, {"10.2", "linux", "440.33"}, {"9.2", "linux", ""},
	} {
		got, ok := MinDriver(version(t, test.cuda), test.goos)
		if got.String() != test.want || ok != (test.want != "") {
			t.Errorf("CUDA %s on %s: got %s, want %s", test.cuda, test.goos, got, test.want)
		}
	}
}

func TestTorchIndexes(t *testing.T) {
	for _, test := range []struct {
		driver, cuda string
		capability   *Capability
		want         string
	}{
		{"590.44.01", "13.1", &Capability{12, 0}, "cu130 cu129 cu128 cu132? cpu"},
		{"580.65.06", "13.0", &Capability{9, 0}, "cu130 cu129 cu128 cu126 cu124 cu121 cu118 cu132? cpu"},
		{"580.65.06", "13.0", &Capability{6, 1}, "cu126 cu124 cu121 cu118 cpu"}, // Pascal stays on CUDA 12
		{"570.26", "12.8", &Capability{12, 0}, "cu128 cu129? cpu"},
		{"550.54.15", "12.4", &Capability{8, 6}, "cu124 cu121 cu118 cu126? cu128? cu129? cpu"},
		{"470.256.02", "11.4", &Capability{8, 0}, "cu118? cpu"},
		{"390.157", "9.1", nil, "cpu"},
		{"", "", nil, "cpu"},
		{"535.183.01", "", nil, "cu129 cu128 cu126 cu124 cu121 cu118 cpu"},
		{"580.65.06", "13.0", &Capability{3, 0}, "cpu"},
	} {
		var got []string
		for _, index := range TorchIndexes(fixed(test.driver), fixed(test.cuda), test.capability, "linux") {
			name := index.Name
			if index.MinorCompat {
				name += "?"
			}
			got = append(got, name)
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("driver %s, capability %v: got %s, want %s", test.driver, test.capability, s, test.want)
		}
	}
}

func TestCompatible(t *testing.T) {
	for _, test := range []struct {
		name  string
		setup Setup
		want  string
	}{
		{"nothing known", Setup{}, ""},
		{"in order", Setup{Driver: fixed("580.65.06"), Toolkit: fixed("13.0"), CUDNN: fixed("9.17.0"), TorchCUDA: fixed("13.0"), Capability: &Capability{9, 0}, OpenModule: new(true)}, ""},
		{"old driver", Setup{Driver: fixed("550.54.15"), Toolkit: fixed("12.8"), TorchCUDA: fixed("13.0")}, "driver-torch 580"},
		{"Pascal on a new driver", Setup{Driver: fixed("620.10"), Toolkit: fixed("13.1"), CUDNN: fixed("9.17.0"), TorchCUDA: fixed("13.0"), Capability: &Capability{6, 1}, OpenModule: new(true)},
			"toolkit-gpu 12.9, torch-gpu 12.9, cudnn-gpu 9.10.2, module-gpu , driver-gpu 580"},
		{"Blackwell on an old toolkit", Setup{Driver: fixed("570.26"), Toolkit: fixed("12.4.1"), TorchCUDA: fixed("12.6"), Capability: &Capability{12, 0}, OpenModule: new(false)}, "toolkit-gpu 12.8, torch-gpu 12.8, module-gpu "},
		{"cuDNN of another CUDA", Setup{Toolkit: fixed("12.4"), CUDNN: fixed("9.17.0"), CUDNNCUDA: fixed("13")}, "cudnn-toolkit "},
		{"cuDNN too old", Setup{Toolkit: fixed("12.4"), CUDNN: fixed("8.5.0")}, "cudnn-toolkit 8.8.0"},
		{"cuDNN too new", Setup{Toolkit: fixed("11.8"), CUDNN: fixed("9.17.0")}, "cudnn-toolkit 9.10.2"},
		{"last toolkit patch", Setup{Toolkit: fixed("12.9.1"), Capability: &Capability{7, 0}}, ""},
		{"Fermi", Setup{Capability: &Capability{2, 1}}, "gpu-driver "},
	} {
		test.setup.OS = "linux"
		var got []string
		for _, c := range Compatible(test.setup) {
			got = append(got, c.Between[0]+"-"+c.Between[1]+" "+c.Need.String())
			if c.Why == "" {
				t.Errorf("%s: %v without a reason", test.name, c.Between)
			}
		}
		if s := strings.Join(got, ", "); s != test.want {
			t.Errorf("%s: got %s, want %s", test.name, s, test.want)
		}
	}
}

func TestAbility(t *testing.T) {
	for c, want := range map[Capability]Ability{
		{5, 2}:  {},
		{6, 0}:  {FP16: true},
		{6, 1}:  {INT8: true},
		{7, 0}:  {FP16: true, FP16Tensor: true, INT8: true},
		{7, 5}:  {FP16: true, FP16Tensor: true, INT8: true, INT8Tensor: true},
		{8, 6}:  {FP16: true, FP16Tensor: true, BF16: true, TF32: true, INT8: true, INT8Tensor: true},
		{8, 9}:  {FP16: true, FP16Tensor: true, BF16: true, TF32: true, INT8: true, INT8Tensor: true, FP8: true},
		{12, 0}: {FP16: true, FP16Tensor: true, BF16: true, TF32: true, INT8: true, INT8Tensor: true, FP8: true, FP4: true},
	} {
		if got := AbilityOf(c); got != want {
			t.Errorf("%s: got %+v, want %+v", c, got, want)
		}
	}
	for i := 1; i < len(capabilityRows); i++ {
		if a, b := capabilityRows[i-1].from, capabilityRows[i].from; !a.AtLeast(b.Major, b.Minor) {
			t.Errorf("rows %s and %s are out of order", a, b)
		}
	}
}
