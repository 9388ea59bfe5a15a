package wire

import (
	"crypto/sha256"
	"errors"
	"math"

	"github.com/jumpget/jumpget/internal/job"
)

// FromTicket puts a ticket on the wire.
func FromTicket(t job.Ticket) *Ticket {
	return &Ticket{Job: t.Job, Token: t.Token, Expires: t.Expires, Endpoints: FromEndpoints(t.Endpoints), Observed: t.Observed}
}

// FromEndpoints puts endpoints on the wire.
func FromEndpoints(es []job.Endpoint) []Endpoint {
	out := make([]Endpoint, len(es))
	for i, e := range es {
		out[i] = Endpoint(e)
	}
	return out
}

// ToEndpoints takes endpoints off the wire.
func ToEndpoints(es []Endpoint) []job.Endpoint {
	out := make([]job.Endpoint, len(es))
	for i, e := range es {
		out[i] = job.Endpoint(e)
	}
	return out
}

// Ticket takes a ticket off the wire.
func (t *Ticket) Ticket() job.Ticket {
	return job.Ticket{Job: t.Job, Token: t.Token, Expires: t.Expires, Endpoints: ToEndpoints(t.Endpoints), Observed: t.Observed}
}

// FromSession puts a session on the wire, without its secret.
func FromSession(s job.Session) Session {
	return Session{
		ID: s.ID, Name: s.Name, User: s.Owner, Created: s.Created, Used: s.Used, Expires: s.Expires, Until: s.Until, Address: s.Addr,
	}
}

// FromStatus puts a job's status on the wire.
func FromStatus(s job.Status) *Job {
	j := &Job{
		ID: s.Job.ID, URL: s.Job.URL, Files: job.FilesOf(s.Job.Key), State: s.Job.State, Created: s.Job.Created, Expires: s.Job.Expires,
		Received: s.Received, Rate: s.Rate, Error: FromError(s.Job.Error),
	}
	if o := s.Object; o != nil {
		j.Object = &Object{
			ID: o.ID, Name: o.Name, Size: o.Size, SHA256: o.SHA256, ModTime: o.ModTime,
			ContentType: o.ContentType, Complete: o.Complete, LengthVerified: o.LengthVerified,
		}
	}
	return j
}

// FromEvent puts an event on the wire.
func FromEvent(e job.Event) Message {
	switch {
	case e.Status != nil:
		return Message{Job: FromStatus(*e.Status)}
	case e.Sums != nil:
		s := &Sums{Object: e.Sums.Object, First: e.Sums.First}
		for _, sum := range e.Sums.SHA256 {
			s.SHA256 = append(s.SHA256, sum[:]...)
		}
		return Message{Sums: s}
	}
	return Message{}
}

// Each calls f with the index and SHA-256 of every chunk in s. It fails if the
// bytes are no whole number of sums or an index is beyond what an int holds.
func (s *Sums) Each(f func(chunk int, sum [sha256.Size]byte)) error {
	if len(s.SHA256)%sha256.Size != 0 || s.First < 0 || s.First > math.MaxInt-len(s.SHA256)/sha256.Size {
		return errors.New("wire: malformed sums")
	}
	for i := 0; i+sha256.Size <= len(s.SHA256); i += sha256.Size {
		f(s.First+i/sha256.Size, [sha256.Size]byte(s.SHA256[i:i+sha256.Size]))
	}
	return nil
}

// FromError puts any error on the wire; nil stays nil. The cause of an error
// that is not a *job.Error stays in the relay's log.
func FromError(err error) *Error {
	var e *job.Error
	switch {
	case err == nil || errors.As(err, &e) && e == nil:
		return nil
	case e != nil:
		return &Error{Code: e.Code, Message: e.Message, Hint: e.Hint, Status: e.Status}
	}
	return &Error{Code: job.CodeInternal, Message: "the relay failed", Hint: "its log tells more: journalctl -u jumpget"}
}

// Err takes an error off the wire.
func (e *Error) Err() error {
	if e == nil {
		return nil
	}
	return &job.Error{Code: e.Code, Message: e.Message, Hint: e.Hint, Status: e.Status}
}
