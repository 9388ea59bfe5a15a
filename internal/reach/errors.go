package reach

import (
	"errors"
	"fmt"
)

// RefusedError says that the public door does not know the session, or gives no
// streams: it answers both like anything that does not exist.
type RefusedError struct {
	Status string // the answer's, such as "404 Not Found"
}

func (e *RefusedError) Error() string {
	return "the relay's public door does not take the session: " + e.Status
}

// LostError says that a stream which stood broke. Another one may be opened.
type LostError struct {
	Way Way
	Err error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the connection to the relay over %s broke: %v", e.Way, e.Err)
}

func (e *LostError) Unwrap() error { return e.Err }

func isType[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
