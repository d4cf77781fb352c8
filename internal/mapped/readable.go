package mapped

import (
	"errors"
	"runtime/debug"
	"syscall"
)

// ErrLost is the error of memory that a file stands behind no more.
var ErrLost = errors.New("the model's file cannot be read any more: it was cut short meanwhile, or its disk fails")

// Readable does what reads mapped files. Where they have nothing to read the system
// ends the program; here it is ErrLost, on this goroutine and on those that hand it what
// they panic with, see SurviveFaults.
func Readable(read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, fault := r.(interface{ Addr() uintptr }); !fault {
				panic(r)
			}
			err = ErrLost
		}
	}()
	if err = read(); errors.Is(err, syscall.EFAULT) { // of a write that takes from such memory
		err = ErrLost
	}
	return err
}

// SurviveFaults has this goroutine panic where it would end the program, for good.
func SurviveFaults() { debug.SetPanicOnFault(true) }
