package growfile_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/jumpget/jumpget/internal/growfile"
	"github.com/jumpget/jumpget/internal/span"
)

// memory is a backing that can hold a write back, fail it, or lose its end.
type memory struct {
	mu     sync.Mutex
	b      []byte
	room   int           // writes fail with ENOSPC beyond it; 0: no limit
	gate   chan struct{} // if set, each write takes one from it first
	writes int
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if m.gate != nil {
		<-m.gate
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	end := int(off) + len(p)
	if m.room > 0 && end > m.room {
		end = max(int(off), m.room)
	}
	if end > len(m.b) {
		m.b = append(m.b, make([]byte, end-len(m.b))...)
	}
	n := copy(m.b[off:end], p)
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.NewReader(m.b).ReadAt(p, off)
}

func newFile(size int64) *growfile.File { return growfile.New(&memory{}, size, span.Set{}) }

func write(t *testing.T, f *growfile.File, s string, off int64) {
	t.Helper()
	if n, err := f.WriteAt([]byte(s), off); n != len(s) || err != nil {
		t.Fatalf("write at %d: %d, %v", off, n, err)
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error is %v, want %v", got, want)
	}
}

func wantRead(t *testing.T, f *growfile.File, off int64, want string, wantErr error) {
	t.Helper()
	p := make([]byte, 100)
	n, err := f.ReadAt(t.Context(), p, off)
	if string(p[:n]) != want || !errors.Is(err, wantErr) {
		t.Errorf("read at %d gives %q, %v; want %q, %v", off, p[:n], err, want, wantErr)
	}
}

func TestReadsWhatIsContiguous(t *testing.T) {
	f := newFile(10)
	write(t, f, "abc", 0)
	write(t, f, "hij", 7)
	wantRead(t, f, 0, "abc", nil)
	wantRead(t, f, 2, "c", nil)
	wantRead(t, f, 8, "ij", nil)
	wantRead(t, f, 10, "", io.EOF)
	wantRead(t, f, 99, "", io.EOF)
	write(t, f, "defg", 3)
	wantRead(t, f, 1, "bcdefghij", nil)
	if f.Frontier() != 10 || f.Received() != 10 || !f.Complete() {
		t.Error("not complete")
	}
	if n, err := f.ReadAt(t.Context(), nil, 3); n != 0 || err != nil {
		t.Errorf("an empty read gives %d, %v", n, err)
	}
	_, err := f.ReadAt(t.Context(), make([]byte, 1), -1)
	wantErr(t, err, growfile.ErrBeyondEnd)
}

func TestReaderWakesForItsByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFile(growfile.UnknownSize)
		got := make(chan string, 1)
		go func() {
			p := make([]byte, 10)
			n, err := f.ReadAt(t.Context(), p, 5)
			if err != nil {
				t.Error(err)
			}
			got <- string(p[:n])
		}()
		synctest.Wait()
		write(t, f, "01234", 0)
		write(t, f, "6", 6)
		synctest.Wait()
		if len(got) != 0 {
			t.Error("woken without its byte")
		}
		write(t, f, "5", 5)
		if s := <-got; s != "56" {
			t.Errorf("read %q", s)
		}
	})
}

