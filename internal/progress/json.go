package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
)

// jsonGap is the least time between two progress objects of one download.
const jsonGap = 500 * time.Millisecond

// jsonRenderer writes one object a line. Its format is docs/json.md; what
// stands there is only ever added to.
type jsonRenderer struct {
	mu     sync.Mutex
	w      io.Writer
	now    func() time.Time
	told   map[int]time.Time
	err    error
	closed bool
}

func newJSON(w io.Writer, now func() time.Time) *jsonRenderer {
	return &jsonRenderer{w: w, now: now, told: map[int]time.Time{}}
}

// head begins every object.
type head struct {
	Event    string    `json:"event"`
	Time     time.Time `json:"time"`
	Download int       `json:"download"`
}

type jsonSubmitted struct {
	head
	URL   string `json:"url"`
	Job   string `json:"job"`
	Relay string `json:"relay"`
}

type jsonProgress struct {
	head
	Name     string     `json:"name"`
	Size     *int64     `json:"size"`
	Have     int64      `json:"have"`
	Verified int64      `json:"verified"`
	Resumed  int64      `json:"resumed"`
	Rate     int64      `json:"rate"`
	ETA      *float64   `json:"eta"`
	Origin   jsonOrigin `json:"origin"`
	Paths    []jsonPath `json:"paths"`
	Files    *int       `json:"files,omitempty"`
	Here     *int       `json:"files_done,omitempty"`
}

type jsonOrigin struct {
	State    string `json:"state"`
	Received int64  `json:"received"`
	Size     *int64 `json:"size"`
	Rate     int64  `json:"rate"`
}

type jsonPath struct {
	Path        string   `json:"path"`
	Connections int      `json:"connections"`
	Rate        int64    `json:"rate"`
	Bytes       int64    `json:"bytes"`
	RTT         *float64 `json:"rtt"`
	Loss        *float64 `json:"loss"`
}

type jsonPathChange struct {
	head
	Path   string    `json:"path"`
	State  PathState `json:"state"`
	Reason string    `json:"reason"`
}

type jsonNote struct {
	head
	Level string `json:"level"`
	Text  string `json:"text"`
}

type jsonDone struct {
	head
	URL            string    `json:"url"`
	File           string    `json:"file"`
	Size           int64     `json:"size"`
	SHA256         string    `json:"sha256"`
	Rate           int64     `json:"rate"`
	Duration       float64   `json:"duration"`
	Verified       int       `json:"verified_chunks"`
	Resumed        int64     `json:"resumed"`
	LengthVerified bool      `json:"length_verified"`
	Paths          []jsonUse `json:"paths"`
	Bundle         *int      `json:"bundle,omitempty"`
}

type jsonBundle struct {
	head
	Files    int       `json:"files"`
	Failed   int       `json:"failed"`
	Alone    int       `json:"alone"`
	Size     int64     `json:"size"`
	Rate     int64     `json:"rate"`
	Duration float64   `json:"duration"`
	Paths    []jsonUse `json:"paths"`
}

type jsonUse struct {
	Path        string `json:"path"`
	Bytes       int64  `json:"bytes"`
	Connections int    `json:"connections"`
}

