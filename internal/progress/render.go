package progress

import (
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// Mode is how progress is shown.
type Mode string

// The modes. Auto is Bar on a capable terminal, else Plain.
const (
	Auto  Mode = "auto"
	Bar   Mode = "bar"   // redrawn bars; without a capable terminal the same as Plain
	Plain Mode = "plain" // a line every 10 s or 10 %
	None  Mode = "none"  // notes, failures and the summary, no progress
	Quiet Mode = "quiet" // failures only
)

// Options tell how to render. The zero value writes plain lines without colour.
type Options struct {
	Mode     Mode   // empty: Auto
	Terminal bool   // the output is a terminal
	Term     string // $TERM; "dumb" has no bars and no colour
	Color    bool   // colour is wanted: not NO_COLOR and not --no-color
	Verbose  bool   // show notes of level Detail and changes of paths
}

// New returns the human renderer that the options ask for, writing to w. Bars
// need the window's size, so they are drawn only if w is an *os.File.
func New(w io.Writer, o Options) Renderer {
	f, isFile := w.(*os.File)
	capable := isFile && o.Terminal && o.Term != "dumb"
	o.Color = o.Color && capable && enableColor(f)
	if (o.Mode == Bar || o.Mode == Auto || o.Mode == "") && capable {
		return newTerminal(newScreen(f), o)
	}
	return newLines(w, o, time.Now)
}

// NewJSON returns a renderer that writes one JSON object a line to w, with the
// format in docs/json.md.
func NewJSON(w io.Writer) Renderer { return newJSON(w, time.Now) }

// names remembers what each download is called, for the events that carry its number only.
type names map[int]string

// learn takes a download's name from an event that has one.
func (n names) learn(e Event) {
	set := func(id int, name string) {
		if name != "" {
			n[id] = name
		}
	}
	switch e := e.(type) {
	case Submitted:
		if n[e.Download] == "" {
			set(e.Download, e.URL)
		}
	case Progress:
		set(e.Download, e.Name)
	case Done:
		set(e.Download, e.File)
	case Failed:
		if n[e.Download] == "" {
			set(e.Download, e.URL)
			set(e.Download, e.File)
		}
	}
}

// text returns what the human renderers write for an event besides progress
// itself: whole lines, or "" for nothing.
func (n names) text(e Event, o Options) string {
	if f, ok := e.(Failed); ok {
		if f.Bundled && !o.Verbose {
			return ""
		}
		return Error(n[f.Download], f.Message, f.Hint)
	}
	if o.Mode == Quiet {
		return ""
	}
	switch e := e.(type) {
	case Submitted:
		if o.Verbose {
			return n.line(e.Download, "submitted to "+e.Relay+" as job "+e.Job)
		}
	case PathChange:
		if o.Verbose {
			return n.line(e.Download, pathText(e))
		}
	case Note:
		return n.note(e, o)
	case Done:
		if e.Bundled && !o.Verbose {
			return ""
		}
		return Summary(e) + "\n"
	case Bundle:
		return bundleText(e) + "\n"
	}
	return ""
}

// bundleText tells how many files came at once: "1000 files  47.7 MiB in 5.2 s,
// 9.6 MB/s over UDP; one failed".
func bundleText(b Bundle) string {
	carried := int64(0)
	for _, p := range b.Paths {
		carried += p.Bytes
	}
	s := plural(b.Files, "file")
	if b.Files == 0 {
		s = "no file"
	}
	if carried > 0 {
		s += "  " + Size(b.Size) + " in " + Duration(b.Duration) + ", " + Rate(b.Rate) + " over " + routes(b.Paths, carried)
	}
	if b.Failed > 0 {
		s += "; " + strconv.Itoa(b.Failed) + " failed"
	}
	if b.Alone > 0 {
		s += "; " + strconv.Itoa(b.Alone) + " too large or slow to come with them"
	}
	return s
}

func (n names) note(e Note, o Options) string {
	switch {
	case e.Level == Detail && !o.Verbose:
		return ""
	case e.Level == Warning:
		return paint(o.Color, yellow, "warning: ") + n.line(e.Download, e.Text)
	}
	return n.line(e.Download, e.Text)
}

func (n names) line(download int, text string) string {
	if name := n[download]; name != "" {
		return Printable(name) + ": " + Printable(text) + "\n"
	}
	return Printable(text) + "\n"
}

func pathText(e PathChange) string {
	s := "path " + e.Path + " " + string(e.State)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// The colours in use, as SGR parameters.
const (
	dim    = "2"
	green  = "32"
	yellow = "33"
)

// paint puts s, which has been made printable, into a colour.
func paint(on bool, color, s string) string {
	if !on || s == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// relayLeg tells what happens between the origin and the relay, or "" if there
// is nothing more to tell.
func relayLeg(o Origin) string {
	switch o.State {
	case "":
		return ""
	case "queued":
		return "relay: asking the origin"
	case "fetching":
	default:
		return "relay: " + Printable(o.State)
	}
	parts := []string{percent(o.Received, o.Size), Rate(o.Rate)}
	if parts[0] == "" {
		parts[0] = Size(o.Received)
	}
	return "relay: " + strings.Join(parts, " at ")
}
