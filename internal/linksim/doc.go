// Package linksim runs senders and receivers over bad links in virtual time,
// for tests. A [Sim] is a discrete-event clock: nothing happens between events,
// so a minute on a link takes as long as its packets take to count, and the
// same seeds give the same run to the nanosecond.
//
// A [Pipe] is one direction of a link. What befalls a packet there (policer,
// drop-tail queue, serialisation, independent or bursty loss, delay, jitter,
// reordering) is decided by package lab/link, which also drives the emulator
// with real packets: both mean the same by "a bad link". Any number of flows
// may share a pipe. [Pipe.Change] alters it in mid-run, and [Pipe.Mangle] may
// duplicate or corrupt what it delivers.
//
// A [Path] is two pipes, down and up, as lab/profile describes them. [Cubic] is a competing TCP flow after RFC 9438.
package linksim
