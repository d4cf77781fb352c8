package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/gptctl/gptctl/internal/lora"
	"github.com/gptctl/gptctl/internal/machine"
	"github.com/gptctl/gptctl/run"
)

// adapterModel takes the model from the adapter where none was given.
func adapterModel(t *terminal, o *runOptions) error {
	if o.adapter == "" || o.named {
		return nil
	}
	base, err := run.AdapterBase(o.adapter)
	if err != nil {
		return err
	}
	if base == "" {
		return withHints(fmt.Errorf("adapter %s does not say which model it is for", o.adapter), "gptctl run --model MODEL --adapter "+o.adapter)
	}
	o.model = base
	t.detail("adapter %s is for the model %s", o.adapter, base)
	return nil
}

// adapterHints adds what mends an adapter and a model that do not go together.
func adapterHints(o runOptions, err error) error {
	var adapter *lora.Error
	switch {
	case o.adapter == "":
		return err
	case !o.named && !errors.As(err, &adapter):
		return withHints(err, fmt.Sprintf("the adapter says it is for %s; where that model is, say with --model", o.model))
	case o.named && errors.As(err, &adapter):
		if base, err2 := run.AdapterBase(o.adapter); err2 == nil && base != "" && base != o.model {
			return withHints(err, "the adapter says it is for the model "+base)
		}
	}
	return err
}

// adapterRoom refuses an adapter whose sums with the weights do not fit into
// memory.
func adapterRoom(ctx context.Context) func(int64) error {
	return func(bytes int64) error {
		available, ok := freeMemory(ctx, machine.Local())
		if !ok || bytes <= available {
			return nil
		}
		return withHints(fmt.Errorf("the matrices with the adapter added take %s of memory, and %s are free", size(bytes), size(available)),
			"--dtype q8_0 or q4_0 takes a quarter or an eighth of f32")
	}
}
