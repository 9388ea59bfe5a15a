package progress

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mattn/go-runewidth"
	"pgregory.net/rapid"
)

// window is a terminal's window in memory. It keeps every picture.
type window struct {
	mu            sync.Mutex
	width, height int
	buf           bytes.Buffer
	pictures      []string
	lines         []int
	stopped       chan struct{} // if set, writing waits for it, as after Ctrl-S
	err           error
}

func (w *window) Write(b []byte) (int, error)         { return w.buf.Write(b) }
func (w *window) ReadFrom(r io.Reader) (int64, error) { return w.buf.ReadFrom(r) }
func (w *window) IsTerminal() bool                    { return true }
func (w *window) GetTermSize() (width, height int, e error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.width, w.height, nil
}
func (w *window) resize(width int) { w.mu.Lock(); defer w.mu.Unlock(); w.width = width }

func (w *window) Flush(lines int) error {
	if w.stopped != nil {
		<-w.stopped
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.pictures = append(w.pictures, w.buf.String())
	w.lines = append(w.lines, lines)
	w.buf.Reset()
	return nil
}

func (w *window) all() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.pictures, "")
}

func (w *window) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pictures[len(w.pictures)-1]
}

func (w *window) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pictures)
}

func TestTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &window{width: 100, height: 24}
		r := newTerminal(w, Options{})
		r.Report(Submitted{1, "https://h/f.iso", "abc", "me@vps"})
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		if got := w.last(); !strings.Contains(got, "https://h/f.iso") || !strings.Contains(got, "relay: asking the origin") {
			t.Errorf("after submitting:\n%s", got)
		}
		r.Report(Progress{snapshot(420<<20, 1000<<20)})
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		for _, part := range []string{"f.iso", "42 %", "420 MiB / 1000 MiB", "25.3 MB/s", "24 s left", "[====", "\n  relay: 61 % at 12.1 MB/s | 8 TLS 24.9 MB/s, 31 ms, 0.4 % loss | ssh 400 kB/s"} {
			if !strings.Contains(w.last(), part) {
				t.Errorf("no %q in\n%s", part, w.last())
			}
		}
		r.Report(Note{1, "starting over", Info})
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := w.last(); !strings.HasPrefix(got, "f.iso: starting over\n") || !strings.Contains(got, "42 %") {
			t.Errorf("the note does not stand above the bar:\n%s", got)
		}
		r.Report(Done{Download: 1, File: "f.iso", Size: 1000 << 20, LengthVerified: true})
		r.Report(Progress{snapshot(1, 2)}) // late
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if got := w.all(); strings.Count(got, "f.iso  1000 MiB, already here\n") != 1 {
			t.Errorf("the summary is missing or there twice:\n%s", got)
		}
		if got := w.last(); strings.Contains(got, "relay:") {
			t.Errorf("a bar is left:\n%s", got)
		}
	})
}

// Many downloads share the window, each with two lines, and the last words of a
// run are never lost, even if nothing was ever drawn.
func TestTerminalStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &window{width: 80, height: 24}
		r := newTerminal(w, Options{})
		for i := range 4 {
			s := snapshot(int64(i), 10)
			s.Download, s.Name = i, string(rune('a'+i))+".iso"
			r.Report(Progress{s})
		}
		time.Sleep(250 * time.Millisecond)
		synctest.Wait()
		if got := strings.Count(w.last(), "\n"); got != 8 {
			t.Errorf("%d lines:\n%s", got, w.last())
		}
		r.Report(Failed{Download: 2, Message: "full", Hint: "make room"})
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if !strings.Contains(w.all(), "jumpget: c.iso: full\n         make room\n") {
			t.Errorf("the failure is missing:\n%s", w.all())
		}
	})
}

func TestTerminalWithoutDownloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &window{width: 80, height: 24}
		r := newTerminal(w, Options{})
		r.Report(Failed{URL: "https://h/x", Message: "no relay"})
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error("a second Close:", err)
		}
		r.Report(Note{Text: "late"})
		if got := w.all(); got != "jumpget: https://h/x: no relay\n" {
			t.Errorf("got %q", got)
		}
	})
}

