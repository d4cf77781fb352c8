package fetch

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"sync"
	"time"
)

// The download of one file. Ranges are handed out in the order of the file to
// whatever connection is free; one goroutine follows closely behind with the
// hash, reading what was just written back from the system's page cache, so
// that no byte is kept in this process's memory or comes from the disk again.
//
// What a kill can lose is bounded by what was asked for and not yet noted in
// the journal: all ranges in flight together have flightBytes, unless the
// distance to the server makes larger ones worth it.
const (
	flightBytes = 5 << 20
	leastRange  = 64 << 10
	mostRange   = 16 << 20
	leastAsked  = 16 // answers, before their delay counts
	leastDelay  = 2 * time.Millisecond
	leastSteal  = 512 << 10 // a range with less left is not split
	window      = 256 << 20 // how far ranges may be ahead of the hash
	writeBytes  = 256 << 10 // of one write, and of one journal entry
	syncBytes   = 8 << 20   // between two syncs: what a crash of the machine can cost
)

// blob is content, with the files that have it.
type blob struct {
	hash  string
	size  int64
	files []string // paths in the repository
}

func (b blob) name() string { return b.files[0] }

// part is a range that one connection is bringing.
type part struct {
	pos, end int64                   // still to come; guarded by transfer.mu, as all of it
	asked    time.Time               // when the request under way was sent, and
	from     int64                   // from which byte on
	viaHub   bool                    // the storage refused: ask the Hub where it is now
	cancel   context.CancelCauseFunc // of the request under way
}

var (
	errSlow       = errors.New("the connection was slow")
	errSuperseded = errors.New("another connection brings the whole file")
)

// transfer is the download of one blob into the file temp.
type transfer struct {
	*client
	repo, commit string
	blob         blob
	temp, aside  *os.File // aside: the first copy's bytes where the second differs
	asidePath    string
	seats        chan struct{} // a place for each connection, over all files
	pace         *pace
	counted      func(complete int64) // told of the bytes that are done
	boot         string

	locating sync.Mutex // one at a time asks the Hub where the file is
	place    *place

	mu       sync.Mutex
	changed  *sync.Cond
	log      *journal
	state    journalState
	given    spans // done or in flight
	flying   map[*part]bool
	hashed   int64
	unsynced int64
	single   bool // the server sends the whole file or nothing
	noRanges bool // do not ask for ranges
	server   int  // which endpoint
	odd      int  // answers for a file of another size, or refusals by the storage
	failed   error
	sum      string
}

// place is where the bytes of a file are, as an endpoint last said.
type place struct {
	url  *url.URL
	etag string
}

// run brings what is missing and returns the hash of the whole.
func (t *transfer) run(ctx context.Context) (sum string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.given = append(spans(nil), t.state.done...)
	wake := func() { t.mu.Lock(); t.changed.Broadcast(); t.mu.Unlock() }
	over := false // this run, guarded by t.mu: its context may end behind its back
	context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !over && t.failed == nil {
			t.failed = ctx.Err()
		}
		t.changed.Broadcast()
	})

	var group sync.WaitGroup
	follower := func(work func()) {
		group.Go(func() {
			work()
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.failed != nil {
				cancel()
			}
		})
	}
	follower(t.follow)
	follower(func() { t.syncNowAndThen(ctx) })
	var connections sync.WaitGroup
	for p := t.take(); p != nil; p = t.take() {
		select {
		case <-ctx.Done():
			continue // take sees the failure
		case t.seats <- struct{}{}:
		}
		connections.Go(func() {
			defer func() { <-t.seats; wake() }()
			if err := t.bring(ctx, p); err != nil {
				t.fail(err)
				cancel()
			}
		})
	}
	connections.Wait()
	t.mu.Lock()
	for t.failed == nil && t.sum == "" {
		t.changed.Wait()
	}
	sum, err, over = t.sum, t.failed, true
	t.mu.Unlock()
	cancel()
	group.Wait()
	if err != nil {
		_ = t.sync() // what came so far is for the next call
	}
	return sum, err
}

func (t *transfer) fail(err error) {
	t.mu.Lock()
	if t.failed == nil && t.sum == "" {
		t.failed = err
	}
	t.changed.Broadcast()
	t.mu.Unlock()
}

