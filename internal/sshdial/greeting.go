package sshdial

import (
	"bytes"
	"errors"
	"fmt"
)

// GreetingSize is how many bytes a Config's Greeting gets at least.
const GreetingSize = 9

// GreetingHTTP2 is a Config's Greeting for an HTTP/2 server: what it says first
// has to be a SETTINGS frame on stream 0 (RFC 9113, 3.4 and 6.5).
func GreetingHTTP2(first []byte) error {
	const settings = 4
	switch {
	case bytes.HasPrefix(first, []byte("HTTP/1.")):
		return errors.New("it speaks HTTP/1 only")
	case len(first) < GreetingSize,
		first[0] != 0, // a frame below 64 KiB
		first[3] != settings,
		!bytes.Equal(first[5:9], []byte{0, 0, 0, 0}):
		return fmt.Errorf("it says %q", excerpt(first))
	}
	return nil
}

// excerpt is the start of what a stranger said, fit for a message.
func excerpt(b []byte) string {
	b, _, _ = bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	return string(b[:min(len(b), 80)])
}
