//go:build !linux

package blob

import "os"

// reserve makes the file size bytes long. It takes no room on disk where files
// can have holes, so a full disk shows later, when bytes are written.
func reserve(f *os.File, size int64) error { return f.Truncate(size) }
