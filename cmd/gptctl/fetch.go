package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gptctl/gptctl/fetch"
)

// fetchOptions are what `gptctl fetch` was asked for.
type fetchOptions struct {
	fetch.Options
	list, verify, remove, yes bool
	rate                      string
}

const fetchHelp = `Bring a model from the Hugging Face Hub to this machine, verified.

Every byte is compared with the hash that the Hub states before a file gets its
name. A download that was cut off, by whatever, goes on where it was; of a file
that the disk has spoilt only the bad range comes again. The files lie where
transformers and the other Python tools look for them, and theirs are used.

MODEL is a Hub id such as gpt2 or openai-community/gpt2, with @REVISION for a
branch, a tag or a commit. HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE,
HF_HUB_OFFLINE and the proxy variables are honoured. Further mirrors are tried in
order after HF_ENDPOINT.

Only what running the model needs is fetched: configuration, tokenizer, and the
weights as safetensors (pytorch_model.bin where there is nothing else).`

// newFetch makes the verb; start is for tests of the flags, nil the real thing.
func newFetch(t *terminal, start func(context.Context, *terminal, fetchOptions) error) *cobra.Command {
	if start == nil {
		start = runFetch
	}
	var o fetchOptions
	cmd := &cobra.Command{
		Use:   "fetch MODEL[@REVISION]",
		Short: "Download a model from the Hugging Face Hub, verified",
		Long:  fetchHelp,
		Example: `  gptctl fetch gpt2
  gptctl fetch distilgpt2 --dir ./distilgpt2
  gptctl fetch --list
  gptctl fetch --verify gpt2
  gptctl fetch --remove gpt2`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.Dir, "dir", "", "write plain files to `DIR` instead of the cache")
	f.StringArrayVar(&o.Files, "files", nil, "fetch the files that match `GLOB` instead of the usual ones (repeatable)")
	f.IntVar(&o.Connections, "connections", 8, "connections at once, `N`")
	f.StringVar(&o.rate, "limit-rate", "", "at most `R` bytes a second, such as 500k, 10M, 1G")
	f.BoolVar(&o.Offline, "offline", false, "ask no network; say whether the model is in the cache and whole")
	f.BoolVar(&o.DryRun, "dry-run", false, "show what would be fetched and the room needed; write nothing")
	f.StringArrayVar(&o.Mirrors, "mirrors", nil, "try `URL` after HF_ENDPOINT (repeatable)")
	f.BoolVar(&o.list, "list", false, "list the models in the cache")
	f.BoolVar(&o.verify, "verify", false, "compare the cache, or one MODEL of it, with the hashes on record; offline")
	f.BoolVar(&o.remove, "remove", false, "remove MODEL, or with @REVISION that revision, from the cache")
	f.BoolVar(&o.yes, "yes", false, "remove without asking")
	cmd.MarkFlagsMutuallyExclusive("list", "verify", "remove", "dry-run")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			o.Model = args[0]
		}
		if err := checkFetch(&o, args); err != nil {
			return err
		}
		return start(cmd.Context(), t, o)
	}
	return cmd
}

func checkFetch(o *fetchOptions, args []string) (err error) {
	switch {
	case len(args) > 1:
		return usagef("one model at a time, not %d: %s", len(args), strings.Join(args, ", "))
	case o.list && len(args) > 0:
		return usagef("--list takes no model")
	case len(args) == 0 && !o.list && !o.verify:
		return withHints(usagef("there is no model"), "gptctl fetch gpt2", "gptctl fetch --list shows what is in the cache")
	case o.Connections < 1 || o.Connections > 64:
		return usagef("--connections %d: want 1 to 64", o.Connections)
	}
	if o.rate != "" {
		if o.LimitRate, err = parseRate(o.rate); err != nil {
			return usagef("--limit-rate: %w", err)
		}
	}
	return nil
}

func runFetch(ctx context.Context, t *terminal, o fetchOptions) error {
	switch {
	case o.list:
		return listModels(t)
	case o.verify:
		return verifyModels(ctx, t, o.Model)
	case o.remove:
		return removeModel(t, o)
	}
	result, err := fetchModel(ctx, t, o.Options, t.json)
	if err != nil {
		return err
	}
	if t.json {
		return nil // the last event says it
	}
	if o.DryRun {
		return printPlan(t, result)
	}
	_, err = fmt.Fprintln(t.out, fetchedLine(result))
	return err
}

// fetchModel brings a model here and shows how it goes, as JSON events on
// stdout if so. Every verb that takes a model comes through this function.
func fetchModel(ctx context.Context, t *terminal, o fetch.Options, events bool) (fetch.Result, error) {
	o.Getenv = t.getenv
	o.UserAgent = "gptctl/" + buildVersion().Version
	show := newFetchProgress(t, events)
	o.Progress = show.event
	result, err := fetch.Fetch(ctx, o)
	show.close()
	if err != nil {
		return result, &aboutError{o.Model, fetchHints(o, err)}
	}
	return result, nil
}

// fetchedLine is what a fetch ends with.
func fetchedLine(r fetch.Result) string {
	if r.Downloaded == 0 {
		return fmt.Sprintf("%s  %s, was there already, verified", r.Path, size(r.Bytes))
	}
	seconds := r.Duration.Seconds()
	return fmt.Sprintf("%s  %s in %.1f s, %s/s, verified", r.Path, size(r.Downloaded), seconds, size(int64(float64(r.Downloaded)/max(seconds, 1e-3))))
}

