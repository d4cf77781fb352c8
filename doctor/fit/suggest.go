package fit

import (
	"math/bits"
	"strconv"
	"strings"
)

// LargestBatch returns the largest batch with which the work fits into the
// available bytes, 0 if it does not fit with one.
func LargestBatch(w Work, available int64) int {
	return largest(1, maxBatch, func(n int) bool {
		w.Batch = n
		return fits(w, available)
	})
}

// largestContext returns the longest context up to the work's own that fits, 0
// if none does. A prompt is cut with it.
func largestContext(w Work, available int64) int {
	return largest(1, w.withDefaults().Context, func(n int) bool { return fits(w.withContext(n), available) })
}

func (w Work) withContext(n int) Work {
	w.Context = n
	w.Prompt = min(w.Prompt, n)
	return w
}

// LargestModel returns the largest of Models with which the work fits into the
// available bytes. A context longer than the model's own is cut to that.
func LargestModel(w Work, available int64) (name string, ok bool) {
	// What belongs to the file at hand does not count for another.
	w = w.ofHub()
	for _, m := range Models() {
		w.Model = m.Name
		w = w.withContext(min(w.Context, m.Config.Positions))
		if fits(w, available) {
			return m.Name, true
		}
	}
	return "", false
}

// ofHub is the work without what belongs to a file at hand: with one of the Hub.
func (w Work) ofHub() Work {
	if w.FileBytes, w.GGUF = 0, false; w.Copied {
		w.FileMapped, w.Copied = false, false
	}
	if w.FileDType = ""; w.AsIs { // it has the type still
		w.FileDType = w.DType
	}
	return w
}

func fits(w Work, available int64) bool { return Estimate(w).Total() <= available }

// largest returns the largest n from lo to hi for which ok, which holds up to
// some n and not beyond, holds; 0 if for none.
func largest(lo, hi int, ok func(int) bool) int {
	best := 0
	for lo <= hi {
		mid := lo + (hi-lo)/2
		if ok(mid) {
			best, lo = mid, mid+1
		} else {
			hi = mid - 1
		}
	}
	return best
}

// Setting is a name and a value, by the keys of the command line and of
// finetune.toml: "dtype" "bf16", "lora.rank" "8".
type Setting struct{ Name, Value string }

// Suggestion is a change that makes a piece of work fit.
type Suggestion struct {
	Settings []Setting
	Cost     string // what it costs the user, in a few words
	Work     Work   // with the change
	Memory   Memory // of that
}

// change is one setting to try.
type change struct {
	cost  string
	sized bool // its value depends on what is available, so it comes after those that do not
	// apply returns no settings where it changes nothing.
	apply func(w Work, available int64) (Work, []Setting)
}

// changes are all settings to try, the cheapest first: at the top the result
// stays the same or nearly so, at the bottom it is another one.
func changes(p Purpose) []change {
	dtype := func(d DType, cost string) change {
		return change{cost, false, func(w Work, _ int64) (Work, []Setting) {
			if w.withDefaults().DType.bits() <= d.bits() {
				return w, nil
			}
			// It is packed at load, into memory of its own.
			w.DType, w.AsIs, w.FileBytes, w.FileMapped = d, false, 0, false
			return w, []Setting{{"dtype", string(d)}}
		}}
	}
	context := change{"shorter texts", true, shorter}
	model := change{"a smaller model, whose texts are worse", true, smaller}
	if p != Finetune {
		return []change{
			dtype(BF16, "the numbers change in the third digit"),
			dtype(Q8_0, "the text changes a little"),
			{"fewer texts at once", true, fewer},
			context,
			dtype(Q4_0, "the text becomes worse"),
			model,
		}
	}
	return []change{
		{"the same steps, in several parts", true, accumulate},
		{"the same steps, about a third slower", false, func(w Work, _ int64) (Work, []Setting) {
			if w.Checkpointing {
				return w, nil
			}
			w.Checkpointing = true
			return w, []Setting{{"checkpointing", "true"}}
		}},
		context,
		{"only small additions to the model are trained", false, func(w Work, _ int64) (Work, []Setting) {
			if w.LoRA.Rank > 0 {
				return w, nil
			}
			const rank = 8
			w.LoRA = LoRA{Rank: rank}
			return w, []Setting{{"lora.rank", strconv.Itoa(rank)}}
		}},
		model,
	}
}

