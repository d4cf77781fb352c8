// Drive is the least program around package install: .ci/install-e2e runs it
// where there is no gptctl with the verb install.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/gptctl/gptctl/install"
	"github.com/gptctl/gptctl/internal/machine"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "install" { // as gptctl install
		os.Args = append(os.Args[:1], os.Args[2:]...)
	}
	prefix := flag.String("prefix", "", "")
	undo := flag.Bool("undo", false, "")
	yes := flag.Bool("yes", false, "")
	asJSON := flag.Bool("json", false, "")
	script := flag.Bool("script", false, "")
	wait := flag.Duration("lock-wait", 2*time.Minute, "")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := drive(ctx, install.Options{Components: flag.Args(), Prefix: *prefix, Undo: *undo}, *yes, *asJSON, *script, *wait)
	if err != nil {
		fmt.Fprintln(os.Stderr, "drive:", err)
		os.Exit(1)
	}
}

func drive(ctx context.Context, opt install.Options, yes, asJSON, script bool, wait time.Duration) error {
	plan, err := install.MakePlan(ctx, machine.Local(), opt)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(plan)
	}
	if script {
		text, err := install.Script(plan)
		fmt.Print(text)
		return err
	}
	fmt.Printf("%s, %d steps pending\n", plan.System, plan.Pending())
	for _, s := range plan.Steps {
		fmt.Printf("%-9s %s: %s (%s)\n", s.State, s.ID, s.Title, s.Why)
		for _, c := range s.Commands {
			line, _, _ := strings.Cut(c.String(), "\n")
			fmt.Println("          $", line)
		}
	}
	for _, n := range plan.Notes {
		fmt.Println("note:", n)
	}
	for _, b := range plan.Blocked {
		fmt.Println("blocked:", b.Component, b.Reason, b.Hints)
	}
	if !yes {
		return nil
	}
	return install.Apply(ctx, plan, install.ApplyOptions{Output: os.Stdout, LockWait: wait, Event: func(e install.Event) {
		id := ""
		if e.Step != nil {
			id = e.Step.ID
		}
		fmt.Println("==", e.Kind, id, e.Text)
	}})
}
