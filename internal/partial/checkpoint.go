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
		if err := f.save(nil); err != nil {
			_ = f.fail(err)
			return
		}
	}
}

// save makes the data durable and then the state that claims it. Bytes that
// arrive meanwhile are left to the next time, so writers do not wait. fin is set
// for the last save before the file gets its name.
func (f *File) save(fin *final) error {
	f.saving.Lock()
	defer f.saving.Unlock()
	f.mu.Lock()
	h, err, have := f.h, f.err, f.have.Clone()
	same := f.dirty == 0 && slices.Equal(have.Spans(), f.saved.Spans())
	idle := h == nil || f.state == "" || (fin == nil && same)
	f.dirty = 0
	f.mu.Unlock()
	if err != nil || idle {
		return err
	}
	if err := h.Sync(); err != nil {
		return f.distrust(ioError("syncing", f.part, err))
	}
	f.mu.Lock()
	s := f.stateOf(have)
	f.mu.Unlock()
	s.Final = fin
	if err := saveState(f.fs, f.dir, f.state, s, true); err != nil {
		return err
	}
	f.mu.Lock()
	f.saved = have
	f.mu.Unlock()
	return nil
}

// distrust notes that data may be missing on disk although reading shows it. A
// kernel reports such a loss once and then takes the pages for clean, so a second
// sync would succeed without writing them. Only what an earlier state claimed is
// safe; the rest will be fetched and written again.
func (f *File) distrust(cause error) error {
	f.mu.Lock()
	f.suspect = true
	s := f.stateOf(f.saved)
	f.mu.Unlock()
	_ = saveState(f.fs, f.dir, f.state, s, true) // cause is what the person must hear
	return cause
}

// stateOf describes the file with the given bytes stored.
func (f *File) stateOf(stored span.Set) *state {
	return &state{
		Format: stateFormat, URL: f.shown, URLHash: f.hash,
		Object: f.object, Size: f.size, Stored: pairs(stored), Suspect: f.suspect,
	}
}