// Each way in which a wait ends, for a reader that is already asleep.
func TestSleepersWake(t *testing.T) {
	stop := errors.New("stopped")
	for _, c := range []struct {
		name string
		do   func(*growfile.File, context.CancelCauseFunc) error
		want error
	}{
		{"the size is told", func(f *growfile.File, _ context.CancelCauseFunc) error { return f.SetSize(5) }, io.EOF},
		{"finished", func(f *growfile.File, _ context.CancelCauseFunc) error { return f.Finish() }, io.EOF},
		{"aborted", func(f *growfile.File, _ context.CancelCauseFunc) error { f.Abort(stop); return nil }, stop},
		{"aborted without a reason", func(f *growfile.File, _ context.CancelCauseFunc) error { f.Abort(nil); return nil }, growfile.ErrAborted},
		{"the reader is told to stop", func(_ *growfile.File, cancel context.CancelCauseFunc) error { cancel(stop); return nil }, stop},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFile(growfile.UnknownSize)
				write(t, f, "01234", 0)
				ctx, cancel := context.WithCancelCause(t.Context())
				errs := make(chan error, 3)
				go func() { _, err := f.ReadAt(ctx, make([]byte, 1), 5); errs <- err }()
				go func() { errs <- f.Wait(ctx, span.Span{Start: 3, End: 7}) }()
				go func() {
					_, err := io.ReadFull(f.Reader(ctx, span.Span{Start: 5, End: 9}), make([]byte, 4))
					errs <- err
				}()
				synctest.Wait()
				if len(errs) != 0 {
					t.Fatal("somebody did not wait")
				}
				if err := c.do(f, cancel); err != nil {
					t.Fatal(err)
				}
				for range 3 {
					wantErr(t, <-errs, c.want)
				}
			})
		})
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFile(growfile.UnknownSize)
		done := make(chan error, 1)
		go func() { done <- f.Wait(t.Context(), span.Span{Start: 2, End: 8}) }()
		for _, s := range []struct {
			data string
			off  int64
		}{{"67", 6}, {"01", 0}, {"45", 4}} {
			write(t, f, s.data, s.off)
			synctest.Wait()
			if len(done) != 0 {
				t.Fatalf("woke before all was there")
			}
		}
		write(t, f, "23", 2)
		wantErr(t, <-done, nil)
		if err := f.SetSize(8); err != nil {
			t.Fatal(err)
		}
		wantErr(t, f.Wait(t.Context(), span.Span{Start: 2, End: 8}), nil)
		wantErr(t, f.Wait(t.Context(), span.Span{Start: 2, End: 9}), io.EOF)
		wantErr(t, f.Wait(t.Context(), span.Span{Start: 20, End: 20}), nil)
		wantErr(t, f.Wait(t.Context(), span.Span{Start: -1, End: 2}), growfile.ErrBeyondEnd)
	})
}

func TestAbortReachesEverybodyLater(t *testing.T) {
	f := newFile(3)
	write(t, f, "abc", 0)
	first := errors.New("first")
	f.Abort(first)
	f.Abort(errors.New("second"))
	wantRead(t, f, 0, "", first)
	_, err := f.WriteAt([]byte("x"), 0)
	wantErr(t, err, first)
	wantErr(t, f.Wait(t.Context(), span.Span{End: 3}), first)
	wantErr(t, f.SetSize(3), first)
	wantErr(t, f.Finish(), first)
	wantErr(t, f.Mark(span.Span{End: 1}), first)
	wantErr(t, f.Err(), first)
	if f.Complete() {
		t.Error("an aborted file calls itself complete")
	}
}

func TestAbortReachesWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{gate: make(chan struct{})}
		f := growfile.New(m, 10, span.Set{})
		errs := make(chan error, 2)
		for range 2 { // one is writing, one waits for the same bytes
			go func() { _, err := f.WriteAt([]byte("abc"), 0); errs <- err }()
		}
		synctest.Wait()
		stop := errors.New("stop")
		f.Abort(stop)
		wantErr(t, <-errs, stop)
		close(m.gate)
		wantErr(t, <-errs, stop)
	})
}

func TestBytesNeverChange(t *testing.T) {
	m := &memory{}
	f := growfile.New(m, growfile.UnknownSize, span.Set{})
	write(t, f, "cd", 2)
	write(t, f, "XXXXXX", 0)
	wantRead(t, f, 0, "XXcdXX", nil)
	writes := m.writes
	write(t, f, "YYYYYY", 0)
	wantRead(t, f, 0, "XXcdXX", nil)
	if m.writes != writes {
		t.Error("known bytes were written again")
	}
}

