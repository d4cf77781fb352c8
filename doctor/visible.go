package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// gpuVisible reads CUDA_VISIBLE_DEVICES as CUDA does: a list of numbers, of
// beginnings of UUIDs, or of MIG devices; from the first that is wrong on, the
// rest is not seen (CUDA C++ Programming Guide, "CUDA Environment Variables").
func gpuVisible(_ context.Context, e *Env) Finding {
	const name = "CUDA_VISIBLE_DEVICES"
	value, set := e.Host.Env(name)
	if !set {
		return passed("not set")
	}
	unset := func(f Finding) Finding {
		return f.needs("unset, or GPUs that are here").mend("unset "+name, "unset or mend it")
	}
	if strings.TrimSpace(value) == "" {
		return unset(judged(e.driverVerdict(), "set, and empty: it hides all GPUs"))
	}
	var chosen []int
	gpus := e.gpus().GPUs
	for i, word := range strings.Split(value, ",") {
		word = strings.TrimSpace(word)
		index, wrong := -1, ""
		n, err := strconv.Atoi(word)
		switch {
		case err == nil && n < 0:
			wrong = fmt.Sprintf("%d ends the list", n)
		case err == nil && len(gpus) > 0 && n >= len(gpus):
			wrong = fmt.Sprintf("there is no GPU %d, of %d", n, len(gpus))
		case err == nil:
			index = n
		case strings.HasPrefix(word, "MIG-"):
			if i == 0 {
				return skipped("it chooses a slice of a GPU; whether that is here is not told")
			}
			continue
		case strings.HasPrefix(word, "GPU-"):
			var found []int
			known := true
			for _, d := range gpus {
				known = known && d.UUID != ""
				if strings.HasPrefix(strings.ToLower(d.UUID), strings.ToLower(word)) {
					found = append(found, d.Index)
				}
			}
			switch {
			case !known || len(gpus) == 0:
				return skipped("it chooses by UUID, and not all GPUs tell theirs")
			case len(found) == 0:
				wrong = "no GPU here has that UUID"
			case len(found) > 1:
				wrong = "that beginning of a UUID fits more than one GPU"
			default:
				index = found[0]
			}
		default:
			wrong = fmt.Sprintf("%.20q is no GPU", word)
		}
		if wrong == "" && slices.Contains(chosen, index) {
			// CUDA then shows none at all.
			return unset(judged(e.driverVerdict(), "it names GPU %d twice, which hides all", index))
		}
		switch {
		case wrong == "":
			chosen = append(chosen, index)
			continue
		case i == 0:
			return unset(judged(e.driverVerdict(), "%s: it hides all GPUs", wrong))
		case n < 0 && err == nil: // -1 in the end is a custom, not a mistake
			return passed("%s", visible(chosen, len(gpus)))
		}
		return unset(warned("%s: that and all after it is not seen, only %s", wrong, visible(chosen, len(gpus))))
	}
	return passed("%s", visible(chosen, len(gpus)))
}

// visible says how many are chosen.
func visible(chosen []int, all int) string {
	var names []string
	for _, i := range chosen {
		names = append(names, strconv.Itoa(i))
	}
	s := "GPU " + strings.Join(names, ", ")
	if all > 0 {
		s += fmt.Sprintf(" of %d", all)
	}
	return s
}
