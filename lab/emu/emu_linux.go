// Package emu carries real packets over a modelled link (package link): it joins
// two TUN devices, each in a network namespace of its own, by two pumps, one a
// direction.
//
// It runs as a process of its own, so that the garbage collector and the
// scheduler of whoever measures don't touch its timing; package topo starts it
// and speaks to it over its standard streams (see Serve).
package emu

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/lab/link"
	"github.com/jumpget/jumpget/lab/netns"
)

// Device is the name that the link's end has in both namespaces.
const Device = "access0"

// Options say what to join.
type Options struct {
	ClientNS, RouterNS string      // paths of network namespaces, such as /run/netns/client
	Down, Up           link.Config // router to client, client to router
	Seed               uint64
	// Guest is an address behind the client whose traffic is counted apart in
	// the series; the zero value is nobody's.
	Guest netip.Addr
}

// Emulator is a link in operation.
type Emulator struct {
	down, up *pump
	fds      []int
	done     chan struct{}
	start    time.Time
}

// pumps is how many an emulator has: one a direction.
const pumps = 2

// Start opens the two devices and begins to carry packets. The devices still
// need their addresses; they vanish with Close or with the process.
func Start(o Options) (*Emulator, error) {
	client, err := openTUN(o.ClientNS)
	if err != nil {
		return nil, err
	}
	router, err := openTUN(o.RouterNS)
	if err != nil {
		return nil, errors.Join(err, unix.Close(client))
	}
	e := &Emulator{fds: []int{client, router}, done: make(chan struct{}, pumps), start: time.Now()}
	clock := func() time.Duration { return time.Since(e.start) }
	newPump := func(in, out int, cfg link.Config, seed uint64, g guest) *pump {
		return &pump{in: in, out: out, link: link.New(cfg, seed), ring: newRing(inFlight(cfg)), rec: newRecorder(), clock: clock, guest: g}
	}
	e.down = newPump(router, client, o.Down, o.Seed*2, guest{o.Guest, destination})
	e.up = newPump(client, router, o.Up, o.Seed*2+1, guest{o.Guest, source})
	// Each pump keeps a processor of Go's for itself, asleep or not.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + pumps)
	for _, p := range []*pump{e.down, e.up} {
		go func() {
			p.run()
			e.done <- struct{}{}
		}()
	}
	return e, nil
}

// inFlight returns how many packets may be under way in a direction: the queue,
// the delay at full rate and room for small packets and changes of rate.
func inFlight(cfg link.Config) int {
	bytes := max(cfg.Rate, 100e6)/8*(cfg.Delay+cfg.Jitter).Seconds() + float64(cfg.Queue) + 4e6
	return min(int(bytes/600)+4096, 200_000)
}

// Change gives both directions a new description from now on.
func (e *Emulator) Change(down, up link.Config) {
	e.down.change.Store(&down)
	e.up.change.Store(&up)
}

// Replace puts new links in the place of the old ones, as Start did; what is
// under way arrives as it would have.
func (e *Emulator) Replace(down, up link.Config, seed uint64) {
	e.down.replace.Store(link.New(down, seed*2))
	e.up.replace.Store(link.New(up, seed*2+1))
}

// Reset starts the statistics anew.
func (e *Emulator) Reset() {
	now := time.Since(e.start)
	e.down.rec.reset(now)
	e.up.rec.reset(now)
}

// Stats returns what both directions have done since the last reset.
func (e *Emulator) Stats() (down, up Stats) { return e.down.rec.stats(), e.up.rec.stats() }

// Close ends the pumps and removes the devices.
func (e *Emulator) Close() error {
	e.down.stop.Store(true)
	e.up.stop.Store(true)
	<-e.done
	<-e.done
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) - pumps)
	return errors.Join(unix.Close(e.fds[0]), unix.Close(e.fds[1]))
}

// openTUN creates the device in the namespace at path.
func openTUN(path string) (int, error) {
	var fd int
	err := netns.Do(path, func() (err error) {
		fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("the link needs /dev/net/tun: %w", err)
		}
		req, err := unix.NewIfreq(Device)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			return errors.Join(fmt.Errorf("can't make the TUN device %s: %w", Device, err), unix.Close(fd))
		}
		return nil
	})
	return fd, err
}
