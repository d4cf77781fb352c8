package mapped

import (
	"bufio"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestProgram(t *testing.T) {
	const smaps = `00200000-00201000 r-xp 00000000 fe:00 7  /usr/bin/other
Rss:                  50 kB
00400000-00e34000 r-xp 00000000 fe:00 123  /usr/bin/gptctl
Size:              10448 kB
Rss:                7688 kB
Pss:                7688 kB
Anonymous:             0 kB
AnonHugePages:         0 kB
00e34000-018df000 r--p 00a34000 fe:00 123  /usr/bin/gptctl
Rss:                6000 kB
Anonymous:             8 kB
018df000-02158000 rw-p 014df000 fe:00 123  /usr/bin/gptctl
Rss:                8000 kB
7f00-7f01 r-xp 00000000 fe:00 5  /lib/usr/bin/gptctl
Rss:                 100 kB
7f02-7f03 rw-p 00000000 00:00 0
Rss:                 200 kB
7f04-7f05 r--p 00000000 fe:00 123  /usr/bin/gptctl
Rss:                 400 kB
`
	want := []mapping{{0x400000, 0xe34000, 7688 << 10, 0}, {0xe34000, 0x18df000, 6000 << 10, 8 << 10}}
	if got := programOf(bufio.NewScanner(strings.NewReader(smaps)), "/usr/bin/gptctl"); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	before := Program()
	if runtime.GOOS == "linux" && before < 100<<10 || before < 0 {
		t.Errorf("%d bytes of this program", before)
	}
	ForgetProgram()
	if after := Program(); after > before || runtime.GOOS == "linux" && after == 0 {
		t.Errorf("%d bytes of this program, and %d after most were forgotten", before, after)
	}
}
