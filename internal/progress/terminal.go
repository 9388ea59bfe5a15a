package progress

import (
	"cmp"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// redraw is the time between two pictures: ten a second.
const redraw = 100 * time.Millisecond

// terminal draws a stack of downloads, two lines each. Everything that may wait
// for the terminal (somebody may have stopped it with Ctrl-S) is done by its own
// goroutine, so that Report never waits and a download goes on behind a
// terminal that stands still.
type terminal struct {
	o      Options
	screen mpb.ConsoleWriter
	stack  *mpb.Progress

	mu     sync.Mutex
	names  names
	views  map[int]*view
	ended  map[int]bool // downloads whose late snapshots are dropped
	todo   []func()     // for the worker, in order
	closed bool

	wake    chan struct{} // something is to do; closed by Close
	stopped chan struct{} // closed when the worker has ended
	err     error         // valid once stopped is closed
}

// view is one download on the screen.
type view struct {
	mu       sync.Mutex
	snapshot Snapshot
	bar      *mpb.Bar // the worker's alone
}

func (v *view) set(s Snapshot) {
	s.Paths = slices.Clone(s.Paths)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.snapshot = s
}

func (v *view) get() Snapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.snapshot
}

func newTerminal(screen mpb.ConsoleWriter, o Options) *terminal {
	t := &terminal{
		o: o, screen: screen,
		stack: mpb.New(mpb.WithConsoleWriter(screen), mpb.WithRefreshRate(redraw), mpb.WithAutoRefresh()),
		names: names{}, views: map[int]*view{}, ended: map[int]bool{},
		wake: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	go t.work()
	return t
}

func (t *terminal) Report(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.names.learn(e)
	switch e := e.(type) {
	case Submitted:
		t.show(e.Download, Snapshot{Download: e.Download, Name: e.URL, Size: Unknown, ETA: -1, Origin: Origin{State: "queued"}})
	case Progress:
		t.show(e.Download, e.Snapshot)
		return
	}
	if text := t.names.text(e, t.o); text != "" {
		t.later(func() { _, _ = io.WriteString(t.stack, text) }) // its error is the stack's, see end
	}
	switch e := e.(type) {
	case Done:
		t.hide(e.Download)
	case Bundle:
		t.hide(e.Download)
	case Failed:
		t.hide(e.Download)
	}
}

// show puts a snapshot on the screen, in a new place if it is the download's first.
func (t *terminal) show(id int, s Snapshot) {
	if t.ended[id] {
		return
	}
	if s.Name == "" {
		s.Name = t.names[id]
	}
	v, ok := t.views[id]
	if !ok {
		v = &view{}
		t.views[id] = v
		t.later(func() { t.add(v) })
	}
	v.set(s)
}

func (t *terminal) hide(id int) {
	t.ended[id] = true
	if v, ok := t.views[id]; ok {
		delete(t.views, id)
		t.later(func() { drop(v) })
	}
}

func drop(v *view) {
	if v.bar != nil {
		v.bar.Abort(true)
	}
}

// add gives a download its two lines. Its total stays unknown to mpb, so that
// only we decide when it ends.
func (t *terminal) add(v *view) {
	main := mpb.BarFillerFunc(func(w io.Writer, st decor.Statistics) error {
		_, err := io.WriteString(w, drawMain(v.get(), st.AvailableWidth, t.o.Color))
		return err
	})
	legs := mpb.BarFillerFunc(func(w io.Writer, st decor.Statistics) error {
		_, err := io.WriteString(w, drawLegs(v.get(), st.AvailableWidth, t.o.Color)+"\n")
		return err
	})
	v.bar, _ = t.stack.Add(0, main, mpb.BarFillerTrim(), mpb.BarBtmExtender(legs)) // nil after a failed write
}

// later has the worker do f. The caller holds t.mu.
func (t *terminal) later(f func()) {
	t.todo = append(t.todo, f)
	select {
	case t.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

func (t *terminal) work() {
	defer close(t.stopped)
	for range t.wake {
		t.drain()
	}
	t.drain()
	t.end()
}

func (t *terminal) drain() {
	t.mu.Lock()
	todo := t.todo
	t.todo = nil
	t.mu.Unlock()
	for _, f := range todo {
		f()
	}
}

// end takes what is left off the screen and writes what mpb has kept back for
// its next picture, which will not come.
func (t *terminal) end() {
	for _, v := range t.views { // nobody changes it after closed
		drop(v)
	}
	t.stack.Wait()
	t.err = cmp.Or(t.stack.Error, t.screen.Flush(0))
	if errors.Is(t.err, os.ErrClosed) {
		t.err = nil // the terminal went first; there is nobody to tell
	}
}

func (t *terminal) Close() error {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.wake)
	}
	t.mu.Unlock()
	<-t.stopped
	return t.err
}

// screen is a terminal window whose size is asked for at each picture. It keeps
// one row free: a picture as high as the window would scroll its own top away.
type screen struct {
	*cupwriter.Writer
	file *os.File
}

func newScreen(f *os.File) screen { return screen{cupwriter.New(f, false), f} }

// Flush goes to the line's start first: what the terminal echoes of a key,
// such as ^C, moves the cursor on, and the picture is cleared from there only.
func (s screen) Flush(lines int) error {
	if _, err := s.file.WriteString("\r"); err != nil {
		return err
	}
	return s.Writer.Flush(lines)
}

func (s screen) GetTermSize() (width, height int, err error) {
	width, height, err = s.Writer.GetTermSize()
	return max(width, 1), max(height-1, 1), err
}
