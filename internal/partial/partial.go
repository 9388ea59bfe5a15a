// Package partial is the client's file on its way to becoming itself.
//
// # The flow
//
// [Open] happens before any use of the network: it checks that the directory
// can be written to and that the target is free, takes a lock, and finds what an
// earlier run left. When the relay has told the object, [File.SetObject] gives
// the file its size. Connections then call [File.WriteAt] in any order while
// [File.SetSums] brings the expected SHA-256 of each chunk. A chunk that is
// present and has a sum is read back from the file and compared; only then does
// it count. One that differs is dropped, and appears in [File.Missing] again.
// [File.Finish] checks the whole, makes it durable and gives it its final name.
//
// # Files on disk
//
// Beside the output NAME stand, until it is finished,
//
//	NAME.jumpget-part   the bytes, preallocated; its size is never progress
//	NAME.jumpget-state  which bytes were safely stored, for which URL and object
//	NAME.jumpget-lock   empty, locked for the whole run
//
// The state is replaced by a rename at each checkpoint, which would lose a lock
// on it; so the lock has a file of its own.
//
// # What a run may trust
//
// Nothing but hashes. On resuming, whatever the state claims and whatever else
// the file system holds for the partial counts as present but unverified: it is
// not fetched, and is hashed as soon as its sum is known. So a killed client
// loses nothing that reached the page cache, and neither a state file that was
// damaged nor a power cut that lost data can do harm.
package partial

import (
	"context"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// Endings of the files that stand beside an unfinished output.
const (
	PartSuffix  = ".jumpget-part"
	StateSuffix = ".jumpget-state"
	LockSuffix  = ".jumpget-lock"
)

// OnExists says what to do when the target is there already.
type OnExists int

// The policies.
const (
	Rename    OnExists = iota // take the first free of name.1, name.2 and so on
	Fail                      // refuse, before anything is fetched
	Overwrite                 // replace it, at the end and in one step
)

// Options say what to open. Target and URL are required.
type Options struct {
	Target    string            // the path of the finished file
	URL       string            // what is fetched; stored hashed, and for people without user, password and query
	OnExists  OnExists          // default: Rename
	Adopt     bool              // take over a file that another program left at Target, after checking its chunks
	Checksums map[string]string // algorithm (sha256, sha-256, sha512, sha1, md5) to hex, checked by Finish; may be nil

	// OnMismatch hears of each chunk whose bytes were dropped because they did
	// not match their sum. It is called from a worker without locks held, and
	// must not block for long. May be nil.
	OnMismatch func(Mismatch)

	FS FS // default: the operating system's
}

// Mismatch is a chunk whose bytes were dropped.
type Mismatch struct {
	Chunk   int
	Resumed bool // some bytes came from an earlier run, so no connection is to blame
	Times   int  // how often this chunk was dropped in this run, this time included
}

// FinishOptions tell Finish what the whole must be.
type FinishOptions struct {
	SHA256  string    // hex of the whole as the relay tells it; empty: not known
	ModTime time.Time // the origin's Last-Modified; zero: leave it
}

// CheckDir returns an error unless new files can be made in dir. Use it before
// the network when the file's name is not known yet.
func CheckDir(dir string) error { panic("todo") }

// Find returns the target of the unfinished download of url in dir, for a run
// that was given no name. It reads the state files that stand there; of several
// it takes the one written last. ok is false if there is none.
func Find(dir, url string) (target string, ok bool) { panic("todo") }

// File is one output being assembled. All methods are safe for concurrent use.
// After a failure of the disk every method returns that failure.
type File struct{}

// Open makes ready to fetch into o.Target, before any use of the network. With
// the policy Rename the path may become name.1 and so on, see [File.Target].
func Open(ctx context.Context, o Options) (*File, error) { panic("todo") }

// Temp opens a file in dir that is never given a name and is gone after Close,
// for output to a pipe. Of the options, Target, OnExists and Adopt are ignored.
func Temp(ctx context.Context, dir string, o Options) (*File, error) { panic("todo") }

// Target returns the path that Finish will give the file, or "" for a Temp file.
func (f *File) Target() string { panic("todo") }

// SetObject names the object that is being fetched and its size in bytes or
// job.UnknownSize. A full disk shows here. The same object again may tell a
// size that was unknown. Another object than before starts over: what is
// present must match that object's sums. Call it after writers of the old object
// have stopped; a straggler's bytes would only be caught by the hash.
func (f *File) SetObject(id job.ID, size int64) error { panic("todo") }

// WriteAt stores bytes of the object. Bytes that are present already are
// ignored, so a late duplicate can't damage what was verified. It returns
// len(p) or an error; one short write fails the whole file.
func (f *File) WriteAt(p []byte, off int64) (int, error) { panic("todo") }

// SetSums gives the SHA-256 of consecutive chunks starting with chunk first.
// Two different sums for one chunk of one object are an error.
func (f *File) SetSums(first int, sums [][32]byte) error { panic("todo") }

// Missing returns, in order, the parts of within that have to be fetched. With
// a known size it never goes beyond the end.
func (f *File) Missing(within span.Span) []span.Span { panic("todo") }

// Have returns how many bytes are present, verified or not.
func (f *File) Have() int64 { panic("todo") }

// Verified returns how many bytes have matched their sums.
func (f *File) Verified() int64 { panic("todo") }

// Resumed returns how many of the verified bytes came from an earlier run.
func (f *File) Resumed() int64 { panic("todo") }

// Size returns the object's size in bytes, or job.UnknownSize.
func (f *File) Size() int64 { panic("todo") }

// Complete reports whether the size is known and every byte is verified.
func (f *File) Complete() bool { panic("todo") }

// Changed returns a channel that is closed at the next change of what Missing,
// Verified, Size, Complete or Err return. Take it before looking at them.
func (f *File) Changed() <-chan struct{} { panic("todo") }

// Err returns the failure that ended the use of this file, or nil.
func (f *File) Err() error { panic("todo") }

// ReadVerified reads bytes from off on into p as soon as some are verified, and
// returns how many; io.EOF at the end of the object.
func (f *File) ReadVerified(ctx context.Context, p []byte, off int64) (int, error) { panic("todo") }

// Finish waits until the whole is verified and hashed, makes it durable and
// gives it its final name. It returns that path and the hex SHA-256. The file
// can't be used afterwards; on an error the partial is kept for the next run.
// A Temp file is only checked, and stays readable until Close.
func (f *File) Finish(ctx context.Context, o FinishOptions) (path, sha256 string, err error) {
	panic("todo")
}

// Close stops, saves what is there for the next run, and releases the lock. It
// leaves nothing on disk if there is nothing to go on from. After Finish it
// does nothing.
func (f *File) Close() error { panic("todo") }
