package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/gptctl/gptctl/finetune"
	"github.com/gptctl/gptctl/finetune/corpus"
	"github.com/gptctl/gptctl/finetune/corpus/source"
)

// aboutSettings is where a user finds what a setting takes.
const aboutSettings = "gptctl finetune --print-config lists the settings and what they mean"

// stoppedEarly is an interruption before there was anything to save.
type stoppedEarly struct{ err error }

func (e stoppedEarly) Error() string { return "interrupted before the first step" }
func (e stoppedEarly) Unwrap() error { return e.err }

// finetuneHints adds what mends a training that failed.
func finetuneHints(o finetuneOptions, err error) error {
	s := o.settings
	goOn := "gptctl finetune --resume --out " + shellWord(s.Out)
	var exists *finetune.ExistsError
	var busy *finetune.BusyError
	var memory *finetune.MemoryError
	var room *finetune.RoomError
	var stopped *finetune.InterruptedError
	var save *finetune.SaveError
	var spike *finetune.SpikeError
	var bad *finetune.NonFiniteError
	var changed *finetune.ChangedError
	var mismatch *finetune.MismatchError
	var damaged *finetune.DamagedError
	var setting *finetune.SettingError
	switch {
	case errors.As(err, &stopped):
		return withHints(err, goOn+" goes on")
	case errors.Is(err, context.Canceled) && o.resume:
		return withHints(stoppedEarly{err}, "nothing was lost; "+goOn+" goes on")
	case errors.Is(err, context.Canceled):
		return withHints(stoppedEarly{err}, "nothing is half done; the same command begins again")
	case errors.As(err, &busy):
		return withHints(err, "wait for it, stop it with Ctrl-C (it saves), or write to another folder")
	case errors.As(err, &exists) && exists.Run:
		return withHints(err, goOn+" goes on with it", "--force begins anew, and removes it")
	case errors.As(err, &exists) && exists.Foreign:
		return withHints(err, "write to a new folder, such as --out "+shellWord(strings.TrimRight(s.Out, "/")+"/my-model"))
	case errors.As(err, &exists):
		return withHints(err, "write to a new folder, or let --force replace the model in this one")
	case errors.As(err, &memory):
		var hints []string
		words, costs := memory.Overrides()
		for i := range words {
			hints = append(hints, fmt.Sprintf("%s would fit (%s)", words[i], costs[i]))
		}
		if len(hints) == 0 {
			hints = []string{"gptctl doctor --for finetune says which model would fit"}
		}
		return withHints(err, hints...)
	case errors.As(err, &room):
		hints := []string{"free some room, or write to another disk"}
		if s.Keep > 1 {
			hints = append(hints, "keep=1 keeps fewer checkpoints")
		}
		return withHints(err, hints...)
	case errors.As(err, &save) && save.Previous < 0:
		return withHints(err, "free some room, or write to another disk; nothing was saved yet")
	case errors.As(err, &save):
		if errors.Is(err, syscall.ENOSPC) {
			return withHints(err, "free some room, then: "+goOn)
		}
		return withHints(err, goOn+" goes on from the last checkpoint")
	case errors.As(err, &spike) && spike.Reason != "": // it went back already
		return withHints(err, goOn+" spike=warn goes on regardless", "a lower lr, or other texts, make it less likely")
	case errors.As(err, &spike):
		return withHints(err, goOn+" spike=rollback goes back and leaves out the texts that made it", "spike=warn goes on regardless; a lower lr makes it less likely")
	case errors.As(err, &bad):
		return nonFiniteHints(s, bad, err)
	case errors.As(err, &changed):
		hints := []string{"leave it out, or begin anew with --force or in another folder"}
		switch changed.Key {
		case "steps", "epochs", "lr", "schedule":
			hints = append(hints, "to train on from the finished model: gptctl finetune --model "+shellWord(s.Out)+" --data … --out ANOTHER")
		}
		return withHints(err, hints...)
	case errors.As(err, &mismatch) && mismatch.Key == "data":
		return withHints(err, "a training goes on with the very texts it was begun with: put them back, or begin anew with --force or in another folder")
	case errors.As(err, &mismatch):
		return withHints(err, "name the model that it was begun with, as it was, or begin anew with --force or in another folder")
	case errors.As(err, &setting):
		return withHints(&usageError{err}, aboutSettings)
	case errors.Is(err, finetune.ErrNothingToResume) && errors.As(err, &damaged):
		return withHints(err, "put the checkpoints back from a copy, or begin anew with --force or in another folder")
	case errors.Is(err, finetune.ErrNothingToResume):
		return withHints(err, "without --resume a training begins")
	}
	return corpusHints(o, err)
}

// corpusHints adds what mends texts, folders and models that cannot be used.
func corpusHints(o finetuneOptions, err error) error {
	s := o.settings
	var mend *source.MendError
	var empty *corpus.EmptyError
	var small *corpus.TooSmallError
	var little *finetune.TooLittleError
	var model *finetune.ModelError
	switch {
	case errors.As(err, &mend):
		return withHints(err, mend.Mend)
	case errors.As(err, &empty) && empty.Documents == 0:
		return withHints(err, "name files with text in them: --data notes.txt")
	case errors.As(err, &empty):
		return withHints(err, "--data-report shows what each step took; no_clean=STEP switches one off")
	case errors.As(err, &small) && small.Validation:
		return withHints(err, "validation=0 holds nothing out; validation_data=FILE names texts of their own")
	case errors.As(err, &small):
		return withHints(err, "name more texts, or hold out less of them: validation=0")
	case errors.As(err, &little):
		hints := []string{"name more texts"}
		if little.Tokens >= 8 {
			row := 8
			for int64(2*row) <= little.Tokens {
				row *= 2
			}
			hints = append(hints, fmt.Sprintf("context=%d makes shorter rows", row))
		}
		return withHints(err, hints...)
	case errors.As(err, &model):
		return modelHints(s.Model, err)
	case errors.Is(err, fs.ErrPermission):
		return withHints(err, "this user may not write there: write to another folder with --out")
	case errors.Is(err, syscall.ENOSPC):
		return withHints(err, "free some room, then: gptctl finetune --resume --out "+shellWord(s.Out))
	case errors.Is(err, fs.ErrNotExist) && s.Init != "" && strings.Contains(err.Error(), s.Init):
		return withHints(err, "--init is the config.json of the model to make, --tokenizer a folder with a tokenizer, or bytes")
	}
	return err
}

func nonFiniteHints(s finetune.Settings, bad *finetune.NonFiniteError, err error) error {
	var hints []string
	if bad.Step > 1 { // the first is taken with the weights that were given
		peak := max(s.LR, bad.LR)
		hints = append(hints, fmt.Sprintf("a lower learning rate than %.2g is steadier: lr=%.1g", peak, peak/10))
		if s.Clip == 0 {
			hints = append(hints, "clip=1 keeps a step from being too large")
		}
	} else {
		hints = append(hints, "the model to begin with is not fit for use: fetch or export it again")
	}
	if s.Precision == "fp16" {
		hints = append(hints, "--precision bf16 does not overflow")
	}
	return withHints(err, hints...)
}

// shellWord quotes a word for a shell where it must be.
func shellWord(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
