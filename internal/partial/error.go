package partial

import (
	"errors"
	"io/fs"
)

// Kind names what went wrong with a client's file. The command layer maps each
// kind to an exit code.
type Kind string

// The kinds of failure.
const (
	KindExists     Kind = "exists"     // the target is there already and may not be replaced
	KindInUse      Kind = "in_use"     // another process is fetching into this target
	KindOtherURL   Kind = "other_url"  // the partial file belongs to another URL
	KindDir        Kind = "dir"        // the directory is missing or can't be written to
	KindDiskFull   Kind = "disk_full"  // no space, quota or file size limit reached
	KindIO         Kind = "io"         // reading, writing or syncing failed
	KindChecksum   Kind = "checksum"   // the user's checksum is not that of the file
	KindCorrupt    Kind = "corrupt"    // all chunks matched but the whole does not
	KindRename     Kind = "rename"     // the complete file could not get its final name
	KindIncomplete Kind = "incomplete" // Finish was called too early
	KindUsage      Kind = "usage"      // bytes beyond the end, an unknown checksum algorithm
	KindClosed     Kind = "closed"     // used after Close or Finish
)

// Error is a failure told to a person: what happened and what to do next.
type Error struct {
	Kind    Kind
	Message string // what happened, one line, no final stop
	Hint    string // what to do next, one line; may be empty
	Err     error  // the cause; may be nil
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is match any two errors of one kind, as in
// errors.Is(err, &partial.Error{Kind: partial.KindInUse}).
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind
}

// KindOf returns the kind of the first Error in err's chain, or "".
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}

// ioError explains a failed operation on path. A full disk gets a kind of its
// own, because the person can do something about it.
func ioError(doing, path string, err error) *Error {
	if isDiskFull(err) {
		return &Error{
			Kind: KindDiskFull, Err: err,
			Message: doing + " " + path + ": the disk is full",
			Hint:    "free some space or choose another directory; the same command then goes on from here",
		}
	}
	if errors.Is(err, errNotRegular) {
		return &Error{
			Kind: KindIO, Err: err, Message: path + " is not a regular file",
			Hint: "remove it, or choose another name with --output",
		}
	}
	return &Error{
		Kind: KindIO, Err: err,
		Message: doing + " " + path + ": " + cause(err).Error(),
		Hint:    "check the disk; the same command goes on from what was safely stored",
	}
}

// cause strips the operation and path that package os adds, as the message
// around it names them already.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
