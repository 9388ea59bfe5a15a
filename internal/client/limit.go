package client

import (
	"context"

	"golang.org/x/time/rate"
)

// newLimiter returns a limiter for so many bytes a second; nil for no limit.
// Its burst is a tenth of a second's worth, but enough for one TLS record.
func newLimiter(bytes int64) *rate.Limiter {
	if bytes <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytes), int(min(max(bytes/10, 16<<10), 1<<20)))
}

// throttle waits until n more bytes may be read.
func throttle(ctx context.Context, l *rate.Limiter, n int) error {
	if l == nil {
		return nil
	}
	for n > 0 {
		k := min(n, l.Burst()) // WaitN refuses more than a burst
		if err := l.WaitN(ctx, k); err != nil {
			return err
		}
		n -= k
	}
	return nil
}
