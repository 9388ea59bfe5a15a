package linksim

import (
	"time"

	"github.com/jumpget/jumpget/lab/link"
)

// Packet is what a flow puts into a pipe. Only Size and UDP matter to the link.
type Packet struct {
	Size   int // bytes of the IP packet
	UDP    bool
	Number uint64
	Body   any          // whatever the flow's two ends agree on
	To     func(Packet) // called when the packet arrives
}

// Pipe is one direction of a link, shared by every flow that sends into it.
type Pipe struct {
	// Mangle, if set, stands between the link and the receivers: it calls pass
	// for whatever is to arrive, once, changed, twice or not at all.
	Mangle func(p Packet, pass func(Packet))

	sim   *Sim
	link  *link.Link
	slots []slot // a circular queue in the order of departure
	head  int
	n     int
	stats Stats
}

type slot struct {
	at     time.Duration
	packet Packet
}

// Stats is what a pipe has done since it was made or last reset.
type Stats struct {
	Offered   int // packets
	Delivered int
	Bytes     int                // delivered
	Drops     [link.Verdicts]int // by cause
	Queued    int                // packets that came to the wire
	Waited    time.Duration      // their waiting times, summed
	MaxWait   time.Duration
}

// MeanQueue returns the mean time that a packet waited for the wire.
func (s Stats) MeanQueue() time.Duration {
	return s.Waited / time.Duration(max(s.Queued, 1))
}

// NewPipe returns a direction described by cfg whose random numbers follow from seed.
func (s *Sim) NewPipe(cfg link.Config, seed uint64) *Pipe {
	p := &Pipe{sim: s, link: link.New(cfg, seed), slots: make([]slot, 1024)}
	s.pipes = append(s.pipes, p)
	return p
}

// Config returns the pipe's current description.
func (p *Pipe) Config() link.Config { return p.link.Config() }

// Change replaces the description from now on, as [link.Link.Change] does.
func (p *Pipe) Change(cfg link.Config) { p.link.Change(cfg) }

// Stats returns the counts so far.
func (p *Pipe) Stats() Stats { return p.stats }

// ResetStats starts the counts again.
func (p *Pipe) ResetStats() { p.stats = Stats{} }

// reorderDistance is how far a reordered packet moves, as in the emulator.
const reorderDistance = 4

// Send puts a packet into the pipe and tells what the link does to it. A real
// sender does not learn that; a test may.
func (p *Pipe) Send(packet Packet) link.Fate {
	fate := p.link.Send(p.sim.now, packet.Size, packet.UDP)
	p.count(fate, packet.Size)
	if fate.Verdict != link.Delivered {
		return fate
	}
	p.push(slot{at: fate.At, packet: packet})
	if fate.Swap && p.n > reorderDistance {
		a, b := p.slot(p.n-1), p.slot(p.n-1-reorderDistance)
		a.packet, b.packet = b.packet, a.packet
	}
	return fate
}

func (p *Pipe) count(fate link.Fate, size int) {
	p.stats.Offered++
	if fate.Verdict == link.Delivered {
		p.stats.Delivered++
		p.stats.Bytes += size
	} else {
		p.stats.Drops[fate.Verdict]++
	}
	if fate.Verdict == link.Delivered || fate.Verdict == link.DropLoss {
		p.stats.Queued++
		p.stats.Waited += fate.Waited
		p.stats.MaxWait = max(p.stats.MaxWait, fate.Waited)
	}
}

// deliver hands over the first packet.
func (p *Pipe) deliver() {
	packet := p.first().packet
	*p.first() = slot{}
	p.head = (p.head + 1) & (len(p.slots) - 1)
	p.n--
	if p.Mangle == nil {
		packet.To(packet)
		return
	}
	p.Mangle(packet, func(q Packet) { q.To(q) })
}

func (p *Pipe) first() *slot { return &p.slots[p.head] }

func (p *Pipe) slot(i int) *slot { return &p.slots[(p.head+i)&(len(p.slots)-1)] }

func (p *Pipe) push(s slot) {
	if p.n == len(p.slots) {
		bigger := make([]slot, 2*p.n)
		for i := range p.n {
			bigger[i] = *p.slot(i)
		}
		p.slots, p.head = bigger, 0
	}
	p.n++
	*p.slot(p.n - 1) = s
}