// Two writers bring the same bytes at once: the second waits for the first,
// and takes over if that one fails.
func TestSecondWriterTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{gate: make(chan struct{}), room: 2}
		f := growfile.New(m, 4, span.Set{})
		errs := make(chan error, 2)
		go func() { _, err := f.WriteAt([]byte("abcd"), 0); errs <- err }()
		synctest.Wait()
		go func() { _, err := f.WriteAt([]byte("ABCD"), 0); errs <- err }()
		synctest.Wait()
		m.gate <- struct{}{}
		wantErr(t, <-errs, syscall.ENOSPC)
		m.mu.Lock()
		m.room = 0
		m.mu.Unlock()
		m.gate <- struct{}{}
		wantErr(t, <-errs, nil)
		wantRead(t, f, 0, "abCD", nil)
	})
}

func TestDiskFullKeepsWhatFitted(t *testing.T) {
	f := growfile.New(&memory{room: 3}, growfile.UnknownSize, span.Set{})
	n, err := f.WriteAt([]byte("abcdef"), 0)
	if n != 3 {
		t.Errorf("wrote %d", n)
	}
	wantErr(t, err, syscall.ENOSPC)
	wantRead(t, f, 0, "abc", nil)
	wantErr(t, f.Finish(), growfile.ErrIncomplete)
	f = growfile.New(&memory{room: 5}, 8, span.Of(span.Span{Start: 2, End: 4}))
	if n, err = f.WriteAt([]byte("ABCDEFGH"), 0); n != 5 || err == nil {
		t.Errorf("wrote %d, %v around known bytes", n, err)
	}
}

func TestSizes(t *testing.T) {
	f := newFile(growfile.UnknownSize)
	if _, known := f.Size(); known {
		t.Error("the size is known")
	}
	write(t, f, "abcdef", 0)
	wantErr(t, f.SetSize(5), growfile.ErrSize)
	wantErr(t, f.SetSize(-1), growfile.ErrSize)
	wantErr(t, f.SetSize(8), nil)
	wantErr(t, f.SetSize(8), nil)
	wantErr(t, f.SetSize(9), growfile.ErrSize)
	_, err := f.WriteAt([]byte("ghi"), 6)
	wantErr(t, err, growfile.ErrBeyondEnd)
	_, err = f.WriteAt([]byte("x"), -1)
	wantErr(t, err, growfile.ErrBeyondEnd)
	wantErr(t, f.Finish(), growfile.ErrIncomplete)
	write(t, f, "gh", 6)
	wantErr(t, f.Finish(), nil)
	wantErr(t, f.Finish(), nil)
	wantErr(t, newFile(0).Finish(), nil)
	wantErr(t, growfile.New(&memory{}, 3, span.Of(span.Span{End: 4})).Err(), growfile.ErrSize)
}

func TestFinishWithUnknownSize(t *testing.T) {
	f := newFile(growfile.UnknownSize)
	write(t, f, "ef", 4)
	wantErr(t, f.Finish(), growfile.ErrIncomplete)
	write(t, f, "abcd", 0)
	wantErr(t, f.Finish(), nil)
	if n, known := f.Size(); n != 6 || !known {
		t.Errorf("size is %d, %v", n, known)
	}
	wantErr(t, newFile(growfile.UnknownSize).Finish(), nil)
}

func TestMarkAndHave(t *testing.T) {
	m := &memory{b: []byte("0123456789")}
	f := growfile.New(m, 10, span.Of(span.Span{End: 2}))
	wantErr(t, f.Mark(span.Span{Start: 5, End: 10}), nil)
	wantErr(t, f.Mark(span.Span{Start: 5, End: 11}), growfile.ErrBeyondEnd)
	wantRead(t, f, 0, "01", nil)
	wantRead(t, f, 5, "56789", nil)
	have := f.Have()
	have.Remove(span.Span{End: 10})
	if !f.Contains(span.Span{Start: 6, End: 9}) || f.Contains(span.Span{Start: 1, End: 3}) {
		t.Error("Have gave away its set")
	}
}

