package kernel

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// candidate is a family that this processor has, and whether it computes right.
type candidate struct {
	*ops
	verdict func() error // the self-test, made when first asked for
}

// candidates lists the families, the best first. What a processor computes does
// not change, so that one answer serves the whole process.
var candidates = sync.OnceValue(func() []candidate { return judged(families()) })

func judged(all []*ops) []candidate {
	list := make([]candidate, len(all))
	for i, o := range all {
		list[i] = candidate{o, sync.OnceValue(o.selfTest)}
	}
	// Plain Go is what the others are held to, and what is left without them.
	list[len(list)-1].verdict = func() error { return nil }
	return list
}

// refusal is a family that the processor has, but that cannot be used.
type refusal struct {
	family string
	err    error
}

// RefusedError says that the processor has a family and the system does not allow it.
type RefusedError struct {
	Family string
	Err    error
}

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// CheckFamily says why the family of that name cannot be used, if so: a *RefusedError
// where the system is against it.
func CheckFamily(name string) error {
	_, err := find(candidates(), refusals(), name)
	return err
}

func find(list []candidate, refused []refusal, name string) (*ops, error) {
	for _, r := range refused {
		if r.family == name {
			return nil, &RefusedError{name, r.err}
		}
	}
	i := slices.IndexFunc(list, func(c candidate) bool { return c.name == name })
	if i < 0 {
		return nil, fmt.Errorf("this machine has %s", strings.Join(names(list), ", "))
	}
	if err := list[i].verdict(); err != nil {
		return nil, fmt.Errorf("it computes wrongly here (%w); this machine has %s", err, strings.Join(names(list), ", "))
	}
	return list[i].ops, nil
}

// choose returns the family of that name, or the best, and what spoke against
// better ones.
func choose(list []candidate, refused []refusal, name string) (*ops, []string, error) {
	if name != "" {
		o, err := find(list, refused, name)
		if err != nil {
			err = fmt.Errorf("kernel family %q: %w", name, err)
		}
		return o, nil, err
	}
	var skipped []string
	for _, r := range refused {
		skipped = append(skipped, fmt.Sprintf("%s: %v", r.family, r.err))
	}
	last := len(list) - 1
	for _, c := range list[:last] {
		err := c.verdict()
		if err == nil {
			return c.ops, skipped, nil
		}
		skipped = append(skipped, fmt.Sprintf("%s: %v", c.name, err))
	}
	return list[last].ops, skipped, nil
}

// names lists those that pass their self-test.
func names(list []candidate) []string {
	var n []string
	for _, c := range list {
		if c.verdict() == nil {
			n = append(n, c.name)
		}
	}
	return n
}

// Families lists what this machine can run, the best first.
func Families() []string { return names(candidates()) }
