package bulk

import (
	"errors"
	"fmt"
	"time"
)

// Code is why a connection ended, as it stands on the wire.
type Code uint8

// Codes of ERROR and BYE frames (section 3).
const (
	CodeDone     Code = 0 // the client needs nothing more, or the relay has closed the stream
	CodeAddress  Code = 1 // the address is not granted; the connection goes on
	CodeChanged  Code = 2 // the job has another object
	CodeGone     Code = 3 // the job, its token or the session is no more
	CodeFailed   Code = 4 // the relay can't get the bytes
	CodeShutdown Code = 5 // the relay is going down
	CodeBusy     Code = 6 // too many connections
	CodeIdle     Code = 7 // nothing came for too long
)

var codeWords = map[Code]string{
	CodeDone:     "the client needs nothing more",
	CodeAddress:  "the relay does not know our address yet",
	CodeChanged:  "the relay has another version of the file",
	CodeGone:     "the relay does not know the job, its token or the session any more",
	CodeFailed:   "the relay can't get the file's bytes",
	CodeShutdown: "the relay is going down",
	CodeBusy:     "the relay has too many connections",
	CodeIdle:     "the relay heard nothing from us for too long",
}

func (c Code) String() string {
	if s, ok := codeWords[c]; ok {
		return s
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// RefusedError is the relay's word that ended a connection.
type RefusedError struct{ Code Code }

func (e *RefusedError) Error() string { return e.Code.String() }

// SilentError says that the relay was silent for too long.
type SilentError struct {
	After    time.Duration
	Answered bool // it had answered before
}

func (e *SilentError) Error() string {
	if e.Answered {
		return fmt.Sprintf("nothing came over UDP for %v", e.After)
	}
	return fmt.Sprintf("no answer over UDP in %v", e.After)
}

// Errors that a PacketConn, a Body or a Jobs gives.
var (
	// ErrTooBig says that the system refuses to send packets of this size.
	ErrTooBig = errors.New("bulk: the packet is too big for the path")

	// ErrChanged says that the job's object is another one than was asked for.
	ErrChanged = errors.New("bulk: the object is another one")

	// ErrGone says that the job is no more.
	ErrGone = errors.New("bulk: the job is no more")

	// ErrClosed is the end of a connection or server that was closed at this end.
	ErrClosed = errors.New("bulk: closed")
)