func TestTruncatedBackingIsAnError(t *testing.T) {
	f := growfile.New(&memory{b: []byte("01")}, 4, span.Of(span.Span{End: 4}))
	wantRead(t, f, 0, "01", io.ErrUnexpectedEOF)
}

func TestChanged(t *testing.T) {
	f := newFile(growfile.UnknownSize)
	for name, change := range map[string]func(){
		"bytes": func() { write(t, f, "a", 0) },
		"mark":  func() { wantErr(t, f.Mark(span.Span{Start: 1, End: 2}), nil) },
		"size":  func() { wantErr(t, f.SetSize(20), nil) },
	} {
		ch, same := f.Changed(), f.Changed()
		if ch != same {
			t.Error("two channels for one change")
		}
		select {
		case <-ch:
			t.Error("changed too early")
		default:
		}
		change()
		select {
		case <-ch:
		default:
			t.Errorf("%s: not told", name)
		}
	}
	ch := f.Changed()
	f.Abort(nil)
	<-ch
}

// Whatever the order of writes, every reader reads what was written.
func TestAnyOrder(t *testing.T) {
	content := make([]byte, 1000)
	for i := range content {
		content[i] = byte(i * 7)
	}
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int64{int64(len(content)), growfile.UnknownSize}).Draw(t, "size")
		f := growfile.New(&memory{}, size, span.Set{})
		cuts := rapid.SliceOfN(rapid.IntRange(0, len(content)), 0, 8).Draw(t, "cuts")
		parts := rapid.Permutation(spans(cuts, len(content))).Draw(t, "order")
		var wg sync.WaitGroup
		for _, from := range []int64{0, 1, 500, 999} {
			wg.Go(func() {
				got, err := io.ReadAll(f.Reader(t.Context(), span.Span{Start: from, End: 5000}))
				if err != nil || !bytes.Equal(got, content[from:]) {
					t.Errorf("read %d bytes from %d: %v", len(got), from, err)
				}
			})
		}
		var writers sync.WaitGroup
		for w := range 2 {
			writers.Go(func() {
				for i := range parts {
					p := parts[(i+w)%len(parts)]
					if _, err := f.WriteAt(content[p.Start:p.End], p.Start); err != nil {
						t.Errorf("write: %v", err)
					}
				}
			})
		}
		writers.Wait()
		if err := f.Finish(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	})
}

// spans cuts n bytes into overlapping pieces that cover them all.
func spans(cuts []int, n int) []span.Span {
	all := []span.Span{{Start: 0, End: int64(n) / 2}, {Start: int64(n) / 3, End: int64(n)}}
	for i := 1; i < len(cuts); i++ {
		all = append(all, span.Span{Start: int64(min(cuts[i-1], cuts[i])), End: int64(max(cuts[i-1], cuts[i]))})
	}
	return all
}

func TestReadNowNeverWaits(t *testing.T) {
	f := newFile(8)
	p := make([]byte, 8)
	if n, err := f.ReadNow(p, 0); n != 0 || err != nil {
		t.Errorf("of an empty file: %d, %v", n, err)
	}
	write(t, f, "bcd", 1)
	if n, err := f.ReadNow(p, 0); n != 0 || err != nil {
		t.Errorf("in a gap: %d, %v", n, err)
	}
	if n, err := f.ReadNow(p, 2); string(p[:n]) != "cd" || err != nil {
		t.Errorf("at 2: %q, %v", p[:n], err)
	}
	if n, err := f.ReadNow(p, 8); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if _, err := f.ReadNow(p, -1); !errors.Is(err, growfile.ErrBeyondEnd) {
		t.Errorf("before the start: %v", err)
	}
	f.Abort(nil)
	if _, err := f.ReadNow(p, 2); !errors.Is(err, growfile.ErrAborted) {
		t.Errorf("after an abort: %v", err)
	}
}