func printPlan(t *terminal, r fetch.Result) error {
	w := bufio.NewWriter(t.out)
	fmt.Fprintf(w, "%s at %s\n", r.Model, r.Revision)
	for _, f := range r.Files {
		state := "to fetch"
		switch {
		case f.Cached:
			state = "in place"
		case f.Partial > 0:
			state = size(f.Size-f.Partial) + " to fetch"
		}
		fmt.Fprintf(w, "  %-28s %10s  %s\n", f.Path, size(f.Size), state)
	}
	fmt.Fprintf(w, "%s in all, room needed in %s: %s of %s free\n", size(r.Bytes), r.Path, size(r.Room), size(r.Available))
	return w.Flush()
}

// fetchHints adds what mends a failed fetch.
func fetchHints(o fetch.Options, err error) error {
	var (
		gated       *fetch.GatedError
		notFound    *fetch.NotFoundError
		credentials *fetch.CredentialsError
		offline     *fetch.OfflineError
		spoilt      *fetch.SpoiltError
		unreachable *fetch.UnreachableError
		noRoom      *fetch.NoRoomError
		readOnly    *fetch.ReadOnlyError
		checksum    *fetch.ChecksumError
		changed     *fetch.ChangedError
		stalled     *fetch.StalledError
		invalid     *fetch.InvalidIDError
		noFiles     *fetch.NoFilesError
	)
	const token = "set HF_TOKEN to a token from your Hugging Face settings"
	again := "gptctl fetch " + o.Model
	if o.Dir != "" {
		again += " --dir " + o.Dir
	}
	switch {
	case errors.As(err, &gated) && gated.HasToken:
		return withHints(err, "ask for access at "+gated.URL)
	case errors.As(err, &gated):
		return withHints(err, "ask for access at "+gated.URL, token)
	case errors.As(err, &notFound) && notFound.What == fetch.MissingModel && !notFound.HasToken:
		return withHints(err, "check the spelling of "+o.Model, "if it is private: "+token)
	case errors.As(err, &notFound) && notFound.What == fetch.MissingModel:
		return withHints(err, "check the spelling of "+o.Model)
	case errors.As(err, &notFound) && notFound.What == fetch.MissingRevision:
		return withHints(err, "gptctl fetch "+notFound.Model+" takes the main branch")
	case errors.As(err, &credentials):
		return withHints(err, token)
	case errors.As(err, &offline):
		return withHints(err, again+" with a network")
	case errors.As(err, &spoilt):
		return withHints(err, again+" with a network mends it")
	case errors.As(err, &unreachable):
		return withHints(err, "check the network, HTTPS_PROXY and HF_ENDPOINT", "a mirror can be given with --mirrors URL", again+" goes on from here")
	case errors.As(err, &noRoom):
		return withHints(err, "gptctl fetch --list shows what could be removed", "HF_HOME or --dir can name a place on another disk")
	case errors.As(err, &readOnly):
		return withHints(err, "HF_HOME or --dir can name a place that may be written to")
	case errors.As(err, &checksum) && checksum.Repeated:
		return withHints(err, "the server has a damaged file: try another with --mirrors URL")
	case errors.As(err, &checksum):
		return withHints(err, again+" tries anew")
	case errors.As(err, &changed):
		return withHints(err, again+" takes the new state")
	case errors.As(err, &stalled):
		return withHints(err, again+" goes on from here")
	case errors.As(err, &invalid):
		return withHints(&usageError{err}, "a Hub id looks like gpt2 or openai-community/gpt2")
	case errors.As(err, &noFiles):
		return withHints(err, "--files '*' shows with --dry-run what there is")
	case errors.Is(err, context.Canceled):
		return withHints(err, again+" goes on from here")
	}
	return err
}

// parseRate reads "500k": as curl and wget do, k, M and G are powers of 1024.
func parseRate(s string) (int64, error) {
	units := map[byte]float64{'k': 1 << 10, 'K': 1 << 10, 'm': 1 << 20, 'M': 1 << 20, 'g': 1 << 30, 'G': 1 << 30}
	number, unit := strings.TrimSuffix(strings.TrimSuffix(s, "/s"), "B"), 1.0
	if n := len(number); n > 0 {
		if u, ok := units[number[n-1]]; ok {
			number, unit = number[:n-1], u
		}
	}
	var x float64
	if _, err := fmt.Sscanf(number+"\n", "%g\n", &x); err != nil || !(x*unit >= 1 && x*unit < 1<<50) {
		return 0, fmt.Errorf("%q: want bytes a second, such as 500k, 10M or 1G", s)
	}
	return int64(x * unit), nil
}

// size writes bytes as people do.
func size(n int64) string {
	switch x := float64(n); {
	case n < 0:
		return "?"
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case x < 999.5e3:
		return fmt.Sprintf("%.3g kB", x/1e3)
	case x < 999.5e6:
		return fmt.Sprintf("%.3g MB", x/1e6)
	default:
		return fmt.Sprintf("%.2f GB", x/1e9)
	}
}

// ago writes how long it is since then.
func ago(then time.Time) string {
	d := time.Since(then)
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}
