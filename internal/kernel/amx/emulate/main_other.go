//go:build !linux || !amd64

package main

import (
	"fmt"
	"os"
)

func main() {
	_ = []any{decode, (*tiles).execute} // used on Linux
	fmt.Fprintln(os.Stderr, "emulate: needs Linux on amd64")
	os.Exit(1)
}
