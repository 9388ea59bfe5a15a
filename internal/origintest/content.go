package origintest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
)

// Content is bytes that can be computed at any offset, so that none need to be
// kept.
type Content struct {
	data []byte
	size int64
	seed uint64
}

// Bytes returns content that is data.
func Bytes(data []byte) Content { return Content{data: data, size: int64(len(data))} }

// Random returns size bytes that depend on seed and offset alone.
func Random(size int64, seed uint64) Content { return Content{size: size, seed: seed} }

// Size returns the number of bytes.
func (c Content) Size() int64 { return c.size }

// ReadAt computes the bytes at off.
func (c Content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= c.size {
		return 0, io.EOF
	}
	short := c.size-off < int64(len(p))
	if short {
		p = p[:c.size-off]
	}
	if c.data != nil {
		copy(p, c.data[off:])
	} else {
		c.fill(p, uint64(off))
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

func (c Content) fill(p []byte, off uint64) {
	word := func() uint64 { return mix(c.seed + off/8*0x9e3779b97f4a7c15) }
	for len(p) > 0 {
		if off%8 == 0 && len(p) >= 8 {
			binary.LittleEndian.PutUint64(p, word())
			p, off = p[8:], off+8
			continue
		}
		p[0] = byte(word() >> (8 * (off % 8)))
		p, off = p[1:], off+1
	}
}

// mix is the finaliser of SplitMix64: near-random words, very fast.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// SHA256 returns the hex digest of the whole. 5 GB take some seconds.
func (c Content) SHA256() string {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(c, 0, c.size)); err != nil {
		panic(err) // neither ReadAt nor the hash can fail
	}
	return hex.EncodeToString(h.Sum(nil))
}
