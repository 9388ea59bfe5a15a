package bulk

// burst collects packets of one size in one buffer, so that one call of the
// system sends them all.
type burst struct {
	buf  []byte
	size int // of each packet but the last
	full bool
}

// room returns where the next packet of a size is to be written, nil if the
// burst has to be sent first.
func (b *burst) room(size int) []byte {
	n := len(b.buf)
	if b.full || n+size > cap(b.buf) || n > 0 && size != b.size {
		return nil
	}
	return b.buf[n : n : n+size]
}

// add takes in a packet that was written to room.
func (b *burst) add(pkt []byte) {
	if len(b.buf) == 0 {
		b.size = len(pkt)
	}
	b.full = b.full || len(pkt) < b.size
	b.buf = b.buf[:len(b.buf)+len(pkt)]
}
