// Package bulk moves ranges of one file from a relay to a client over UDP. The
// protocol is written down in docs/bulk.md, section by section; comments here
// name its sections instead of saying it again.
//
// A [Server] serves any number of clients over one socket, a [Conn] is one
// client's end. Neither knows of sockets, jobs or disks: packets go through a
// [PacketConn], keys and bodies come from a [Jobs], and what arrives goes to a
// [Sink]. All time is read with package time, so that in a bubble of
// testing/synctest the whole of it runs in virtual time.
//
// On the relay each connection is one goroutine, which seals, paces and reads
// the body; one more reads the socket. On the client one goroutine reads the
// socket, opens packets and acknowledges, and another hands bytes to the sink.
// In steady state nothing is allocated for a packet.
package bulk
