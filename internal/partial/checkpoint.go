package partial

import (
	"slices"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// start begins the background work.
func (f *File) start() {
	for range verifiers {
		f.background.Go(f.verify)
	}
	f.background.Go(f.hashWhole)
	if f.state != "" {
		f.background.Go(f.checkpoints)
	}
}

// checkpoints saves what is there every so many bytes or seconds.
func (f *File) checkpoints() {
	tick := time.NewTicker(f.o.checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-f.stop:
			return
		case <-tick.C:
		case <-f.checkpoint:
		}
		if err := f.save(false, nil); err != nil {
			_ = f.fail(err)
			return
		}
	}
}

// save makes the data durable and then the state that claims it. Bytes that
// arrive meanwhile are left to the next time, so writers do not wait. clean says
// that none can; fin is set for the last save before the file gets its name.
func (f *File) save(clean bool, fin *final) error {
	f.saving.Lock()
	defer f.saving.Unlock()
	f.mu.Lock()
	h, err, stored := f.h, f.err, f.storedLocked()
	clean = clean && f.unsure.Len() == 0
	same := f.dirty == 0 && slices.Equal(stored.Spans(), f.saved.Spans())
	idle := h == nil || f.state == "" || (!clean && fin == nil && same)
	f.dirty = 0
	f.mu.Unlock()
	if err != nil || idle {
		return err
	}
	if err := h.Sync(); err != nil {
		return ioError("syncing", f.part, err)
	}
	f.mu.Lock()
	s := f.stateOf(stored)
	f.mu.Unlock()
	s.Clean, s.Final = clean, fin
	if err := saveState(f.fs, f.dir, f.state, s, true); err != nil {
		return err
	}
	f.mu.Lock()
	f.saved = stored
	f.mu.Unlock()
	return nil
}

// storedLocked returns what a sync makes durable now.
func (f *File) storedLocked() span.Set {
	set := f.have.Clone()
	for _, s := range f.unsure.Spans() {
		set.Remove(s)
	}
	return set
}

// stateOf describes the file with the given bytes stored.
func (f *File) stateOf(stored span.Set) *state {
	return &state{
		Format: stateFormat, URL: f.shown, URLHash: f.hash,
		Object: f.object, Size: f.size, Stored: pairs(stored),
	}
}
