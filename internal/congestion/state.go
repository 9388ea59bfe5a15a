package congestion

import "time"

// State is what the controller is doing.
type State uint8

// The states; the package comment explains each.
const (
	Init State = iota
	Startup
	Drain
	Cruise
	Up
	Down
	Stalled
)

func (s State) String() string {
	return [...]string{"init", "startup", "drain", "cruise", "up", "down", "stalled"}[s]
}

// Round is one closed round of measurement, for a trace.
type Round struct {
	At       time.Duration // when it closed
	State    State         // in which its packets were sent
	Sent     float64       // bytes/s at which they were sent
	Arrived  float64       // bytes/s at which they went through the bottleneck
	Loss     float64       // share of them that was lost
	Queue    time.Duration // mean one-way delay above the base
	RTT      time.Duration // smoothed
	BaseRTT  time.Duration
	PathLoss float64 // the estimate of what the path loses whatever is sent
	Capacity float64 // bytes/s, the estimate after this round
	Pace     float64 // bytes/s, the pace after this round
	Window   int     // bytes
	InFlight int     // bytes
	Limited  bool    // the application or the window, not the pace, set the rate
}
