package cpu

import (
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/mapped"
)

// SurviveFaults has each thread of k panic where it reads what a file has no more, and
// the one that gave it the work with it: mapped.Readable then ends that with an error.
func SurviveFaults(k *kernel.CPU) {
	var came atomic.Int64
	all := make(chan struct{})
	// Nobody goes on before all have come, so that each comes once.
	k.Each(k.Threads()<<10, 1<<30, func(int, int) {
		mapped.SurviveFaults()
		if came.Add(1) == int64(k.Threads()) {
			close(all)
		}
		<-all
	})
}
