package cli

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// sampleSize is the size of the file that `try` brings.
const sampleSize = 64 << 20

// sample is an origin on loopback with one file, computed and never held.
type sample struct {
	url    string
	server *http.Server
}

func serveSample() (*sample, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serving the sample file: %w", err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"sample"`)
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "sample.bin", time.Time{}, io.NewSectionReader(noise{}, 0, sampleSize))
	})
	s := &sample{
		url:    "http://" + l.Addr().String() + "/sample.bin",
		server: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second},
	}
	go func() { _ = s.server.Serve(l) }() // ends with close
	return s, nil
}

func (s *sample) close() { _ = s.server.Close() }

// noise is endless bytes without a pattern that repeats.
type noise struct{}

func (noise) ReadAt(p []byte, off int64) (int, error) {
	var word [8]byte
	for i := range p {
		at := off + int64(i)
		if i == 0 || at%8 == 0 {
			binary.LittleEndian.PutUint64(word[:], scramble(uint64(at/8)))
		}
		p[i] = word[at%8]
	}
	return len(p), nil
}

// scramble is the finaliser of splitmix64.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
