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
//
// A sync that failed is not repeated: kernels report lost pages once and then
// take them for clean, so the second sync succeeds and the bytes are only in
// memory. The run ends, and the next one writes again whatever no state says
// was synced.
package partial

import (
	"io/fs"
	"sync"
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

	FS FS // default: OS

	checkpointBytes int64         // default: 64 MiB
	checkpointEvery time.Duration // default: 5 s
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

// File is one output being assembled. All methods are safe for concurrent use.
// After a failure of the disk every method returns that failure.
type File struct {
	o      Options
	fs     FS
	shown  string // the URL for people
	hash   string // the URL's identity
	wanted []checksum

	dir    string
	target string      // what Finish tries first; empty for a Temp file
	number int         // target is o.Target with this number appended; 0: as it is
	part   string      // path of the bytes
	state  string      // path of the state; empty for a Temp file
	perm   fs.FileMode // what the finished file gets
	unlock func() error

	stop       chan struct{} // closed to end the background goroutines
	checkpoint chan struct{} // asks for a checkpoint; holds one
	background sync.WaitGroup
	closing    sync.Once
	closeErr   error
	ending     sync.Mutex // held while Finish or Close works on the files; taken before saving
	saving     sync.Mutex // held through a checkpoint; taken before mu

	mu       sync.Mutex
	wake     *sync.Cond    // of mu: work for the background, or an end of waiting
	changed  chan struct{} // closed at the next change; nil: nobody asked
	h        Handle        // nil while a file waits to be adopted
	err      error         // the failure that ended all
	closed   bool
	placing  bool // Finish has begun to give the name
	finished bool // and has done it
	useless  bool // see Discard
	users    int  // goroutines that use h or the object's bytes without mu
	changing bool // SetObject waits for users to leave

	object  job.ID // empty before SetObject
	size    int64
	have    span.Set // present, verified or not
	earlier span.Set // those of have that an earlier run or object left
	unsure  span.Set // those of have that may be in the page cache only, see verifyLocked
	good    span.Set // verified
	resumed int64    // verified bytes that were in earlier
	dirty   int64    // bytes written since the last checkpoint
	saved   span.Set // what the state on disk claims
	adopt   bool     // the file at target is to become the partial

	chunks []chunk // grows as sums and bytes arrive
	ready  []int   // chunks to verify, ascending
	whole  whole
}

// chunk is the unit of verification.
type chunk struct {
	sum     [32]byte
	known   bool // sum is set
	busy    bool // queued or being verified, or verified
	writers int  // WriteAt calls in flight; verification waits for them
	drops   int  // times its bytes did not match
}
