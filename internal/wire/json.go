package wire

import (
	"net/netip"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

// Submit asks the relay to bring a URL. Times are in seconds.
type Submit struct {
	URL      string       `json:"url,omitempty"`
	List     []byte       `json:"list,omitempty"` // in place of URL and Mirrors: a bundle's files, see package bundle
	Mirrors  []string     `json:"mirrors,omitempty"`
	Header   [][2]string  `json:"header,omitempty"` // name, value
	Username string       `json:"username,omitempty"`
	Password string       `json:"password,omitempty"`
	Retain   int64        `json:"retain,omitempty"`
	Fresh    bool         `json:"fresh,omitempty"`
	Allow    []netip.Addr `json:"allow,omitempty"`  // addresses to grant at once
	Detach   bool         `json:"detach,omitempty"` // answer the ticket and the first status only
	Chunk    int          `json:"chunk,omitempty"`  // the first chunk whose sum is wanted

	// Submission is an id of the client's choice in the form of a job's ID. The
	// same user with the same submission gets the same job, whatever else the
	// request says. In a session it also decides the job's token.
	Submission job.ID `json:"submission,omitempty"`
}

// Message is one line of an event stream. Exactly one field is set.
type Message struct {
	Ticket *Ticket `json:"ticket,omitempty"`
	Job    *Job    `json:"job,omitempty"`
	Sums   *Sums   `json:"sums,omitempty"`
	Error  *Error  `json:"error,omitempty"` // the stream ends after it
}

// Ticket opens the public door for one job.
type Ticket struct {
	Job       job.ID     `json:"job"`
	Token     string     `json:"token"`
	Expires   time.Time  `json:"expires"`
	Endpoints []Endpoint `json:"endpoints"`
	Observed  netip.Addr `json:"observed,omitzero"`
}

// Endpoint is one way to the public door; see job.Endpoint.
type Endpoint struct {
	Scheme string `json:"scheme"`
	Host   string `json:"host,omitempty"`
	Port   int    `json:"port"`
	Path   string `json:"path,omitempty"`
	Pin    string `json:"pin,omitempty"`
}

// Job is a job with its object and progress. Sizes are bytes, rates bytes a
// second, -1 an unknown size.
type Job struct {
	ID       job.ID    `json:"id"`
	URL      string    `json:"url"`
	Files    int       `json:"files,omitempty"` // of a bundle; 0: a single file
	State    job.State `json:"state"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	Received int64     `json:"received"`
	Rate     float64   `json:"rate,omitempty"`
	Object   *Object   `json:"object,omitempty"`
	Error    *Error    `json:"error,omitempty"`
}

// Object is one version of a URL's bytes.
type Object struct {
	ID             job.ID    `json:"id"`
	Name           string    `json:"name"`
	Size           int64     `json:"size"`
	SHA256         string    `json:"sha256,omitempty"` // once complete
	ModTime        time.Time `json:"mtime,omitzero"`
	ContentType    string    `json:"content_type,omitempty"`
	Complete       bool      `json:"complete,omitempty"`
	LengthVerified bool      `json:"length_verified"`
}

// Sums carries the SHA-256 of consecutive chunks, 32 bytes each, as one base64
// string: a third of the size of a JSON array of hex.
type Sums struct {
	Object job.ID `json:"object"`
	First  int    `json:"first"`
	SHA256 []byte `json:"sha256"`
}

// Jobs is the answer to RouteList.
type Jobs struct {
	Jobs []Job `json:"jobs"`
}

// Extend keeps a job for so many seconds from now.
type Extend struct {
	Retain int64 `json:"retain"`
}

// Grant allows an address for one job, or for all of the user's jobs.
type Grant struct {
	Job     job.ID     `json:"job,omitempty"`
	Addr    netip.Addr `json:"addr"`
	Seconds int64      `json:"seconds,omitempty"` // 0: as long as the job is kept
}

// Status is what a relay says of itself.
type Status struct {
	Version   string     `json:"version"`  // of the program
	Contract  int        `json:"contract"` // Version
	Time      time.Time  `json:"time"`
	User      string     `json:"user"` // as the relay knows the caller
	Observed  netip.Addr `json:"observed,omitzero"`
	Endpoints []Endpoint `json:"endpoints"`
	DiskFree  int64      `json:"disk_free"`
	Used      int64      `json:"used"`
	Quota     int64      `json:"quota,omitempty"` // 0: none
	Retain    int64      `json:"retain"`
	BBR       bool       `json:"bbr"`
	Jobs      int        `json:"jobs"`
}

// Error is a failure as it crosses the wire.
type Error struct {
	Code    job.Code `json:"code"`
	Message string   `json:"message"`
	Hint    string   `json:"hint,omitempty"`
	Status  int      `json:"status,omitempty"` // the origin's
}
