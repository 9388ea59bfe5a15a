package bench

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// What nginx serves.
const (
	fileName    = "file.bin"
	manyName    = "many" // the folder of the files of a list
	tinyName    = "tiny"
	learnName   = "learn" // from which a relay learns the path
	learnSize   = 10_000_000
	endlessName = "endless"
	endlessSize = 1 << 40 // more than any rival gets
)

// www is what the servers serve: in dir, one file or a folder of many. Only one
// size stands there at a time, for it is memory.
type www struct {
	dir   string
	size  int64
	files int
	sums  map[string]string // SHA-256 by name; a single file's is that of fileName
}

// create makes the folder and what always stands in it.
func (w *www) create() error {
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, tinyName), []byte("tiny\n"), 0o644); err != nil {
		return err
	}
	// Holes, so they take no memory; the lab's links compress nothing.
	for name, size := range map[string]int64{endlessName: endlessSize, learnName: learnSize} {
		hole, err := os.Create(filepath.Join(w.dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(hole.Truncate(size), hole.Close()); err != nil {
			return err
		}
	}
	return nil
}

// fill puts a file of that size there, or so many files that have it together,
// in the place of what stood there.
func (w *www) fill(size int64, files int) error {
	if w.size == size && w.files == files {
		return nil
	}
	err := errors.Join(os.RemoveAll(filepath.Join(w.dir, fileName)), os.RemoveAll(filepath.Join(w.dir, manyName)),
		os.Mkdir(filepath.Join(w.dir, manyName), 0o755))
	if err != nil {
		return err
	}
	w.size, w.files, w.sums = size, files, map[string]string{}
	// Its bytes are random, so nothing on the way can shrink it.
	content := rand.NewChaCha8([32]byte{1})
	if files == 0 {
		return w.write(fileName, fileName, content, size)
	}
	for i := range files {
		name := manyFile(i)
		if err := w.write(filepath.Join(manyName, name), name, content, size/int64(files)); err != nil {
			return err
		}
	}
	return nil
}

func manyFile(i int) string { return fmt.Sprintf("%05d.bin", i) }

func (w *www) write(path, name string, content io.Reader, size int64) error {
	f, err := os.Create(filepath.Join(w.dir, path))
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.CopyN(io.MultiWriter(f, h), content, size)
	w.sums[name] = hex.EncodeToString(h.Sum(nil))
	return errors.Join(err, f.Close())
}

// list writes the URLs of the files, with what stands before and after each
// name, to the file at path.
func (w *www) list(path, before, after string) error {
	var b strings.Builder
	for i := range w.files {
		b.WriteString(before + manyFile(i) + after + "\n")
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// right compares what a peer has left at out with what was served: a file, or a
// folder of files.
func (w *www) right(out string) bool {
	if w.files == 0 {
		sum, err := sumFile(out)
		return err == nil && sum == w.sums[fileName]
	}
	for name, want := range w.sums {
		if sum, err := sumFile(filepath.Join(out, name)); err != nil || sum != want {
			return false
		}
	}
	return true
}

func sumFile(name string) (sum string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}
