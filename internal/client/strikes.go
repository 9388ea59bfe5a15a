package client

import (
	"context"
	"fmt"
	"sync/atomic"
)

// strikes counts failures without progress in between, over all paths.
type strikes struct {
	limit int // 0: none
	n     atomic.Int64
	fail  context.CancelCauseFunc
}

// clear is for when bytes came.
func (s *strikes) clear() {
	if s.n.Load() != 0 {
		s.n.Store(0)
	}
}

// count takes one more failure, and ends the download at the limit.
func (s *strikes) count(err error) {
	if n := s.n.Add(1); s.limit > 0 && n >= int64(s.limit) {
		s.fail(fmt.Errorf("%w (%d tries)", err, n))
	}
}
