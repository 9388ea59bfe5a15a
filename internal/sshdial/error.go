package sshdial

// Kind names a way for ssh to fail.
type Kind string

// The kinds of failure.
const (
	NoSSH          Kind = "no_ssh"           // there is no ssh program
	BadCommand     Kind = "bad_command"      // destination, ssh command or ssh config can't be used
	HostKeyChanged Kind = "host_key_changed" // not the key that known_hosts has
	HostKeyUnknown Kind = "host_key_unknown" // never seen, and nobody could be asked
	AuthRefused    Kind = "auth_refused"     // no key or password was accepted
	Unreachable    Kind = "unreachable"      // no such name, refused, no route, timeout
	ForwardRefused Kind = "forward_refused"  // no forwarding allowed, and no bridge there
	NoRelay        Kind = "no_relay"         // ssh works, no relay behind it
	Cut            Kind = "cut"              // the connection was closed before the login
	Died           Kind = "died"             // the connection broke after it stood
)

// Error is a failure of ssh told to a person. No field has control characters.
type Error struct {
	Kind    Kind
	Message string // what happened, one line, no final stop
	Hint    string // what to do, one line
	Detail  string // the last lines that ssh said; may be empty
	Err     error  // the cause, where there is one
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is match any two errors of one kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind
}