// fewer takes the largest batch that fits, or one sequence if none does.
func fewer(w Work, available int64) (Work, []Setting) {
	n := max(1, LargestBatch(w, available))
	if n >= w.withDefaults().Batch {
		return w, nil
	}
	w.Batch = n
	return w, []Setting{{"batch", strconv.Itoa(n)}}
}

// accumulate cuts the batch into equal parts of the largest size that fits.
func accumulate(w Work, available int64) (Work, []Setting) {
	whole := w.withDefaults().Batch
	n := max(1, min(whole, LargestBatch(w, available)))
	for whole%n != 0 {
		n--
	}
	if n == whole {
		return w, nil
	}
	w.Batch = n
	return w, []Setting{{"batch", strconv.Itoa(n)}, {"accumulate", strconv.Itoa(whole / n)}}
}

// leastContext is the shortest text that is worth suggesting; longer ones are
// multiples of it.
const leastContext = 64

func shorter(w Work, available int64) (Work, []Setting) {
	n := max(leastContext, largestContext(w, available)/leastContext*leastContext)
	if n >= w.withDefaults().Context {
		return w, nil
	}
	return w.withContext(n), []Setting{{"context", strconv.Itoa(n)}}
}

// smaller takes the largest model that fits, or the smallest there is.
func smaller(w Work, available int64) (Work, []Setting) {
	list := Models()
	name, ok := LargestModel(w, available)
	if !ok {
		name = list[len(list)-1].Name
	}
	m, _ := Lookup(name)
	if m.Config.Parameters() >= w.withDefaults().Config.Parameters() {
		return w, nil
	}
	w = w.ofHub()
	w.Model = name
	w = w.withContext(min(w.Context, m.Config.Positions))
	return w, []Setting{{"model", name}}
}

// Suggest returns changes with which work that does not fit into the available
// bytes would, the cheapest first: by the dearest setting in each. None has a
// setting that it does not need. There are none if the work fits as it is, if
// Check finds it wrong, or if nothing helps.
func Suggest(w Work, available int64) []Suggestion {
	if w.Check() != nil || fits(w, available) {
		return nil
	}
	all := changes(w.withDefaults().Purpose)
	var found []Suggestion
	for dearest := range all {
		if s, ok := cheapest(w, available, all[:dearest+1]); ok {
			found = append(found, s)
		}
	}
	return found
}

// cheapest returns the fewest of the changes that make the work fit, the last
// among them, if none of them can be left out.
func cheapest(w Work, available int64, list []change) (best Suggestion, ok bool) {
	last := 1 << (len(list) - 1)
	fewest := len(list) + 1
	for set := last; set < 2*last; set++ {
		n := bits.OnesCount(uint(set))
		if n >= fewest {
			continue
		}
		s, all := together(w, available, list, set)
		if all && s.Memory.Total() <= available && needed(w, available, list, set) {
			best, fewest = s, n
		}
	}
	return best, fewest <= len(list)
}

// needed reports whether the work does not fit with one change less.
func needed(w Work, available int64, list []change, set int) bool {
	for i := range list {
		if less := set &^ (1 << i); less != set && less != 0 {
			if s, _ := together(w, available, list, less); s.Memory.Total() <= available {
				return false
			}
		}
	}
	return true
}

// together applies the changes of a set (bit i: list[i]), and reports whether
// all of them changed something.
func together(w Work, available int64, list []change, set int) (s Suggestion, all bool) {
	s, all = Suggestion{Work: w}, true
	var costs []string
	for _, sized := range [...]bool{false, true} {
		for i, c := range list {
			if set&(1<<i) == 0 || c.sized != sized {
				continue
			}
			next, settings := c.apply(s.Work, available)
			all = all && len(settings) > 0
			s.Work, s.Settings = next, append(s.Settings, settings...)
			costs = append(costs, c.cost)
		}
	}
	s.Cost = strings.Join(costs, "; ")
	s.Memory = Estimate(s.Work)
	return s, all
}
