// Package schedule decides which connection asks for which bytes of one object, so
// that all paths end together and little comes twice. It does no I/O and has no
// clock: whoever uses it says what time it is, as the time since the start, and may
// as well be a simulation.
//
// Each connection is a Worker. It takes Pieces from the front of what is missing,
// of a size that goes by its own rate. When nothing is left to be given out, idle
// workers take over the ends of what is expected last.
package schedule
