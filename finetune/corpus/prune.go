package corpus

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What a cache folder keeps: the files used last, at most MaxCache bytes of
// them, none that was not used for MaxAge. A file is used whenever a corpus
// is opened from it.
const (
	MaxCache = 8 << 30
	MaxAge   = 60 * 24 * time.Hour

	// young is what another process may be about to open.
	young = time.Hour
)

const (
	cachePrefix = "corpus-"
	cacheSuffix = ".tokens"
)

// prune removes what a cache folder need not keep, and what killed processes
// have left. Files that cannot be removed are left for the next time.
func prune(dir, inUse string, most int64, now time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var files []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !strings.HasPrefix(e.Name(), cachePrefix) {
			continue
		}
		switch age := now.Sub(info.ModTime()); {
		case strings.HasSuffix(e.Name(), cacheSuffix):
			files = append(files, info)
		case strings.Contains(e.Name(), cacheSuffix+".tmp") && age > 24*time.Hour:
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	var sum int64
	for _, f := range files {
		sum += f.Size()
		age := now.Sub(f.ModTime())
		if f.Name() == filepath.Base(inUse) || age < young {
			continue
		}
		if (sum > most || age > MaxAge) && os.Remove(filepath.Join(dir, f.Name())) == nil {
			sum -= f.Size()
		}
	}
}

// writable reports whether files can be made in a folder, which is made if it
// is missing.
func writable(dir string) bool {
	if os.MkdirAll(dir, 0o777) != nil {
		return false
	}
	f, err := os.CreateTemp(dir, cachePrefix+"*"+cacheSuffix+".tmp")
	if err != nil {
		return false
	}
	f.Close()
	return os.Remove(f.Name()) == nil
}
