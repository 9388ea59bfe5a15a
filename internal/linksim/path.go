package linksim

import "github.com/jumpget/jumpget/lab/profile"

// Path is both directions of an access link, seen from the receiver.
type Path struct {
	Sim      *Sim
	Down, Up *Pipe
}

// NewPath returns the link that a profile describes in a simulation of its own.
func NewPath(p profile.Profile, seed uint64) *Path {
	sim := New()
	return &Path{Sim: sim, Down: sim.NewPipe(p.Down, 2*seed), Up: sim.NewPipe(p.Up, 2*seed+1)}
}
