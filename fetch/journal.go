package fetch

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// The journal of a download says which bytes of the unfinished file are good
// to keep. It is text, one entry a line, each ending in the CRC-32C of the rest
// of its line, so that a line that a crash cut short is seen and ignored:
//
//	gptctl-journal 1 HASH SIZE CHUNK BOOT    first line
//	d FROM TO                                these bytes were written
//	h N STATE                                the hash's state after N chunks
//	m                                        a mark
//	s                                        all above the last mark is on the disk
//	2                                        the second transfer begins: nothing is done
//	x FROM TO                                the second copy differs here; the first's bytes are kept aside
//
// What a process wrote outlives it: after a kill -9 every line counts. After a
// crash of the machine (BOOT is another) only what an "s" line vouches for
// does, because the disk may have got the journal before the data.
type journalState struct {
	chain
	done   spans
	second bool  // the second transfer
	differ spans // where it differs from the first
}

const (
	journalMagic = "gptctl-journal"
	mostJournal  = 64 << 20 // bytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func journalLine(dst []byte, fields ...string) []byte {
	at := len(dst)
	for _, f := range fields {
		dst = append(append(dst, f...), ' ')
	}
	return fmt.Appendf(dst, "%08x\n", crc32.Checksum(dst[at:], castagnoli))
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

var errJournal = errors.New("not a journal of this file")

// parseJournal reads what is left of an interrupted download of a file with
// this hash and size. boot names the present run of the machine, "" if that
// cannot be told.
func parseJournal(data []byte, hash string, size int64, boot string) (journalState, error) {
	fresh := journalState{chain: chain{hash: hash, size: size, chunk: chunkSize(size)}}
	var lines [][]string
	mark, safe := 0, 0 // lines up to the last mark, and to the last that an "s" vouches for
	for {
		line, rest, ended := bytes.Cut(data, []byte("\n"))
		data = rest
		fields := strings.Split(string(line), " ")
		sum := fields[len(fields)-1]
		want := fmt.Sprintf("%08x", crc32.Checksum(line[:len(line)-len(sum)], castagnoli))
		if !ended || sum != want {
			break
		}
		lines = append(lines, fields[:len(fields)-1])
		switch fields[0] {
		case "m":
			mark = len(lines)
		case "s":
			safe = mark
		}
	}
	if len(lines) == 0 {
		return fresh, errJournal
	}
	first := lines[0]
	if len(first) != 6 || first[0] != journalMagic || first[1] != "1" || first[2] != hash ||
		first[3] != decimal(size) || first[4] != decimal(fresh.chunk) {
		return fresh, errJournal
	}
	if boot == "" || first[5] != boot {
		lines = lines[:max(safe, 1)]
	}
	now := fresh
	for _, fields := range lines[1:] {
		if err := now.apply(fields); err != nil {
			return fresh, err
		}
	}
	// A state is only of use if the bytes before it are there too.
	whole := int(now.done.from(0) / now.chunk)
	now.states = now.states[:min(len(now.states), whole)]
	return now, nil
}

func (j *journalState) apply(fields []string) error {
	number := func(i int, most int64) (int64, bool) {
		n, err := strconv.ParseUint(fields[i], 10, 63)
		return int64(n), err == nil && int64(n) <= most
	}
	switch {
	case len(fields) == 3 && (fields[0] == "d" || fields[0] == "x"):
		from, ok := number(1, j.size)
		to, ok2 := number(2, j.size)
		if !ok || !ok2 || from > to {
			return errJournal
		}
		if fields[0] == "d" {
			j.done.add(from, to)
		} else {
			j.differ.add(from, to)
		}
	case len(fields) == 3 && fields[0] == "h":
		n, ok := number(1, j.size/j.chunk)
		state, err := hex.DecodeString(fields[2])
		if !ok || err != nil || len(state) > 256 || n != int64(len(j.states))+1 {
			return errJournal
		}
		if restore(newHash(len(j.hash), j.size), state) != nil {
			return errJournal
		}
		j.states = append(j.states, state)
	case len(fields) == 1 && (fields[0] == "m" || fields[0] == "s"):
	case len(fields) == 1 && fields[0] == "2":
		j.second, j.done, j.states, j.differ = true, nil, nil, nil
	default:
		return errJournal
	}
	return nil
}

// journal is the file that a journalState is kept in.
type journal struct {
	f *os.File
}

// encode writes the state as a journal that vouches for all of it.
func (j *journalState) encode(boot string) []byte {
	text := journalLine(nil, journalMagic, "1", j.hash, decimal(j.size), decimal(j.chunk), boot)
	if j.second {
		text = journalLine(text, "2")
	}
	for _, r := range j.done {
		text = journalLine(text, "d", decimal(r.From), decimal(r.To))
	}
	for _, r := range j.differ {
		text = journalLine(text, "x", decimal(r.From), decimal(r.To))
	}
	for i, s := range j.states {
		text = journalLine(text, "h", decimal(int64(i+1)), hex.EncodeToString(s))
	}
	return journalLine(journalLine(text, "m"), "s")
}

// openJournal begins a journal with what is known already; the data that it
// speaks of must have been synced.
func openJournal(path string, state *journalState, boot string) (*journal, error) {
	text := state.encode(boot)
	if len(state.done) > 0 { // else there is nothing to lose
		if err := writeFile(path, text, 0o644); err != nil {
			return nil, err
		}
		text = nil
	} else if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(text); err != nil {
		f.Close()
		return nil, err
	}
	return &journal{f}, nil
}

// add appends an entry. A write is all it takes to outlive the process; to
// outlive the machine it needs a mark and a later "s".
func (j *journal) add(fields ...string) error {
	_, err := j.f.Write(journalLine(nil, fields...))
	return err
}

func (j *journal) close() error { return j.f.Close() }

// readLimited reads a file of at most most bytes.
func readLimited(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", path, most)
	}
	return data, err
}

// The chain of a finished file is kept as a journal in which everything is
// done: one format, one parser.
func readChain(path, hash string, size int64) (*chain, error) {
	data, err := readLimited(path, mostJournal)
	if err != nil {
		return nil, err
	}
	state, err := parseJournal(data, hash, size, "")
	if err != nil {
		return nil, err
	}
	if state.done.from(0) != size || !state.complete() {
		return nil, errJournal
	}
	return &state.chain, nil
}

func (c *chain) save(path string) error {
	state := journalState{chain: *c}
	state.done.add(0, c.size)
	return writeFile(path, state.encode("-"), 0o644)
}
