package job

import (
	"errors"
	"fmt"
)

// Code names a kind of failure. The table in package wire gives each code its
// HTTP status, and the command layer gives each its exit code.
type Code string

// The kinds of failure that cross the wire.
const (
	CodeBadRequest   Code = "bad_request"     // the request can't be understood
	CodeBadURL       Code = "bad_url"         // not an http or https URL
	CodeOriginDenied Code = "origin_denied"   // the relay may not connect to this address
	CodeOriginLogin  Code = "origin_login"    // the origin asks for a login: 401, 403, 407
	CodeOriginStatus Code = "origin_status"   // any other HTTP error of the origin
	CodeOriginNet    Code = "origin_network"  // no connection, reset, timeout
	CodeOriginTLS    Code = "origin_tls"      // the origin's certificate is not trusted
	CodeOriginProto  Code = "origin_protocol" // redirect loop, wrong ranges, lying length
	CodeTooLarge     Code = "too_large"       // over the relay's cap for one file
	CodeQuota        Code = "quota"           // over the relay's quota
	CodeDisk         Code = "disk"            // the relay's disk is full or failing
	CodeNotFound     Code = "not_found"       // no such job for this user
	CodeExpired      Code = "expired"         // the retention time is over
	CodeRemoved      Code = "removed"         // removed by its owner while in use
	CodeForbidden    Code = "forbidden"       // the relay's owner does not allow this
	CodeAddress      Code = "address"         // good token, address not granted yet
	CodeUnavailable  Code = "unavailable"     // the relay is shutting down; try again
	CodeVersion      Code = "version"         // client and relay are too far apart
	CodeInternal     Code = "internal"        // a fault of the relay; its log tells more
)

// Error is a failure told to a person: what happened and what to do next.
type Error struct {
	Code    Code
	Message string // what happened, one line, no final stop
	Hint    string // what to do next, one line; may be empty
	Status  int    // the origin's HTTP status, where there is one
	Err     error  // the cause, for logs; does not cross the wire
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is match any two errors with the same code, so a caller can
// write errors.Is(err, &job.Error{Code: job.CodeQuota}).
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Errorf makes an Error. A %w in format becomes the cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// WithHint returns a copy of the error that also says what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}
