package origintest

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
