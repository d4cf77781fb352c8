package corpus

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/gptctl/gptctl/finetune/corpus/clean"
	"github.com/gptctl/gptctl/finetune/corpus/source"
)

// rules changes whenever the same files would give other tokens: with the way
// files are read, or the form of the cache; a cleaning step has its Revision.
const rules = "gptctl corpus 1"

// key hashes everything that the tokens depend on: the files' contents, how they
// are read and cleaned, and the tokenizer; the key also their names, which the
// report in the cache has.
func (b *builder) key(ctx context.Context) (key, contents string, err error) {
	files := append(append([]source.File(nil), b.validation...), b.training...)
	b.sums = make([][32]byte, len(files))
	for _, f := range files {
		b.total += f.Size
	}
	if err := b.sumFiles(ctx, files); err != nil {
		return "", "", err
	}
	words := tokenizerSum(b.Tokenizer)
	key = b.sum(files, words)
	for i := range files {
		files[i].Path = ""
	}
	return key, b.sum(files, words), nil
}

func (b *builder) sum(files []source.File, words [32]byte) string {
	h := sha256.New()
	text := func(parts ...string) {
		for _, p := range parts {
			_ = binary.Write(h, binary.LittleEndian, uint64(len(p))) // a hash takes all
			_, _ = io.WriteString(h, p)
		}
	}
	text(rules, fmt.Sprint(len(b.validation)))
	for i, f := range files {
		text(f.Path, string(f.Format), string(f.Compression), string(b.sums[i][:]))
	}
	r := b.Read
	text(r.Encoding, r.Column, r.Separator, fmt.Sprintf("%q", r.Template))
	for _, s := range clean.Steps() {
		text(s.ID, fmt.Sprint(b.Steps[s.ID]))
		if b.Steps[s.ID] && s.Revision > 0 {
			text(fmt.Sprint(s.Revision))
		}
	}
	text(string(words[:]))
	return hex.EncodeToString(h.Sum(nil))
}

func (b *builder) sumFiles(ctx context.Context, files []source.File) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		mu    sync.Mutex
		first error
		done  int64
		wg    sync.WaitGroup
		next  int
	)
	sum := func(i int) error {
		f, err := os.Open(files[i].Path)
		if err != nil {
			return source.Unreadable(files[i].Path, err)
		}
		defer f.Close()
		h := sha256.New()
		buf := make([]byte, 1<<18)
		for {
			n, err := f.Read(buf)
			_, _ = h.Write(buf[:n])
			mu.Lock()
			done += int64(n)
			if b.Progress != nil {
				b.Progress(Progress{Stage: "hash", Bytes: done, Total: b.total})
			}
			mu.Unlock()
			if err == io.EOF {
				h.Sum(b.sums[i][:0])
				return nil
			}
			if err == nil {
				err = ctx.Err()
			} else {
				err = source.Unreadable(files[i].Path, err)
			}
			if err != nil {
				return err
			}
		}
	}
	for range min(len(files), b.workers()) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(files) || ctx.Err() != nil {
					return
				}
				if err := sum(i); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
					cancel()
				}
			}
		})
	}
	wg.Wait()
	if first == nil {
		first = ctx.Err()
	}
	return first
}

func (b *builder) workers() int {
	if b.Workers > 0 {
		return b.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// tokenizerSum tells tokenizers apart by what they do: the spelling of each
// token, what that spelling encodes to (which the merges decide), and how a text
// with all that the splitting into words looks at is encoded.
func tokenizerSum(t Tokenizer) [32]byte {
	h := sha256.New()
	var buf []byte
	var ids []int32
	add := func(s string) {
		buf = append(binary.LittleEndian.AppendUint64(buf[:0], uint64(len(s))), s...)
		ids = t.EncodePlain(ids[:0], s)
		for _, id := range ids {
			buf = binary.LittleEndian.AppendUint32(buf, uint32(id))
		}
		_, _ = h.Write(buf)
	}
	for id := range t.Len() {
		s, ok := t.Token(int32(id))
		if !ok {
			s = "\xFF no token"
		}
		add(s)
	}
	add("Hello,  world!\n\n I'll say it's 12345 times; naïve café — 日本語 \t<|endoftext|> ’tis, don’t x=y*(2+3)\r\n  end ")
	eos, ok := t.EOS()
	_, _ = fmt.Fprintf(h, "%d %v", eos, ok)
	return [32]byte(h.Sum(nil))
}
