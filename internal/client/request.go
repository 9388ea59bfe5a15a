package client

import (
	"io"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/unpack"
)

// Request asks for one file.
type Request struct {
	job.Request

	// Job names a job that stands on the relay already; nothing is submitted
	// then, and of the embedded Request nothing is used.
	Job job.ID

	// Download is the number that progress events carry.
	Download int

	// Output says where the file goes. It is not used with Stdout, but for
	// Dir, where the bytes are kept until they are verified, and Checksums.
	Output Output

	// Stdout gets the bytes in order, each verified first. nil: a file is written.
	Stdout io.Writer

	unpack *unpack.Unpacker // not nil: the object is a bundle, see Client.Bundle
}

// Output says where a file goes and what becomes of it. The zero value is the
// name that the relay tells, in the current directory, never over another file.
type Output struct {
	File      string            // path of the file; empty: the relay's name for it, in Dir
	Dir       string            // used if File is empty; empty: the current directory
	OnExists  partial.OnExists  // what to do if the file is there
	Adopt     bool              // take over what another program left there, after checking it
	Newer     bool              // only if the origin's file is newer than the one there, which is then replaced
	NoTime    bool              // do not set the file's time to the origin's Last-Modified
	Checksums map[string]string // algorithm to hex, as partial.Options
}

// Result tells of a finished download.
type Result struct {
	Job            job.ID
	Path           string        // of the file; empty for Stdout
	Size           int64         // bytes
	SHA256         string        // hex of the whole; empty if Skipped
	Fetched        int64         // bytes that came over the network in this run
	Elapsed        time.Duration // of this run
	LengthVerified bool          // false: the origin told no length
	Skipped        bool          // Output.Newer was set and the file here is not older
	Paths          map[Path]int64

	uses []progress.PathUse
}
