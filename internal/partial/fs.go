package partial

import (
	"io"
	"io/fs"
	"time"
)

// FS is what this package asks of the file system. It exists so that tests can
// fail each call in turn and lose what was not synced; [OS] is the real one.
type FS interface {
	// OpenFile opens a regular file and never follows a symlink at name.
	OpenFile(name string, flag int, perm fs.FileMode) (Handle, error)
	Lstat(name string) (fs.FileInfo, error)
	Remove(name string) error
	// Rename replaces newName in one step.
	Rename(oldName, newName string) error
	// RenameNew fails with fs.ErrExist if newName is there.
	RenameNew(oldName, newName string) error
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	Chtimes(name string, mtime time.Time) error
	// Lock takes the lock at name without waiting and makes the file if need
	// be. If somebody else holds it, unlock is nil and so is the error. Calling
	// unlock also removes the file.
	Lock(name string) (unlock func() error, err error)
}

// Handle is an open file.
type Handle interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Sync() error
	Truncate(size int64) error
	Chmod(mode fs.FileMode) error
	// Allocate gives the file this size and reserves its space on disk where
	// the file system can.
	Allocate(size int64) error
	// NextData returns the first run of stored bytes at or after off, as far as
	// the file system tells holes from data; io.EOF if there is none.
	NextData(off int64) (start, end int64, err error)
}
