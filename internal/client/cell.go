package client

import (
	"context"
	"sync"
)

// cell is a value that others can wait for and follow. The zero value is empty.
type cell[T any] struct {
	mu      sync.Mutex
	value   T
	set     bool
	changed chan struct{}
}

// put stores a value and wakes everybody who waits.
func (c *cell[T]) put(v T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value, c.set = v, true
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// get returns the value, whether there is one, and a channel that is closed at
// the next put.
func (c *cell[T]) get() (v T, set bool, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.value, c.set, c.changed
}

// wait returns the first value that satisfies ok.
func (c *cell[T]) wait(ctx context.Context, ok func(T) bool) (T, error) {
	for {
		v, set, changed := c.get()
		if set && ok(v) {
			return v, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return v, context.Cause(ctx)
		}
	}
}

// trySend sends without waiting; what does not fit is dropped.
func trySend[T any](ch chan<- T, v T) {
	select {
	case ch <- v:
	default:
	}
}

func anything[T any](T) bool { return true }

// present is for pointers that may be there without one.
func present[T any](p *T) bool { return p != nil }
