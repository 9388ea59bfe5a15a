// Package bundle is the form in which many small files travel as one object: the
// relay writes it, file by file in the order in which it has them, and the client
// takes it apart while it still grows. docs/wire.md describes it for others.
//
// # The stream
//
// A bundle begins with [Magic]. Frames follow to its end: four bytes with the
// length of the header (big-endian), the header as JSON, and as many bytes as the
// header's size says. A file may have several frames; one whose bytes do not
// match its header's SHA-256, or whose header can't be read, is void. That is how
// a relay that died within a frame goes on: what is in the bundle may be with the
// client already and can't be changed, so the frame is filled up and thereby
// given up, see [Scan].
package bundle

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/jumpget/jumpget/internal/wire"
)

// ContentType is that of a bundle's object.
const ContentType = "application/vnd.jumpget.bundle"

// Magic begins every bundle.
const Magic = "JUMPGET-BUNDLE 1\n"

// Limits of the format. A larger file has a header alone, with Alone set.
const (
	MaxFile   = 1 << 20  // bytes of a file
	maxHeader = 64 << 10 // bytes of a header
	lengthLen = 4
)

// ErrMalformed says that a stream is no bundle.
var ErrMalformed = errors.New("this is no bundle")

// Header tells of one file.
type Header struct {
	Index    int         `json:"index"` // of the file in the request, from 0
	URL      string      `json:"url"`   // without user and password
	Name     string      `json:"name,omitempty"`
	Size     int64       `json:"size"`             // bytes that follow the header
	SHA256   string      `json:"sha256,omitempty"` // hex
	ModTime  time.Time   `json:"mtime,omitzero"`
	Type     string      `json:"content_type,omitempty"`
	Verified bool        `json:"length_verified,omitempty"` // false: an early end can't be told from the end
	Alone    bool        `json:"alone,omitempty"`           // too large or too slow for a bundle: to be fetched by a job of its own
	Error    *wire.Error `json:"error,omitempty"`           // why there is no file
}

// Append appends a frame to b. Size and SHA256 of the header are set by data.
func Append(b []byte, h Header, data []byte) ([]byte, error) {
	if len(data) > MaxFile {
		return b, fmt.Errorf("bundle: a file of %d bytes", len(data))
	}
	h.Size, h.SHA256 = int64(len(data)), ""
	if h.Error == nil && !h.Alone {
		sum := sha256.Sum256(data)
		h.SHA256 = hex.EncodeToString(sum[:])
	}
	raw, err := json.Marshal(h)
	if err != nil {
		return b, err
	}
	if len(raw) > maxHeader {
		return b, fmt.Errorf("bundle: a header of %d bytes", len(raw))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(raw)))
	b = append(b, raw...)
	return append(b, data...), nil
}

// File is one file of a bundle.
type File struct {
	Header
	Data []byte // nil with Alone or Error
}

// Reader takes a bundle apart.
type Reader struct {
	r   io.Reader
	off int64 // bytes read
	buf []byte
}

// NewReader reads a bundle from its first byte on.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next file that is not void; its Data is the caller's. At the
// end of the bundle it returns io.EOF. An end within a frame gives
// io.ErrUnexpectedEOF, what is no bundle ErrMalformed, a failing reader its error.
func (r *Reader) Next() (*File, error) {
	if r.off == 0 {
		if err := r.magic(); err != nil {
			return nil, err
		}
	}
	for {
		h, ok, err := r.header()
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		data := make([]byte, h.Size)
		if err := r.full(data); err != nil {
			return nil, err
		}
		if h.Alone || h.Error != nil {
			return &File{Header: h}, nil
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) == h.SHA256 {
			return &File{Header: h, Data: data}, nil
		}
	}
}

func (r *Reader) magic() error {
	b := make([]byte, len(Magic))
	switch err := r.full(b); {
	case err != nil && r.off == 0:
		return err
	case err != nil || string(b) != Magic:
		return unlessBroken(err)
	}
	return nil
}

// unlessBroken is the reader's own error, or else ErrMalformed.
func unlessBroken(err error) error {
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	return ErrMalformed
}

// header reads the next header; ok is false for one that can't be read, which
// has no bytes behind it.
func (r *Reader) header() (h Header, ok bool, err error) {
	var length [lengthLen]byte
	n, err := io.ReadFull(r.r, length[:])
	r.off += int64(n)
	if err != nil {
		return h, false, err // io.EOF if there was no byte
	}
	size := binary.BigEndian.Uint32(length[:])
	if size > maxHeader {
		return h, false, fmt.Errorf("%w: a header of %d bytes", ErrMalformed, size)
	}
	if cap(r.buf) < int(size) {
		r.buf = make([]byte, maxHeader)
	}
	if err := r.full(r.buf[:size]); err != nil {
		return h, false, err
	}
	if h, ok = decode(r.buf[:size]); !ok {
		return h, false, nil
	}
	if h.Size < 0 || h.Size > MaxFile || h.Index < 0 || h.Index > math.MaxInt32 {
		return h, false, fmt.Errorf("%w: file %d of %d bytes", ErrMalformed, h.Index, h.Size)
	}
	return h, true, nil
}

func decode(raw []byte) (h Header, ok bool) {
	if json.Unmarshal(raw, &h) != nil {
		return Header{}, false
	}
	return h, true
}

// full reads all of b.
func (r *Reader) full(b []byte) error {
	n, err := io.ReadFull(r.r, b)
	r.off += int64(n)
	if errors.Is(err, io.EOF) && r.off > 0 && len(b) > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}
