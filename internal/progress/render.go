package progress

import "io"

// Mode is how progress is shown.
type Mode string

// The modes. Auto is Bar on a capable terminal, else Plain.
const (
	Auto  Mode = "auto"
	Bar   Mode = "bar"   // redrawn bars
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

// New returns the human renderer that the options ask for, writing to w. For a
// Terminal that follows its window's width, w is an *os.File.
func New(w io.Writer, o Options) Renderer { return nopRenderer{} }

// NewJSON returns a renderer that writes one JSON object a line to w, with the
// format in docs/json.md.
func NewJSON(w io.Writer) Renderer { return nopRenderer{} }

type nopRenderer struct{ Discard }

func (nopRenderer) Close() error { return nil }