// bring transfers a part, in as many requests as it takes.
func (t *transfer) bring(ctx context.Context, p *part) error {
	try := 0
	for {
		t.mu.Lock()
		from, server, wanted := p.pos, t.server, t.flying[p]
		t.mu.Unlock()
		if !wanted {
			return nil
		}
		news, err := t.request(ctx, p)
		t.mu.Lock()
		finished := p.pos >= p.end || !t.flying[p]
		if finished {
			delete(t.flying, p)
		}
		if news || p.pos > from {
			try, t.odd = 0, 0
		} else if err != errSlow {
			try++
		}
		p.viaHub = errors.As(err, new(*staleError))
		t.changed.Broadcast()
		t.mu.Unlock()
		if finished {
			return nil
		}
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		failures := try
		if try == 1 && errors.As(err, new(*staleError)) {
			failures = 0 // an address that has expired is no reason to wait
		}
		if err := t.again(ctx, t.blob.name(), err, failures); err != nil {
			if ctx.Err() != nil || isLocal(err) || !t.nextServer(server) {
				return err
			}
			try = 0
		}
	}
}

// isLocal: a failure of this machine, which no other server can help.
func isLocal(err error) bool {
	return errors.As(err, new(*NoRoomError)) || errors.As(err, new(*ReadOnlyError)) || errors.As(err, new(*os.PathError))
}

// nextServer moves on to the mirror after server; false if there is none.
func (t *transfer) nextServer(server int) bool {
	t.locating.Lock()
	defer t.locating.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if server+1 >= len(t.endpoints) {
		return false
	}
	if t.server == server { // else another part has moved on already
		t.server++
		t.place, t.odd, t.noRanges = nil, 0, false
	}
	return true
}

// request brings what one answer has of the part; news tells that bytes came
// that were not there.
func (t *transfer) request(ctx context.Context, p *part) (news bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() {
		if cause := context.Cause(ctx); cause == errSlow && err != nil {
			err = errSlow
		}
	}()
	t.mu.Lock()
	p.asked, p.from, p.cancel = time.Now(), p.pos, cancel
	from, end, viaHub := p.pos, p.end, p.viaHub
	p.viaHub = false
	began := p.asked
	t.mu.Unlock()
	a, at, delay, err := t.open(ctx, from, end, viaHub)
	if err != nil {
		return false, err
	}
	defer a.Body.Close()
	body := io.Reader(a.Body)
	if at == 0 && a.StatusCode == 200 {
		if !t.goSingle(p) {
			return false, errSuperseded
		}
		if body, err = decoded(a); err != nil {
			return false, err
		}
	}
	news, n, err := t.receive(ctx, p, body, at)
	if n > 0 {
		t.pace.note(delay, n, time.Since(began)-delay)
	}
	return news, err
}

// goSingle makes p the only part, as the server sends whole files only. False
// means that another part was made so before.
func (t *transfer) goSingle(p *part) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.flying[p] {
		return false
	}
	if p.pos == 0 && p.end == t.blob.size {
		return true // it asked for all of it
	}
	t.single = true
	for other := range t.flying {
		if other != p {
			delete(t.flying, other)
			if other.cancel != nil {
				other.cancel(errSuperseded)
			}
		}
	}
	p.pos, p.end = min(p.pos, t.state.done.from(0)), t.blob.size
	t.given = nil
	t.given.add(0, t.blob.size)
	return true
}

// receive stores the bytes of an answer that begins at byte at of the file.
func (t *transfer) receive(ctx context.Context, p *part, body io.Reader, at int64) (news bool, n int64, err error) {
	buf := buffers.Get().(*[writeBytes]byte)
	defer buffers.Put(buf)
	have := 0
	t.mu.Lock()
	end := p.end
	t.mu.Unlock()
	since := time.Now()
	for at < end {
		most := int(min(int64(len(buf)), end-at))
		got, readErr := body.Read(buf[have:min(most, have+t.limit.piece(most))])
		if got > 0 {
			have += got
			n += int64(got)
			t.received.Add(int64(got))
			now := time.Now()
			t.alive(now)
			if have >= most || now.Sub(since) > 200*time.Millisecond || readErr != nil {
				fresh, stop, err := t.store(p, at, buf[:have])
				if err != nil {
					return news, n, err
				}
				news = news || fresh
				at, have, since = at+int64(have), 0, now
				end = stop
			}
			if err := t.limit.wait(ctx, got); err != nil {
				readErr = err
			}
		}
		if readErr != nil {
			if have > 0 {
				fresh, _, err := t.store(p, at, buf[:have])
				if err != nil {
					return news, n, err
				}
				news = news || fresh
			}
			if readErr == io.EOF {
				readErr = io.ErrUnexpectedEOF
				if at+int64(have) >= end {
					readErr = nil
				}
			}
			return news, n, readErr
		}
	}
	return news, n, nil
}

var buffers = sync.Pool{New: func() any { return new([writeBytes]byte) }}

