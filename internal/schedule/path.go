package schedule

// Path names a way for bytes to reach the client. It decides how its workers are
// treated: over UDP one connection carries everything, in any order; over TCP many
// share the work, and each answers in the order of requests; over ssh one request
// is under way at a time, since other things share its pipe.
type Path string

// The paths.
const (
	UDP Path = "udp" // the bulk protocol, to the public door's port
	TCP Path = "tcp" // ranged HTTP over TLS to the public door
	SSH Path = "ssh" // the ssh tunnel itself
)

// Allowance is how much work a path may take on. Where all paths share one
// bottleneck, a second one only takes room from the best.
type Allowance int

// The allowances.
const (
	Full     Allowance = iota
	Cautious           // one small piece for each of Standby workers, to show what it can do
	None
)
