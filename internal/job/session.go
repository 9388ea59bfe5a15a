package job

import (
	"net/netip"
	"time"
)

// Session is a user's right to use the relay without ssh for a while. Whoever
// holds its secret has it.
type Session struct {
	ID      ID
	Owner   string
	Source  Source
	Name    string // of the machine that keeps it, as that says; for people
	Created time.Time
	Used    time.Time  // last; Created if never
	Expires time.Time  // if it is not used again
	Until   time.Time  // however much it is used
	Addr    netip.Addr // from which it was used last; invalid if never
}

// Source is how a relay knows a user's name, and so who can tell whether there
// still is such a user.
type Source string

// The sources. The zero value is a name that nobody vouches for.
const (
	SourceSystem Source = "system" // an account of the relay's machine
	SourceKeys   Source = "keys"   // the authorized keys of the relay's own ssh endpoint
)