func TestTerminalIsRedrawnTenTimesASecondAndFollowsTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &window{width: 100, height: 24}
		r := newTerminal(w, Options{})
		for range 1000 {
			r.Report(Progress{snapshot(5, 10)})
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if n := w.count(); n < 9 || n > 11 {
			t.Errorf("%d pictures in a second", n)
		}
		w.resize(30)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		for line := range strings.Lines(w.last()) {
			if n := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); n > 30 {
				t.Errorf("%d columns: %q", n, line)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A window that stands still (Ctrl-S) must not hold a download up.
func TestReportDoesNotWaitForTheTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &window{width: 80, height: 24, stopped: make(chan struct{})}
		r := newTerminal(w, Options{Verbose: true})
		start := time.Now()
		for i := range 50 {
			r.Report(Progress{Snapshot{Download: i, Name: "x", Size: 10}})
			time.Sleep(100 * time.Millisecond)
			r.Report(Note{i, "note", Info})
			r.Report(Done{Download: i, File: "x"})
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("reporting took %v", d)
		}
		close(w.stopped)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if got := strings.Count(w.all(), "x: note\n"); got != 50 {
			t.Errorf("%d of 50 notes were written", got)
		}
	})
}

func TestTerminalWriteErrorComesBackFromClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &window{width: 80, height: 24, err: errBroken}
		r := newTerminal(w, Options{})
		r.Report(Progress{snapshot(5, 10)})
		time.Sleep(time.Second)
		r.Report(Progress{Snapshot{Download: 7, Name: "later"}})
		r.Report(Done{Download: 1, File: "f.iso"})
		if err := r.Close(); err != errBroken {
			t.Errorf("got %v", err)
		}
	})
}

var sgr = regexp.MustCompile(`\x1b\[[0-9]+m`)

func TestTerminalWritesNoControlCharactersButItsOwn(t *testing.T) {
	for _, color := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := &window{width: 200, height: 24}
			r := newTerminal(w, Options{Color: color, Verbose: true})
			for _, e := range events() {
				r.Report(e)
				time.Sleep(100 * time.Millisecond)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			out := w.all()
			if color {
				if !sgr.MatchString(out) {
					t.Error("no colour")
				}
				out = sgr.ReplaceAllString(out, "")
			}
			for line := range strings.Lines(out) {
				if !harmless(strings.TrimSuffix(line, "\n")) {
					t.Errorf("%q", line)
				}
			}
		})
	}
}

// Whatever is drawn, no line is wider than the window, nor ever wraps.
func TestDrawFitsTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Snapshot{
			Name: rapid.StringN(0, 60, 200).Draw(t, "name"),
			Size: rapid.Int64Range(-1, 1<<50).Draw(t, "size"), Have: rapid.Int64Range(0, 1<<50).Draw(t, "have"),
			Verified: rapid.Int64Range(0, 1<<50).Draw(t, "verified"), Rate: rapid.Float64Range(0, 1e12).Draw(t, "rate"),
			ETA:    time.Duration(rapid.Int64Range(-1, int64(longest)).Draw(t, "eta")),
			Origin: Origin{State: "fetching", Received: rapid.Int64Range(0, 1<<50).Draw(t, "received"), Size: -1},
			Paths:  []Path{{Name: rapid.String().Draw(t, "path"), Conns: 3, RTT: time.Second, Loss: 0.5}},
		}
		width := rapid.IntRange(1, 200).Draw(t, "width")
		for _, line := range []string{drawMain(s, width, false), drawLegs(s, width, false)} {
			if n := runewidth.StringWidth(line); n > width {
				t.Fatalf("%d columns of %d: %q", n, width, line)
			}
			if !harmless(line) {
				t.Fatalf("%q", line)
			}
		}
		if plain := sgr.ReplaceAllString(drawMain(s, width, true), ""); plain != drawMain(s, width, false) {
			t.Fatalf("colour changes the text: %q", plain)
		}
	})
}

func TestDrawBar(t *testing.T) {
	s := Snapshot{Size: 100, Have: 50, Verified: 30, Origin: Origin{Received: 80}}
	if got, want := drawBar(s, 12, false), "[===--...  ]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.Size = Unknown
	if got, want := drawBar(s, 12, false), "[          ]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
