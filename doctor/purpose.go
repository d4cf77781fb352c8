package doctor

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/doctor/nvidia"
)

// Purpose is how far the machine is ready for one of the verbs.
type Purpose struct {
	Ready        bool       `json:"ready"`
	Device       fit.Device `json:"device"`        // "" if on none
	LargestModel string     `json:"largest_model"` // of the GPT-2 family, "" if none fits
	Why          string     `json:"why"`

	idle string // GPUs that would hold it, on which this program does not compute
}

// Place is a device with the memory that is free on it, and how the work of
// --for fits there.
type Place struct {
	Device         fit.Device `json:"device"`
	Name           string     `json:"name"`
	Usable         bool       `json:"usable"` // this program computes on it
	AvailableBytes int64      `json:"available_bytes"`
	NeededBytes    int64      `json:"needed_bytes"`
	Fits           bool       `json:"fits"`
	LargestBatch   int        `json:"largest_batch"`
	LargestModel   string     `json:"largest_model"`
	// Suggestions are settings with which it would fit, the cheapest first.
	Suggestions []string `json:"suggestions,omitempty"`
}

// places are the devices of this machine: the GPUs that answer, or their slices,
// then the CPU.
func (e *Env) places() []Place {
	var all []Place
	free, _, err := e.freeMemory()
	add := func(d fit.Device, bytes uint64, format string, args ...any) {
		all = append(all, Place{Device: d, Name: fmt.Sprintf(format, args...), Usable: e.computes(d), AvailableBytes: int64(min(bytes, math.MaxInt64))})
	}
	for _, d := range e.gpus().GPUs {
		switch {
		case d.State != nvidia.StateOK, d.ComputeMode != nil && *d.ComputeMode == nvidia.ComputeProhibited:
		case d.MIG != nil && *d.MIG: // it computes in slices only
			for _, s := range d.MIGInstances {
				if s.MemoryFree != nil {
					add(fit.CUDA, *s.MemoryFree, "GPU %d, slice %d, %s", d.Index, s.Index, d.Name)
				}
			}
		case d.MemoryFree != nil:
			add(fit.CUDA, *d.MemoryFree, "GPU %d, %s", d.Index, d.Name)
		case d.MemoryTotal == nil && d.Name != "" && err == nil: // GB10, Jetson
			add(fit.CUDA, free, "GPU %d, %s, in the machine's memory", d.Index, d.Name)
		}
	}
	if err == nil {
		add(fit.CPU, free, "CPU")
	}
	return all
}

func (e *Env) computes(d fit.Device) bool {
	for _, have := range e.options.Devices {
		if have == d {
			return true
		}
	}
	return false
}

// purposes tells for each verb the largest model and where, by the settings
// of --for where that is the verb.
func (e *Env) purposes(findings []Finding) map[string]Purpose {
	places := e.places()
	blocked := ""
	for _, f := range findings {
		// What stops gptctl itself, rather than the reference set-up.
		if f.Verdict == Fail && (f.ID == "disk.filesystem" || f.ID == "disk.inodes" || f.ID == "disk.speed") {
			blocked = fmt.Sprintf("%s: %s", f.ID, f.Found)
		}
	}
	all := map[string]Purpose{}
	for _, p := range []fit.Purpose{fit.Run, fit.Finetune, fit.Serve} {
		w := fit.Work{Purpose: p, Model: "gpt2", AsIs: true, FileMapped: p != fit.Finetune}
		if e.work != nil && e.work.Purpose == p {
			w = e.work.Work
		}
		w.Threads, w.Kernels, w.Program = e.options.Threads, e.options.Kernels, e.options.Program
		all[string(p)] = e.purpose(w, places, blocked)
	}
	return all
}

func (e *Env) purpose(w fit.Work, places []Place, blocked string) Purpose {
	asked := e.work != nil && e.work.Purpose == w.Purpose
	var best Purpose
	var why []string
	for _, place := range places {
		w := w
		w.Device = place.Device
		if asked && e.work.Required && e.work.Device != place.Device {
			continue
		}
		need := fit.Estimate(w).Total()
		name, ok := fit.LargestModel(w, place.AvailableBytes)
		switch {
		case !place.Usable:
			if ok {
				best.idle = place.Name + " is not used: this program does not compute there yet"
				why = append(why, fmt.Sprintf("%s would hold %s, but this program does not compute there yet", place.Name, name))
			}
		case need > place.AvailableBytes:
			why = append(why, fmt.Sprintf("%s needs %s, %s has %s free", e.target(w), gb(uint64(need)), place.Name, gb(uint64(place.AvailableBytes))))
		case !best.Ready:
			best = Purpose{Ready: true, Device: place.Device, LargestModel: name, idle: best.idle}
			why = append([]string{fmt.Sprintf("%s needs %s, %s has %s free", e.target(w), gb(uint64(need)), place.Name, gb(uint64(place.AvailableBytes)))}, why...)
		}
		if ok && place.Usable && best.LargestModel == "" {
			best.LargestModel = name
		}
	}
	switch {
	case len(places) == 0:
		why = []string{"the free memory of this machine is not known"}
	case len(why) == 0:
		why = []string{"there is no such device here"}
	}
	if blocked != "" && best.Ready {
		best.Ready = false
		why = append([]string{blocked}, why...)
	}
	best.Why = strings.Join(why, "; ")
	return best
}

// target names a piece of work: "gpt2 in f32, batch 8".
func (e *Env) target(w fit.Work) string {
	name := ""
	if e.work != nil && w.Model == "" {
		name = e.work.Name
	}
	return target(w, name)
}

func target(w fit.Work, name string) string {
	s := cmp.Or(w.Model, name, "the model")
	if w.Purpose == fit.Finetune && w.Precision != "" {
		s += " in " + string(w.Precision)
	}
	if w.DType != "" && w.Purpose != fit.Finetune {
		s += " in " + string(w.DType)
	}
	if w.Batch > 1 {
		s += fmt.Sprintf(", batch %d", w.Batch)
	}
	if w.Context > 0 {
		s += fmt.Sprintf(", context %d", w.Context)
	}
	return s
}

// fitting tells how the work of --for fits on each device.
func (e *Env) fitting() []Place {
	if e.work == nil {
		return nil
	}
	places := e.places()
	for i := range places {
		p := &places[i]
		w := e.work.Work
		w.Device = p.Device
		p.NeededBytes = fit.Estimate(w).Total()
		p.Fits = p.NeededBytes <= p.AvailableBytes
		p.LargestBatch = fit.LargestBatch(w, p.AvailableBytes)
		p.LargestModel, _ = fit.LargestModel(w, p.AvailableBytes)
		for _, s := range fit.Suggest(w, p.AvailableBytes) {
			var settings []string
			for _, v := range s.Settings {
				settings = append(settings, v.Name+"="+v.Value)
			}
			p.Suggestions = append(p.Suggestions, fmt.Sprintf("%s (%s; %s)", strings.Join(settings, " "), gb(uint64(s.Memory.Total())), s.Cost))
		}
	}
	return places
}
