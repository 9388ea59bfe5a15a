package bundle

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jumpget/jumpget/internal/job"
)

// Limits of one bundle's list. Longer lists make several bundles.
const (
	MaxFiles = 2000
	MaxList  = 256 << 10 // bytes, see ListLen
)

// ListLen returns how many bytes of MaxList a file takes.
func ListLen(f job.File) int {
	n := len(f.URL) + 1
	for _, m := range f.Mirrors {
		n += len(m) + 1
	}
	return n
}

// EncodeList returns the files as they travel in a submission: a line for each,
// the URL and its mirrors separated by tabs, compressed with gzip, because the
// way up to the relay is often the narrow one and URLs of one list are much alike.
// The URLs have to be such as job.Request.Parse lets pass; none of them holds a tab
// or a line break.
func EncodeList(files []job.File) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is a right one
	for _, f := range files {
		line := strings.Join(append([]string{f.URL}, f.Mirrors...), "\t")
		_, _ = io.WriteString(w, line+"\n") // a Buffer takes everything
	}
	_ = w.Close() // as above
	return out.Bytes()
}

// DecodeList is the inverse of EncodeList. It takes no more than the limits allow.
func DecodeList(b []byte) ([]job.File, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("the list is not compressed with gzip: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(z, MaxList+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the list is damaged: %w", err)
	case len(text) > MaxList:
		return nil, fmt.Errorf("the list has more than %d bytes", MaxList)
	}
	var files []job.File
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(files) == MaxFiles {
			return nil, fmt.Errorf("the list has more than %d files", MaxFiles)
		}
		files = append(files, job.File{URL: fields[0]})
		if len(fields) > 1 {
			files[len(files)-1].Mirrors = fields[1:]
		}
	}
	if len(files) == 0 {
		return nil, errors.New("the list is empty")
	}
	return files, nil
}
