package origintest

import (
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/jumpget/jumpget/internal/span"
)

// First applies faults to the first n answers of the file.
func First(n int, faults ...Fault) Fault {
	return func(r *Reply) {
		if r.N <= n {
			apply(r, faults)
		}
	}
}

// From applies faults to answer number n (the first is 1) and all later ones.
func From(n int, faults ...Fault) Fault {
	return func(r *Reply) {
		if r.N >= n {
			apply(r, faults)
		}
	}
}

func apply(r *Reply, faults []Fault) {
	for _, f := range faults {
		f(r)
	}
}

// Slow limits each answer to so many bytes a second.
func Slow(rate int64) Fault { return func(r *Reply) { r.Rate = rate } }

// Shared limits all answers together to so many bytes a second, as a full link
// does. Make it once for each file.
func Shared(rate int64) Fault {
	l := &link{rate: rate}
	return func(r *Reply) { r.link = l }
}

// Stall sends n body bytes and then nothing, the socket open.
func Stall(n int64) Fault { return func(r *Reply) { r.StallAfter = n } }

// Reset resets the socket after n body bytes.
func Reset(n int64) Fault { return func(r *Reply) { r.ResetAfter = n } }

// Close closes the socket in order after n body bytes, whatever was announced.
func Close(n int64) Fault { return func(r *Reply) { r.CloseAfter = n } }

// NoLength leaves Content-Length out: the answer is chunked.
func NoLength() Fault { return func(r *Reply) { r.NoLength = true } }

// HTTP10 answers as HTTP/1.0 without a length; the end is the closed socket.
func HTTP10() Fault { return func(r *Reply) { r.HTTP10 = true } }

// Endless sends without end and announces no length.
func Endless() Fault {
	return func(r *Reply) {
		r.NoLength = true
		r.Content = Random(math.MaxInt64, r.Content.seed)
		r.Span = span.Span{End: math.MaxInt64}
	}
}

// Status answers code with a short text as body. The rest are header names and
// values in turn.
func Status(code int, header ...string) Fault {
	return func(r *Reply) {
		r.become(code, Bytes([]byte(http.StatusText(code)+"\n")))
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
	}
}

// Header sets a header of the answer; an empty value removes it.
func Header(name, value string) Fault {
	return func(r *Reply) {
		if value == "" {
			r.Header.Del(name)
			return
		}
		r.Header.Set(name, value)
	}
}

// Whole answers a Range request with 200 and the whole file, though the
// headers still promise ranges.
func Whole() Fault {
	return func(r *Reply) {
		if r.Status == http.StatusPartialContent {
			r.become(http.StatusOK, r.Content)
		}
	}
}

// Unsatisfiable answers every Range request with 416.
func Unsatisfiable() Fault {
	return func(r *Reply) {
		if r.Request.Header.Get("Range") != "" {
			size := r.Content.Size()
			r.become(http.StatusRequestedRangeNotSatisfiable, Content{})
			r.Header.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		}
	}
}

// ContentRange puts value into the Content-Range of every 206; the body stays
// what was asked for. An empty value leaves the header out.
func ContentRange(value string) Fault {
	return func(r *Reply) {
		if r.Status == http.StatusPartialContent {
			Header("Content-Range", value)(r)
		}
	}
}

// Shift sends the bytes that stand n later than those asked for, and says so
// in Content-Range.
func Shift(n int64) Fault {
	return func(r *Reply) {
		if r.Status == http.StatusPartialContent {
			size := r.Content.Size()
			r.Span = span.Span{Start: min(r.Span.Start+n, size-1), End: min(r.Span.End+n, size)}
			r.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", r.Span.Start, r.Span.End-1, size))
		}
	}
}

// Length announces n in Content-Length, whatever is sent.
func Length(n int64) Fault { return Header("Content-Length", strconv.FormatInt(n, 10)) }

// become makes the answer a whole body of another status.
func (r *Reply) become(code int, c Content) {
	r.Status, r.Content, r.Span = code, c, span.Span{End: c.Size()}
	r.Header.Del("Content-Range")
}