type jsonFailed struct {
	head
	URL     string `json:"url"`
	File    string `json:"file"`
	Code    string `json:"code"`
	Exit    int    `json:"exit"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
	Bundle  *int   `json:"bundle,omitempty"`
}

func (j *jsonRenderer) Report(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || j.err != nil {
		return
	}
	now := j.now()
	if p, ok := e.(Progress); ok {
		if last, seen := j.told[p.Download]; seen && now.Sub(last) < jsonGap {
			return
		}
		j.told[p.Download] = now
	}
	line, err := json.Marshal(object(e, now.UTC().Truncate(time.Millisecond)))
	if err == nil {
		_, err = io.WriteString(j.w, escapeJSON(string(line))+"\n")
	}
	j.err = err
}

func (j *jsonRenderer) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	return j.err
}

// object returns the event in the form that is written.
func object(e Event, now time.Time) any {
	h := func(name string, download int) head { return head{name, now, download} }
	switch e := e.(type) {
	case Submitted:
		return jsonSubmitted{h("submitted", e.Download), e.URL, e.Job, e.Relay}
	case Progress:
		return progressObject(h("progress", e.Download), e.Snapshot)
	case PathChange:
		return jsonPathChange{h("path", e.Download), e.Path, e.State, e.Reason}
	case Note:
		return jsonNote{h("note", e.Download), e.Level.String(), e.Text}
	case Done:
		return doneObject(h("done", e.Download), e)
	case Failed:
		return jsonFailed{h("error", e.Download), e.URL, e.File, e.Code, e.Exit, e.Message, e.Hint, number(e.Bundle, e.Bundled)}
	case Bundle:
		return jsonBundle{
			h("bundle", e.Download), e.Files, e.Failed, e.Alone, e.Size, whole(e.Rate), *seconds(e.Duration, true), usesObject(e.Paths),
		}
	}
	panic(fmt.Sprintf("progress: unknown event %T", e)) // Event is sealed
}

func progressObject(h head, s Snapshot) jsonProgress {
	p := jsonProgress{
		head: h, Name: s.Name, Size: known(s.Size), Have: s.Have, Verified: s.Verified,
		Resumed: s.Resumed, Rate: whole(s.Rate), ETA: seconds(s.ETA, s.ETA >= 0),
		Origin: jsonOrigin{s.Origin.State, s.Origin.Received, known(s.Origin.Size), whole(s.Origin.Rate)},
		Paths:  []jsonPath{},
	}
	for _, q := range s.Paths {
		out := jsonPath{Path: q.Name, Connections: q.Conns, Rate: whole(q.Rate), Bytes: q.Bytes, RTT: seconds(q.RTT, q.RTT > 0)}
		if q.Loss >= 0 {
			out.Loss = finite(q.Loss)
		}
		p.Paths = append(p.Paths, out)
	}
	p.Files, p.Here = number(s.Files, s.Files > 0), number(s.FilesDone, s.Files > 0)
	return p
}

func doneObject(h head, d Done) jsonDone {
	return jsonDone{
		head: h, URL: d.URL, File: d.File, Size: d.Size, SHA256: d.SHA256, Rate: whole(d.Rate),
		Duration: *seconds(d.Duration, true), Verified: d.Verified, Resumed: d.Resumed,
		LengthVerified: d.LengthVerified, Paths: usesObject(d.Paths), Bundle: number(d.Bundle, d.Bundled),
	}
}

func usesObject(uses []PathUse) []jsonUse {
	out := []jsonUse{}
	for _, p := range uses {
		out = append(out, jsonUse{p.Name, p.Bytes, p.Conns})
	}
	return out
}

func number(n int, ok bool) *int {
	if !ok {
		return nil
	}
	return &n
}

func known(size int64) *int64 {
	if size < 0 {
		return nil
	}
	return &size
}

// seconds has microseconds; more digits would only be noise.
func seconds(d time.Duration, ok bool) *float64 {
	if !ok {
		return nil
	}
	s := math.Round(d.Seconds()*1e6) / 1e6
	return &s
}

func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// whole rounds a rate; JSON has no way to write NaN or infinity.
func whole(rate float64) int64 {
	if math.IsNaN(rate) || rate < 0 || rate >= math.MaxInt64 {
		return 0
	}
	return int64(math.Round(rate))
}

// escapeJSON writes what could do something to a terminal as \u escapes, which
// mean the same to every JSON reader. encoding/json does so for C0 alone.
func escapeJSON(line string) string {
	if isPrintable(line) {
		return line
	}
	var b strings.Builder
	for _, r := range line {
		switch hi, lo := utf16.EncodeRune(r); {
		case printable(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		}
	}
	return b.String()
}