// store writes bytes at their place and notes them; stop is where the part
// ends now.
func (t *transfer) store(p *part, at int64, data []byte) (news bool, stop int64, err error) {
	if t.state.second {
		if err := t.keepFirst(at, data); err != nil {
			return false, 0, err
		}
	}
	if _, err := t.temp.WriteAt(data, at); err != nil {
		return false, 0, writeError(t.temp.Name(), err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.flying[p] {
		return false, 0, errSuperseded
	}
	to := at + int64(len(data))
	if _, _, gap := t.state.done.gap(at, to); gap {
		news = true
		t.state.done.add(at, to)
		if err := t.log.add("d", decimal(at), decimal(to)); err != nil {
			return false, 0, writeError(t.log.f.Name(), err)
		}
		t.unsynced += int64(len(data))
		t.counted(t.state.done.total())
	}
	p.pos = max(p.pos, to)
	t.changed.Broadcast()
	return news, p.end, nil
}

// keepFirst compares a piece of the second transfer with the first copy, which
// it is about to replace, and keeps the first aside where they differ.
func (t *transfer) keepFirst(at int64, data []byte) error {
	buf := buffers.Get().(*[writeBytes]byte)
	defer buffers.Put(buf)
	old := buf[:len(data)]
	if _, err := t.temp.ReadAt(old, at); err != nil {
		return err
	}
	if bytes.Equal(old, data) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.aside == nil {
		var err error
		if t.aside, err = os.OpenFile(t.asidePath, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
			return writeError(t.asidePath, err)
		}
	}
	// Only what the first transfer brought, not what a repeated request wrote.
	for from, to, ok := t.state.done.gap(at, at+int64(len(data))); ok; from, to, ok = t.state.done.gap(to, at+int64(len(data))) {
		if _, err := t.aside.WriteAt(old[from-at:to-at], from); err != nil {
			return writeError(t.asidePath, err)
		}
		t.state.differ.add(from, to)
		if err := t.log.add("x", decimal(from), decimal(to)); err != nil {
			return writeError(t.log.f.Name(), err)
		}
	}
	return nil
}

// follow hashes the file in its order as the bytes come in.
func (t *transfer) follow() {
	chunk, size := t.state.chunk, t.blob.size
	h, err := t.state.start(len(t.state.states))
	if err != nil {
		t.fail(err)
		return
	}
	buf := make([]byte, writeBytes)
	t.mu.Lock()
	at := int64(len(t.state.states)) * chunk
	t.hashed = at
	t.mu.Unlock()
	for at < size {
		t.mu.Lock()
		for t.failed == nil && t.state.done.from(at) == at {
			t.changed.Wait()
		}
		to := min(t.state.done.from(at), at+int64(len(buf)), (at/chunk+1)*chunk)
		stop := t.failed != nil
		t.mu.Unlock()
		if stop {
			return
		}
		n, err := t.temp.ReadAt(buf[:to-at], at)
		if int64(n) < to-at {
			t.fail(fmt.Errorf("read back %s: %w", t.blob.name(), err))
			return
		}
		h.Write(buf[:n])
		at = to
		t.mu.Lock()
		t.hashed = at
		if at%chunk == 0 {
			state := stateOf(h)
			t.state.states = append(t.state.states, state)
			err = t.log.add("h", decimal(at/chunk), hex.EncodeToString(state))
		}
		t.changed.Broadcast()
		t.mu.Unlock()
		if err != nil && err != io.EOF {
			t.fail(writeError(t.log.f.Name(), err))
			return
		}
	}
	t.mu.Lock()
	if t.failed == nil {
		t.sum = sum(h)
	}
	t.changed.Broadcast()
	t.mu.Unlock()
}

// syncNowAndThen has the disk keep pace, so that little is left to wait for at
// the end. It also wakes take, for which the time alone may change something.
func (t *transfer) syncNowAndThen(ctx context.Context) {
	most := int64(syncBytes)
	if t.boot == "" { // what is not synced would be lost with the process
		most = 4 << 20
	}
	tick := time.NewTicker(max(min(50*time.Millisecond, t.timing.Silence/4), time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t.mu.Lock()
		due := t.unsynced >= most
		t.changed.Broadcast()
		t.mu.Unlock()
		if due {
			if err := t.sync(); err != nil {
				t.fail(err)
				return
			}
		}
	}
}

func (t *transfer) sync() error {
	t.mu.Lock()
	t.unsynced = 0
	err := t.log.add("m")
	aside := t.aside
	t.mu.Unlock()
	if err == nil {
		err = syncData(t.temp)
	}
	if err == nil && aside != nil {
		err = syncData(aside)
	}
	if err == nil {
		t.mu.Lock()
		err = t.log.add("s")
		t.mu.Unlock()
	}
	if err == nil {
		err = t.log.f.Sync()
	}
	return writeError(t.temp.Name(), err)
}
