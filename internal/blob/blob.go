// Package blob keeps bodies: the bytes of objects, by object id, each with the
// SHA-256 of its chunks.
//
// A [Body] grows: it holds a *growfile.File that is written at any offset and
// read at the same time. As chunks fill up, their owner hashes them and calls
// [Body.SetSum]; [Body.Sync] makes data durable first and the sums after it,
// so a sum on disk always speaks of bytes on disk. After any crash
// [Body.Verify] hashes again what has a sum, keeps what matches and forgets
// the rest. A torn write, a flipped bit, a truncated or foreign list of sums
// and a power loss in an unlucky order all end there, in a body that has less
// than it had, and never a wrong byte.
//
// [Store] is the interface to whatever holds bodies. [Disk] keeps them in a
// local directory; package blobtest holds the tests that every Store passes.
package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

// ChunkSize is the unit of hashing in bytes. The last chunk may be shorter.
const ChunkSize = 1 << 20

// UnknownSize is the size of a body whose end is not known yet.
const UnknownSize int64 = -1

// Sum is the SHA-256 of one chunk.
type Sum = [sha256.Size]byte

// Errors of a Store. Use errors.Is; they come wrapped.
var (
	ErrNotFound  = errors.New("no such body")
	ErrExists    = errors.New("the body exists already")
	ErrInvalidID = errors.New("not a body's id")
	ErrNoSpace   = errors.New("the disk is full")
	ErrPoisoned  = errors.New("the disk failed to keep what was written")
	ErrClosed    = errors.New("the body is closed")
)

// Store holds bodies by id: 26 characters of a-z and 2-7, as job.NewID makes
// them. Any other id gives ErrInvalidID and touches nothing.
type Store interface {
	// Create makes an empty body. A size in bytes reserves the room, so that
	// a full disk shows at once as ErrNoSpace; UnknownSize reserves nothing.
	// It fails with ErrExists if there is a body of that id.
	Create(ctx context.Context, id string, size int64) (*Body, error)
	// Open returns a body that exists, complete or not. If it is open already
	// this is the same growing Body. Otherwise it has no bytes that can be
	// read until Verify has looked at them.
	Open(ctx context.Context, id string) (*Body, error)
	// Remove deletes a body. Whoever has it open goes on reading. A body
	// that is not there gives ErrNotFound.
	Remove(ctx context.Context, id string) error
	// List returns all bodies, those that a crash left behind included, in
	// order of their id.
	List(ctx context.Context) ([]Info, error)
	// Free returns how many bytes can still be stored.
	Free() (bytes int64, err error)
}

// Info tells of a stored body.
type Info struct {
	ID      string
	Used    int64     // bytes it takes, reserved ones included
	ModTime time.Time // of its data
}

// ValidID reports whether id may name a body.
func ValidID(id string) bool {
	if len(id) != 26 {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}
