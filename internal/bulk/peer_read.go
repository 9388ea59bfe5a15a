package bulk

import (
	"time"

	"github.com/jumpget/jumpget/internal/congestion"
)

// read takes in all that other goroutines have left.
func (p *peer) read(now time.Duration) {
	p.mu.Lock()
	inbox := p.inbox
	p.inbox = p.spare[:0]
	reheard, rival, doubt := p.reheard, p.rival, p.doubt
	p.reheard, p.rival, p.doubt = 0, Path{}, false
	p.mu.Unlock()
	if doubt && p.state != closing {
		p.revalidate(now)
	}
	if reheard > 0 && p.state == answering {
		p.rehear(reheard, now)
	}
	if rival.Remote.IsValid() && p.state == answering && !p.at.free {
		p.prefer(rival)
	}
	for _, r := range inbox {
		p.packet(r, now)
		receivedPool.Put(r)
	}
	clear(inbox)
	p.spare = inbox
}

// rehear deals with copies of the first packet: the client has heard nothing
// yet.
func (p *peer) rehear(bytes int64, now time.Duration) {
	p.at.received += bytes
	if !p.at.granted {
		p.recheck(now)
	}
	p.ctl.repeat()
}

// prefer moves to where a copy of the first packet came from, if that address is
// known and the one before is not: somebody copied the packet on its way and
// was faster, to keep the client from its answer.
func (p *peer) prefer(rival Path) {
	to := place{path: rival}
	if to.permit(p.load); !to.free {
		return
	}
	p.at, p.notice = to, false
	p.mu.Lock()
	p.from = rival.Remote
	p.mu.Unlock()
	p.meet()
	p.load.open()
	p.load.met(p.at.path, false)
}

// packet takes in one CLIENT packet.
func (p *peer) packet(r *received, now time.Duration) {
	_, low, ok := parseClient(r.buf[:r.n])
	if !ok {
		return
	}
	plain, number, ok := p.in.open(r.buf[:r.n], clientHead, low)
	if !ok {
		return
	}
	if !p.heard {
		p.heard = true
		p.msg2 = nil
		p.s.answered()
		if p.state == answering {
			p.state = serving
		}
	}
	p.heardAt = now
	here := r.path.Remote == p.at.path.Remote
	if here {
		p.at.received += int64(r.n)
		p.at.path = r.path
		p.prove()
	} else {
		p.elsewhere(r, number, now)
	}
	f := &p.frames
	if f.parse(plain) != nil || f.has&^p.may != 0 {
		return
	}
	if p.state == closing {
		p.tell = here && !p.left
		return
	}
	if here && !p.at.granted {
		p.recheck(now)
	}
	if p.timeouts >= deadAfter {
		p.probes = probesDead // the way to us works again, perhaps the other as well
	}
	p.take(f, r, now)
}

// take does what a packet's frames say.
func (p *peer) take(f *fromClient, r *received, now time.Duration) {
	if f.has.has(frameResponse) {
		p.response(f.response, r, now)
	}
	p.load.take(f)
	if f.has.has(frameAck) {
		p.ack(&f.ack, r.at.Sub(p.s.start), now)
	}
	if f.has.has(framePing) && len(p.pongs) < 4 {
		p.pongs = append(p.pongs, f.ping)
		p.ctl.repeat()
	}
	if f.has.has(frameBye) {
		p.left = true
		p.fail(CodeDone)
	}
}

// recheck asks again whether the client's address is granted, and has the
// client told if it is not.
func (p *peer) recheck(now time.Duration) {
	if now-p.checked < challengeEvery && p.checked > p.created {
		return
	}
	p.checked = now
	p.at.permit(p.load)
	p.notice = !p.at.granted
	if p.at.granted {
		p.load.open()
	}
}

// ack takes in an acknowledgement that came at a time.
func (p *peer) ack(a *ackFrame, came, now time.Duration) {
	if a.newest >= p.led.next {
		return // of packets that were never sent
	}
	p.window = a.window
	p.samples = p.samples[:0]
	merge := acker{o: p.box}
	news, data, timed := false, false, 0
	for _, run := range a.received {
		for n := run.high; ; n-- {
			if rec := p.led.ack(n); rec != nil {
				news, data = true, data || rec.paced()
				for timed < len(a.samples) && a.samples[timed].number > n {
					timed++
				}
				s := congestion.Sample{Number: n}
				if timed < len(a.samples) && a.samples[timed].number == n {
					s.Timed, s.Arrived = true, time.Duration(a.samples[timed].at)*time.Microsecond
				}
				merge.add(rec)
				p.acked(rec, s)
			}
			if n == run.low {
				break
			}
		}
	}
	merge.flush()
	if !news {
		return
	}
	if data { // that small packets pass says nothing about large ones
		p.news, p.timeouts, p.probes = now, 0, 0
	}
	if len(p.samples) > 0 {
		p.cc.OnAck(congestion.Ack{
			Now: min(came, now), Left: time.Duration(a.now) * time.Microsecond, Samples: p.samples,
		})
	}
	p.led.srtt = p.cc.RTT()
	p.uplink.heard(came-time.Duration(a.now)*time.Microsecond, now, p.cc.BaseRTT())
	p.setPace()
	p.tail.changed()
}

