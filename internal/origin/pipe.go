package origin

import "sync"

// pipe carries bytes from a connection to the disk through a ring of memory.
// The writer takes whatever has come as soon as it is free: on a slow link
// every byte goes on at once, on a fast one the writes grow to maxWrite by
// themselves. A pipe is used again and again by one worker.
type pipe struct {
	buf []byte

	mu       sync.Mutex
	cond     sync.Cond
	from, to int64 // bytes taken and bytes put since the start; to-from are in the ring
	err      error // of the reading side
	ended    bool  // no more bytes will be put
	stopped  bool  // no more bytes will be taken
}

const (
	ringSize = 512 << 10
	maxWrite = 256 << 10
)

func newPipe() *pipe {
	p := &pipe{buf: make([]byte, ringSize)}
	p.cond.L = &p.mu
	return p
}

// run moves bytes until read fails or returns 0 bytes without an error, or
// until write fails. It returns both errors after both sides have ended. When
// write has failed, stop must make a read under way return.
func (p *pipe) run(read func([]byte) (int, error), write func([]byte) error, stop func()) (readErr, writeErr error) {
	p.from, p.to, p.err, p.ended, p.stopped = 0, 0, nil, false, false
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.fill(read)
	}()
	writeErr = p.empty(write)
	if writeErr != nil {
		stop()
	}
	<-done
	return p.err, writeErr
}

func (p *pipe) fill(read func([]byte) (int, error)) {
	for {
		space := p.reserve()
		if space == nil {
			return
		}
		n, err := read(space)
		p.mu.Lock()
		p.to += int64(n)
		p.err, p.ended = err, err != nil || n == 0
		ended := p.ended
		p.cond.Broadcast()
		p.mu.Unlock()
		if ended {
			return
		}
	}
}

// reserve returns free memory in one piece, or nil if nobody takes bytes any more.
func (p *pipe) reserve() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := int64(len(p.buf))
	for p.to-p.from == size && !p.stopped {
		p.cond.Wait()
	}
	if p.stopped {
		return nil
	}
	at := p.to % size
	return p.buf[at : at+min(size-at, size-(p.to-p.from))]
}

func (p *pipe) empty(write func([]byte) error) error {
	for {
		b := p.next()
		if b == nil {
			return nil
		}
		err := write(b)
		p.mu.Lock()
		p.from += int64(len(b))
		p.stopped = err != nil
		p.cond.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// next returns bytes that wait to be written, or nil after the last.
func (p *pipe) next() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.to == p.from && !p.ended {
		p.cond.Wait()
	}
	if p.to == p.from {
		return nil
	}
	size := int64(len(p.buf))
	at := p.from % size
	return p.buf[at : at+min(size-at, p.to-p.from, maxWrite)]
}
