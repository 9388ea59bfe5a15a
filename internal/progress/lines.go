package progress

import (
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	lineEvery = 10 * time.Second
	lineShare = 0.1
	// lineGap keeps a fast download from writing its ten lines at once.
	lineGap = time.Second
)

// lines renders to something that is no terminal, or a dumb one.
type lines struct {
	mu     sync.Mutex
	w      io.Writer
	o      Options
	now    func() time.Time
	names  names
	told   map[int]told
	err    error // the first error of writing; nothing is written after it
	closed bool
}

// told is what a download's last line said.
type told struct {
	at    time.Time
	share float64
}

func newLines(w io.Writer, o Options, now func() time.Time) *lines {
	return &lines{w: w, o: o, now: now, names: names{}, told: map[int]told{}}
}

func (l *lines) Report(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.names.learn(e)
	if p, ok := e.(Progress); ok {
		l.progress(p.Snapshot)
		return
	}
	l.write(l.names.text(e, l.o))
}

func (l *lines) progress(s Snapshot) {
	if l.o.Mode == None || l.o.Mode == Quiet {
		return
	}
	now, part := l.now(), share(s.Have, s.Size)
	last, seen := l.told[s.Download]
	if !seen { // the clock starts with the first snapshot
		l.told[s.Download] = told{now, part}
		return
	}
	since := now.Sub(last.at)
	if since < lineEvery && (part-last.share < lineShare || since < lineGap) {
		return
	}
	l.told[s.Download] = told{now, part}
	l.write(l.names.line(s.Download, progressText(s)))
}

func (l *lines) write(s string) {
	if s == "" || l.err != nil {
		return
	}
	_, l.err = io.WriteString(l.w, s)
}

func (l *lines) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.err
}

// progressText is a snapshot in one line without the name.
func progressText(s Snapshot) string {
	var parts []string
	if s.Size >= 0 {
		parts = append(parts, percent(s.Have, s.Size), Size(s.Have)+" of "+Size(s.Size))
	} else {
		parts = append(parts, Size(s.Have)+" of unknown")
	}
	parts = append(parts, Rate(s.Rate))
	if s.ETA >= 0 {
		parts = append(parts, left(s.ETA))
	}
	parts = append(parts, filesText(s), relayLeg(s.Origin))
	var full []string
	for _, p := range parts {
		if p != "" {
			full = append(full, p)
		}
	}
	return strings.Join(full, ", ")
}

// filesText tells how many files of a bundle are here, or "".
func filesText(s Snapshot) string {
	if s.Files == 0 {
		return ""
	}
	return strconv.Itoa(s.FilesDone) + " of " + strconv.Itoa(s.Files) + " files"
}