// acked does for one packet what its acknowledgement means beyond its data.
func (p *peer) acked(rec *record, s congestion.Sample) {
	if rec.ctl != 0 {
		p.ctl.acked(rec.ctl, rec.number)
	}
	if p.sizer.acked(int(rec.size), rec.number) {
		p.cc.SetMaxPacket(p.sizer.size + wireOverhead)
	}
	if rec.paced() && rec.number >= p.ccFrom {
		p.samples = append(p.samples, s)
	}
}

// gaveUp does for one packet what its loss means.
func (p *peer) gaveUp(rec *record) {
	if rec.ctl != 0 {
		p.ctl.lost(rec.ctl, rec.number)
	}
	p.sizer.lost(int(rec.size), rec.number, p.now())
	p.box.give(rec)
	p.tail.changed()
}

// fallBack is for a path that has come to drop large packets.
func (p *peer) fallBack(now time.Duration) {
	p.s.log.Debug("the path has come to drop packets of this size", "bytes", p.sizer.size)
	p.sizer.fall(now)
	p.cc.SetMaxPacket(p.sizer.size + wireOverhead)
	p.led.expire(now+1, p.gaveUp)
	p.reportLost(now)
}

// reportLost tells the controller what was given up.
func (p *peer) reportLost(now time.Duration) {
	lost := p.led.takeLost()
	for len(lost) > 0 && lost[0] < p.ccFrom {
		lost = lost[1:]
	}
	if len(lost) > 0 {
		p.cc.OnLost(now, lost)
	}
}

// Acknowledgement intervals (section 5).
const (
	firstPaceLongest = 4 * time.Millisecond
	pacePackets      = 16
	startPackets     = 4
	paceLongest      = 25 * time.Millisecond
)

// uplink notices when acknowledgements fill the way to the relay, so that they
// wait for each other.
type uplink struct {
	seen   bool
	least  time.Duration // that an acknowledgement took, plus the clocks' difference
	since  time.Duration // of least
	turned time.Duration // when scale changed
	scale  uint64        // intervals are so many times longer; 0 is 1
}

const (
	mostScale   = 16
	scaleUp     = 100 * time.Millisecond
	scaleDown   = 2 * time.Second
	leastExpiry = 30 * time.Second // after which clocks may have drifted
)

// heard takes in how long an acknowledgement took, by two clocks.
func (u *uplink) heard(took, now, base time.Duration) {
	if !u.seen || took < u.least || now-u.since > leastExpiry {
		u.seen, u.least, u.since = true, took, now
	}
	u.scale = max(1, u.scale)
	limit := max(paceLongest, base/2)
	switch queue := took - u.least; {
	case queue > limit && now-u.turned > scaleUp+base && u.scale < mostScale:
		u.scale *= 2
	case queue < limit/4 && now-u.turned > scaleDown && u.scale > 1:
		u.scale /= 2
	default:
		return
	}
	u.turned = now
}

// setPace tells the client how often to acknowledge, if that has changed.
func (p *peer) setPace() {
	every := p.cc.AckInterval()
	next := paceFrame{packets: pacePackets, rtt: us(p.led.srtt)}
	longest := max(every, paceLongest, p.led.srtt/4)
	if s := p.cc.State(); s == congestion.Init || s == congestion.Startup {
		next.packets, longest = startPackets, 4*every
	}
	scale := max(1, p.uplink.scale)
	next.packets *= scale
	next.interval = scale * us(every)
	next.longest = scale * us(longest)
	if p.pace == (paceFrame{}) && p.led.srtt == 0 {
		return // the client begins with the same
	}
	if next.packets == p.pace.packets && near(next.interval, p.pace.interval) && near(next.longest, p.pace.longest) && near(next.rtt, p.pace.rtt) {
		return
	}
	p.pace = next
	p.led.delay = time.Duration(next.longest) * time.Microsecond
	p.ctl.set(ctlPace, p.led.next)
}

func us(d time.Duration) uint64 { return uint64(max(0, d.Microseconds())) }

// near tells whether two figures differ by no more than a quarter.
func near(a, b uint64) bool { return max(a, b)-min(a, b) <= max(a, b)/4 }
