package progress

import "time"

// Reporter takes events. Report is safe for concurrent use, returns at once and
// keeps no reference to slices in the event beyond the call.
type Reporter interface {
	Report(Event)
}

// Renderer is a Reporter that somebody reads. Close writes what is still to be
// written, takes unfinished bars off the terminal and returns the first error of
// writing; Report after Close does nothing.
type Renderer interface {
	Reporter
	Close() error
}

// Event is one of [Submitted], [Progress], [PathChange], [Note], [Done],
// [Bundle] and [Failed]. Each carries the number of the download that it belongs to, which
// the caller chooses; a run of one download may leave it 0.
type Event interface{ isEvent() }

// Submitted says that the relay has accepted a URL.
type Submitted struct {
	Download int
	URL      string // without user and password
	Job      string // the job's ID
	Relay    string // as the user named it
}

// Progress says how far a download has come. Send it as often as you like: the
// renderers thin it out.
type Progress struct{ Snapshot }

// PathChange says that a path was opened, lost or given up.
type PathChange struct {
	Download int
	Path     string // a Path constant
	State    PathState
	Reason   string // why, for a person; may be empty
}

// PathState is where a path stands.
type PathState string

// The states of a path.
const (
	PathTrying PathState = "trying" // connecting
	PathUp     PathState = "up"     // carrying bytes
	PathSlow   PathState = "slow"   // its work went to others
	PathDown   PathState = "down"   // failed or given up; Reason tells why
	PathIdle   PathState = "idle"   // no longer needed
)

// The names of paths.
const (
	PathTCP    = "tcp"    // ranged HTTP inside TLS, one or more connections
	PathHTTP   = "http"   // ranged HTTP without TLS
	PathSSH    = "ssh"    // the ssh tunnel
	PathUDP    = "udp"    // the bulk protocol
	PathDirect = "direct" // straight from the origin, not through the relay
)

// Note is something a person may want to know, such as "the origin's file
// changed, starting over".
type Note struct {
	Download int
	Text     string // one line
	Level    Level
}

// Level is how much a [Note] matters.
type Level int

// The levels of notes. Detail is shown only to somebody who asked for more.
const (
	Info Level = iota
	Detail
	Warning
)

func (l Level) String() string {
	switch l {
	case Detail:
		return "detail"
	case Warning:
		return "warning"
	}
	return "info"
}

// Done says that a file stands, complete and verified.
type Done struct {
	Download       int
	URL            string
	File           string        // path as the user would type it; "-" for standard output
	Size           int64         // bytes of the whole file
	SHA256         string        // hex, of the whole file
	Rate           float64       // mean, bytes a second, of what this run carried
	Duration       time.Duration // of this run
	Verified       int           // chunks checked against the relay's sums in this run
	Resumed        int64         // bytes that stood from earlier runs
	Paths          []PathUse     // how this run's bytes came, most bytes first
	LengthVerified bool          // false: the origin gave no length, so an early end can't be told
	Bundled        bool          // it came with others, whose Bundle tells people of them all
	Bundle         int           // that one's number
}

// PathUse is what one path did for a finished download.
type PathUse struct {
	Name  string // a Path constant
	Bytes int64
	Conns int // the most connections it had at once
}

// Bundle says that all is done which can be done of many files that came as one.
// It is the last event of the bundle's own number; its files have theirs.
type Bundle struct {
	Download int
	Files    int           // that stand, from earlier runs too
	Failed   int           // that will not come this time
	Alone    int           // that are left to downloads of their own
	Size     int64         // bytes of the files of this run
	Rate     float64       // mean, bytes a second, of what this run carried
	Duration time.Duration // of this run
	Paths    []PathUse     // as of Done
}

// Failed says that a download came to nothing this time. The human renderers
// print it, so whoever reports it does not print the error again.
type Failed struct {
	Download int
	URL      string
	File     string // where it would have gone; may be empty
	Code     string // a job.Code or one of the command line's own
	Exit     int    // the exit code that this error stands for
	Message  string // what happened, one line
	Hint     string // what to do, one line; may be empty
	Bundled  bool   // it failed with others, and a Failed of their bundle tells people of them all
	Bundle   int    // that one's number
}

func (Submitted) isEvent()  {}
func (Progress) isEvent()   {}
func (PathChange) isEvent() {}
func (Note) isEvent()       {}
func (Done) isEvent()       {}
func (Failed) isEvent()     {}
func (Bundle) isEvent()     {}

// Unknown stands for a size that nobody has told yet.
const Unknown int64 = -1

// Snapshot is the state of one download at one moment. Sizes are bytes, rates
// bytes a second.
type Snapshot struct {
	Download int
	Name     string        // file name; may be empty until the relay knows it
	Size     int64         // or Unknown
	Have     int64         // bytes here, earlier runs' included, verified or not
	Verified int64         // bytes here whose chunks match the relay's sums
	Rate     float64       // lately; see Meter
	ETA      time.Duration // time left, or negative if not known; see Meter
	Origin   Origin
	Paths    []Path
	Resumed  int64 // bytes that stood when this run began

	Files, FilesDone int // of a bundle; 0: a single file
}

// Origin is the leg from the origin to the relay.
type Origin struct {
	State    string // a job.State: queued, fetching, ready, ...
	Received int64  // bytes the relay has
	Size     int64  // or Unknown
	Rate     float64
}

// Path is one way by which bytes come here, as it is now.
type Path struct {
	Name  string // a Path constant
	Conns int    // open connections
	Rate  float64
	Bytes int64         // carried in this run
	RTT   time.Duration // 0: not known
	Loss  float64       // share of packets lost, 0 to 1; negative: not known
}

// Discard is a Reporter for nobody.
type Discard struct{}

// Report does nothing.
func (Discard) Report(Event) {}
