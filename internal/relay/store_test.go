package relay

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

// brokenStore refuses to write jobs while it is broken.
type brokenStore struct {
	store.Store
	mu     sync.Mutex
	broken bool
}

var errBroken = errors.New("the disk is on fire")

func (b *brokenStore) wrap(s store.Store) store.Store {
	b.Store = s
	return b
}

func (b *brokenStore) set(broken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = broken
}

func (b *brokenStore) PutJob(ctx context.Context, j job.Job) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken {
		return errBroken
	}
	return b.Store.PutJob(ctx, j)
}

// countingStore tells which look-ups were made.
type countingStore struct {
	store.Store
	mu    sync.Mutex
	calls []string
}

func (c *countingStore) wrap(s store.Store) store.Store {
	c.Store = s
	return c
}

// reset returns the names of the look-ups since it was called last, in order.
func (c *countingStore) reset() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := strings.Join(c.calls, " ")
	c.calls = nil
	return all
}

func (c *countingStore) note(call string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, call)
}

func (c *countingStore) TokenJob(ctx context.Context, hash [32]byte) (store.Token, error) {
	c.note("token")
	return c.Store.TokenJob(ctx, hash)
}

func (c *countingStore) Job(ctx context.Context, id job.ID) (job.Job, error) {
	c.note("job")
	return c.Store.Job(ctx, id)
}

func (c *countingStore) Grants(ctx context.Context, owner string, id job.ID) ([]job.Grant, error) {
	c.note("grants")
	return c.Store.Grants(ctx, owner, id)
}

// hookedStore calls a test at certain moments.
type hookedStore struct {
	store.Store
	beforePutObject func(job.Object)
	afterPutObject  func(job.Object)
}

func (h *hookedStore) wrap(s store.Store) store.Store {
	h.Store = s
	return h
}

func (h *hookedStore) PutObject(ctx context.Context, o job.Object) error {
	if h.beforePutObject != nil {
		h.beforePutObject(o)
	}
	err := h.Store.PutObject(ctx, o)
	if err == nil && h.afterPutObject != nil {
		h.afterPutObject(o)
	}
	return err
}
