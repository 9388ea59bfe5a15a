package bulk

import (
	"slices"
	"time"
)

// candidates are sizes of UDP payload that paths are known to have, from the
// largest: Ethernet over IPv4, PPPoE, Ethernet over IPv6, and tunnels of several
// kinds over these.
var candidates = [...]int{1472, 1464, 1452, 1444, 1432, 1412, 1392, 1372, 1352, 1312, 1280, 1252, 1232, basePacket}

const (
	likelyTunnel  = 1392 // WireGuard's default, seen from inside
	probeTries    = 3
	tunnelTries   = 2
	probeAgain    = 60 * time.Second
	suspectRounds = 2 // timeouts in a row

	// holeLost is how many large packets in a row have to get lost, while
	// holeSmall small ones that were sent among them come through.
	holeLost  = 16
	holeSmall = 2
)

// sizer finds the largest packet that the path carries (section 4, RFC 8899).
type sizer struct {
	size   int // in use
	most   int // what the client and the address family allow
	tops   int // probes of the first flight that are still to be sent: the largest
	tunnel int // and likelyTunnel

	low    int // index of size in candidates
	high   int // candidates up to this index do not pass, or are not allowed
	fails  [len(candidates)]uint8
	flying bool // a probe is under way: number
	number uint64
	rest   time.Duration // when failed candidates are tried again; 0: none failed

	timeouts int
	suspect  bool   // a black hole is suspected, and since this packet
	since    uint64 //
	small    bool   // a base packet came through since

	lostRun  int               // large packets lost since the last one that came through
	runStart uint64            // the first of them
	passed   uint64            // the newest large packet that came through, plus 1
	smalls   [holeSmall]uint64 // the last small packets that came through
}

func newSizer(most int) *sizer {
	s := &sizer{size: basePacket, most: most, low: len(candidates) - 1, tops: probeTries, tunnel: tunnelTries}
	s.restart()
	if s.largest() <= likelyTunnel {
		s.tunnel = 0
	}
	return s
}

// believe begins with a size that has passed in another connection. If it does
// not any more, that is a black hole.
func (s *sizer) believe(size int) {
	if size <= basePacket || size > s.most {
		return
	}
	s.low = indexOf(size)
	s.size = candidates[s.low]
	s.tunnel = 0
}

// largest is the largest size that has not failed.
func (s *sizer) largest() int { return candidates[s.high+1] }

// restart forgets all failures.
func (s *sizer) restart() {
	s.rest, s.high = 0, -1
	for s.high+1 < s.low && s.largest() > s.most {
		s.high++
	}
	clear(s.fails[:])
}

// open tells whether sizes are left that might pass.
func (s *sizer) open() bool { return s.high+1 < s.low }

// nextProbe returns the size of a probe that is due, 0 if none is.
func (s *sizer) nextProbe(now time.Duration) int {
	if s.rest != 0 && now >= s.rest {
		s.restart()
	}
	switch {
	case !s.open() || s.suspect:
		return 0
	case s.tops > 0:
		return s.largest()
	case s.tunnel > 0 && s.size < likelyTunnel:
		return likelyTunnel
	case s.flying:
		return 0
	}
	return candidates[(s.high+s.low)/2]
}

// sent tells that a probe went out.
func (s *sizer) sent(number uint64) {
	switch {
	case s.tops > 0:
		s.tops--
	case s.tunnel > 0:
		s.tunnel--
	}
	s.flying, s.number = true, number
}

func indexOf(size int) int {
	for i, c := range candidates {
		if size >= c {
			return i
		}
	}
	return len(candidates) - 1
}

// acked tells that a packet came through, and reports whether size has grown.
func (s *sizer) acked(size int, number uint64) bool {
	switch {
	case size > basePacket:
		if number >= s.since {
			s.timeouts, s.suspect = 0, false
		}
		s.lostRun = 0
		s.passed = max(s.passed, number+1)
	default:
		s.small = s.small || number >= s.since
		copy(s.smalls[1:], s.smalls[:])
		s.smalls[0] = number
	}
	if number == s.number {
		s.flying = false
	}
	if size <= s.size {
		return false
	}
	s.size, s.low = size, indexOf(size)
	return true
}

// lost tells that a packet was given up.
func (s *sizer) lost(size int, number uint64, now time.Duration) {
	if number == s.number {
		s.flying = false
	}
	if size <= s.size {
		if size > basePacket {
			s.missed(number)
		}
		return
	}
	i := indexOf(size)
	if s.fails[i]++; s.fails[i] >= probeTries {
		s.fail(i, now)
	}
}

// fail notes that a candidate and all above it do not pass.
func (s *sizer) fail(i int, now time.Duration) {
	s.high = max(s.high, min(i, len(candidates)-2))
	s.tops = 0
	s.rest = now + probeAgain
}

// refused tells that the local system does not send packets of this size.
func (s *sizer) refused(size int, now time.Duration) {
	if size <= s.size {
		s.fall(now)
	}
	s.flying = false
	s.fail(indexOf(size), now)
}

// timeout tells that nothing was acknowledged for a whole timeout, and reports
// whether packets of the base size should be sent to find out why.
func (s *sizer) timeout(next uint64) bool {
	s.timeouts++
	if s.timeouts < suspectRounds || s.size == basePacket {
		return false
	}
	if !s.suspect {
		s.suspect, s.small, s.since = true, false, next
	}
	return true
}

// missed counts a large packet that got lost. One that was sent before another
// which came through says nothing: an acknowledgement on a lossy link gives up
// many such at once.
func (s *sizer) missed(number uint64) {
	if number < s.passed {
		return
	}
	if s.lostRun == 0 || number < s.runStart {
		s.runStart = number
	}
	s.lostRun++
}

// hole reports, after whole acknowledgements, whether small packets come
// through and large ones don't.
func (s *sizer) hole() bool {
	if s.suspect && s.small {
		return true
	}
	return s.lostRun >= holeLost && slices.Min(s.smalls[:]) > s.runStart
}

// fall goes back to the base size.
func (s *sizer) fall(now time.Duration) {
	failed := s.low
	s.size, s.low = basePacket, len(candidates)-1
	s.suspect, s.timeouts, s.flying, s.tunnel, s.lostRun = false, 0, false, 0, 0
	s.fail(failed, now)
}
